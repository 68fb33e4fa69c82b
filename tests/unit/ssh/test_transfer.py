# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a push, and reading what the host says."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from unittest.mock import Mock

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh import transfer
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.connection import Privilege
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import (
    DiskFullError,
    TransferError,
    UnreachableError,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.transfer import (
    FarSide,
    Push,
    Step,
    parse_probe,
    plan,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.programs import lacking

MIB = 1024 * 1024
DIGEST = "a" * 64
OTHER = "b" * 64
PUSH = Push(Path("/l"), "/dir/file", DIGEST, 0o644)


def step(far: FarSide, prefix: str | None = None, size: int = 1000) -> Step:
    return plan([PUSH], [size], [far], [prefix], "host")[0]


def far(*, size: int | None = None, mode: int | None = None, digest: str | None = None, part: int = 0,
        part_digest: str | None = None, room: int = 100 * MIB) -> FarSide:  # fmt: skip
    return FarSide(room, "/", size=size, mode=mode, digest=digest, part_size=part, part_digest=part_digest)


def test_the_part_stands_beside_its_place_under_the_digest() -> None:
    assert PUSH.part == f"/dir/.file.{DIGEST[:16]}.part"


@pytest.mark.parametrize(
    ("state", "prefix", "action", "offset"),
    [
        (far(), None, "send", 0),
        (far(size=1000, mode=0o644, digest=DIGEST), None, "keep", 0),
        (far(size=1000, mode=0o600, digest=DIGEST), None, "mode", 0),
        (far(size=1000, mode=0o644, digest=OTHER), None, "send", 0),
        (far(size=5), None, "send", 0),
        (far(part=400, part_digest=OTHER), OTHER, "send", 400),
        (far(part=400, part_digest=OTHER), DIGEST, "send", 0),
        (far(part=1000, part_digest=DIGEST), DIGEST, "send", 1000),
        (far(part=4000), None, "send", 0),
        (far(size=1000, mode=0o644, digest=DIGEST, part=400, part_digest=OTHER), None, "keep", 0),
    ],
)
def test_what_is_done_about_a_file(state: FarSide, prefix: str | None, action: str, offset: int) -> None:
    made = step(state, prefix)
    assert (made.action, made.offset) == (action, offset)


def test_room_is_needed_for_what_is_missing_on_each_file_system() -> None:
    pushes = [Push(Path("/l"), f"/d/{n}", DIGEST) for n in range(3)]
    sizes = [10 * MIB, 10 * MIB, 30 * MIB]
    states = [FarSide(25 * MIB, "/d"), FarSide(25 * MIB, "/d"), FarSide(40 * MIB, "/e")]
    assert len(plan(pushes, sizes, states, [None] * 3, "host")) == 3
    states[1] = FarSide(23 * MIB, "/d")
    with pytest.raises(DiskFullError, match=r"/d has 23\.0 MiB free, 24\.0 MiB are needed") as caught:
        plan(pushes, sizes, states, [None] * 3, "host")
    assert "/e has" not in str(caught.value)


def test_what_has_arrived_already_needs_no_room() -> None:
    assert step(far(part=95 * MIB, part_digest=OTHER, room=10 * MIB), OTHER, 100 * MIB).offset == 95 * MIB


def test_a_file_that_is_there_needs_no_room() -> None:
    assert step(far(size=1000, mode=0o644, digest=DIGEST, room=0)).action == "keep"


def test_every_directory_in_the_way_is_named() -> None:
    pushes = [Push(Path("/l"), f"/d/{n}", DIGEST) for n in range(2)]
    states = [FarSide(MIB, "/", directory=True)] * 2
    with pytest.raises(TransferError, match=r"/d/0 is a directory.*/d/1 is a directory"):
        plan(pushes, [1, 1], states, [None, None], "host")


@given(
    size=st.integers(0, 5000),
    there=st.integers(0, 6000),
    same=st.booleans(),
    digest=st.sampled_from([None, DIGEST, OTHER]),
    mode=st.sampled_from([0o644, 0o755]),
)
def test_never_more_is_sent_than_the_file_has_and_a_second_push_is_nothing(
    size: int, there: int, same: bool, digest: str | None, mode: int
) -> None:
    part_digest = OTHER if 0 < there <= size else None
    state = far(size=size if digest else None, mode=mode, digest=digest, part=there, part_digest=part_digest)
    made = step(state, OTHER if same and part_digest else None, size)
    assert 0 <= made.offset <= size
    after = far(size=size, mode=0o644, digest=DIGEST)
    assert step(after, None, size).action == "keep"


def test_the_answer_of_the_host_is_read() -> None:
    text = (
        f"item 0\nroom 2048 /mnt/my disk\nfile 7 640 {DIGEST}\n"
        f"item 1\nroom 1 /\npart 5 {OTHER}\nfile 9 - -\n"
        "item 2\nroom 3 /\ndirectory\n"
    )
    assert parse_probe(text) == [
        FarSide(2048 * 1024, "/mnt/my disk", size=7, mode=0o640, digest=DIGEST),
        FarSide(1024, "/", size=9, part_size=5, part_digest=OTHER),
        FarSide(3072, "/", directory=True),
    ]


@pytest.mark.parametrize(
    "text", ["hello\n", "room 1 /\n", "item 0\nroom x /\n", "item 0\nfile\n", "item 0\nsurprise 1\n"]
)
def test_an_answer_that_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(TransferError, match="not understood"):
        parse_probe(text)


@pytest.mark.parametrize(
    ("push", "match"),
    [
        (Push(Path(__file__), "relative", DIGEST), "not the absolute path"),
        (Push(Path(__file__), "/dir/", DIGEST), "not the absolute path"),
        (Push(Path(__file__), "/x", "A" * 64), "not a sha256"),
        (Push(Path(__file__), "/x", "abc"), "not a sha256"),
        (Push(Path("/nothing/here"), "/x", DIGEST), "cannot read /nothing/here"),
        (Push(Path("/"), "/x", DIGEST), "cannot read /"),
    ],
)
def test_what_cannot_be_pushed_is_refused_before_the_host_is_asked(push: Push, match: str) -> None:
    with pytest.raises(TransferError, match=match):
        transfer._local_size(push)


@pytest.mark.parametrize("programs", [["openssl"], ["python3"], ["sha256sum"], ["openssl", "python3", "sha256sum"]])
def test_the_probe_gives_the_same_answer_with_whatever_can_hash(tmp_path: Path, programs: list[str]) -> None:
    """The script runs here, with a PATH that has only the programs that a host is bound to have."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in [*programs, "cut", "wc", "tr", "dirname", "df", "sed", "stat", "cat"]:
        found = next((path for base in ("/usr/bin", "/bin") if (path := Path(base, name)).exists()), None)
        if found is None:
            lacking(f"{name} is not on this machine")
        (tools / name).symlink_to(found)
    data = tmp_path / "it's data"
    data.write_bytes(b"content")
    data.chmod(0o640)
    digest = transfer.digest(data)
    push = Push(data, str(data), digest)
    Path(push.part).write_bytes(b"cont")
    call = f"probe 0 {shlex.quote(push.remote)} {shlex.quote(push.part)} 7\n"
    script = transfer._FUNCTIONS + transfer._PROBE + call
    done = subprocess.run(
        ["/bin/sh", "-s"], input=script, env={"PATH": str(tools)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    found_state = parse_probe(done.stdout)[0]
    assert (found_state.size, found_state.mode, found_state.digest) == (7, 0o640, digest)
    assert (found_state.part_size, found_state.part_digest) == (4, transfer.digest(data, 4))
    assert found_state.room > 0
    assert found_state.mount.startswith("/")


def test_a_connection_whose_end_the_transport_has_not_noticed_is_broken_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "a"
    local.write_bytes(b"content")
    wanted = Step(Push(local, "/far/a", "0" * 64), "send", 7)
    client, sftp = Mock(), Mock()
    client.get_transport.return_value = Mock(remote_version="SSH-2.0-OpenSSH_9.2")
    sftp.open().write.side_effect = EOFError
    monkeypatch.setattr(transfer, "observe", Mock(side_effect=UnreachableError("broke during `sh -s`")))
    with pytest.raises(UnreachableError, match="taken up where it stopped"):
        transfer._send(client, sftp, wanted, Privilege(), "here")
