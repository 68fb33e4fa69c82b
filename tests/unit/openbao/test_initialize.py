# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage
import pytest
from ansible_collections.stagecraft.gitops.plugins.action import openbao_init as action
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age.errors import AgeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import escrow as escrows
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import initialize
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Answer, Server, Status
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.escrow import Escrow
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.initialize import Wanted

NEW = Status(False, True, "shamir", 0, 0, 0, "2.7.2", "")
SEALED = Status(True, True, "shamir", 3, 2, 0, "2.7.2", "")
OPEN = replace(SEALED, sealed=False, cluster="c")
ANSWERED = Escrow(
    "staging", "https://bao", "answered", "shamir", 2, ("a", "b", "c"), "t", recipients=("age1a", "age1b")
)
ASKED = Escrow("staging", "https://bao", "asked")
ADMIN, SAFE = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
WANTED = Wanted("staging", Path("keys.age"), ("age1a", "age1b"))


@pytest.mark.parametrize(
    ("status", "escrow", "steps"),
    [
        (NEW, None, ["initialize", "unseal"]),
        (NEW, ASKED, ["initialize", "unseal"]),
        (replace(NEW, seal="static"), None, ["initialize"]),
        (SEALED, ANSWERED, []),
        (OPEN, ANSWERED, []),
        (OPEN, replace(ANSWERED, recipients=("age1a", "age1c")), ["encrypt_escrow_anew"]),
        (SEALED, replace(ANSWERED, recipients=()), ["encrypt_escrow_anew"]),
    ],
)
def test_what_is_done(status: Status, escrow: Escrow | None, steps: list[str]) -> None:
    assert initialize.plan_initialize(status, escrow, WANTED) == steps


@pytest.mark.parametrize(
    ("status", "escrow", "words"),
    [
        (NEW, ANSWERED, "its data are gone, or it is another server"),
        (SEALED, None, "wanted the keys of a server that is initialised, found no file"),
        (OPEN, ASKED, "a run was killed between the question and its answer"),
    ],
)
def test_what_must_not_be_done(status: Status, escrow: Escrow | None, words: str) -> None:
    with pytest.raises(OpenBaoError, match=words):
        initialize.plan_initialize(status, escrow, WANTED)


@pytest.mark.parametrize(("shares", "threshold"), [(3, 4), (3, 1), (3, 0), (0, 0)])
def test_numbers_that_make_no_sense_are_refused_before_the_server_is_asked(shares: int, threshold: int) -> None:
    with pytest.raises(OpenBaoError, match="wanted a threshold of 2 to"):
        initialize.plan_initialize(NEW, None, replace(WANTED, shares=shares, threshold=threshold))
    assert initialize.plan_initialize(NEW, None, replace(WANTED, shares=1, threshold=1))


def test_unsealing() -> None:
    assert initialize.plan_unseal(OPEN, ANSWERED) == []
    assert initialize.plan_unseal(SEALED, ANSWERED) == ["unseal"]
    assert initialize.plan_unseal(replace(SEALED, progress=1), ANSWERED) == ["reset", "unseal"]
    for status, escrow, words in (
        (NEW, ANSWERED, "it is not initialised"),
        (replace(SEALED, seal="transit"), ANSWERED, "unseals itself by transit, and is sealed"),
        (SEALED, ASKED, "wanted 2 keys to unseal the server, the escrow has 0"),
        (replace(SEALED, threshold=4), ANSWERED, "wanted 4 keys"),
    ):
        with pytest.raises(OpenBaoError, match=words):
            initialize.plan_unseal(status, escrow)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://bao.example.com:8200", "keys would be sent in clear"),
        ("http://192.0.2.1:8200", "keys would be sent in clear"),
        ("bao.example.com", "is no address of a server"),
        ("ftp://bao", "is no address of a server"),
    ],
)
def test_an_address_over_which_keys_would_be_read_is_refused(url: str, words: str) -> None:
    with pytest.raises(OpenBaoError, match=words):
        Server(url)


def test_where_nobody_answers_it_is_said() -> None:
    with pytest.raises(
        OpenBaoError, match=r"http://127.0.0.1:1: wanted to read its status, and no answer came: .*Does it run\?"
    ):
        Server("http://127.0.0.1:1", timeout=1).status()


class Answering:
    """A server that is initialised by the first request."""

    url = "https://bao"

    def initialize(self, shares: int, threshold: int, *, recovery: bool) -> Answer:
        assert (shares, threshold, recovery) == (3, 2, False)
        return Answer(("key-a", "key-b", "key-c"), "root-token")


class TestAnAnswerThatCannotBeWritten:
    """The disk is full when the answer comes: it must not be lost, nor be shown."""

    @pytest.fixture
    def wanted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wanted:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
        for name in ("keys", "home", "temporary"):
            (tmp_path / name).mkdir()
        return Wanted("staging", tmp_path / "keys" / "it.age", [str(one.to_public()) for one in (ADMIN, SAFE)])

    def initialize(
        self, wanted: Wanted, monkeypatch: pytest.MonkeyPatch, error: BaseException, full: tuple[str, ...]
    ) -> str:
        real_write, real_fsync, writes = file.write, os.fsync, []

        def write(*arguments: Any) -> None:
            writes.append(arguments)
            if len(writes) == 2:
                raise error
            real_write(*arguments)

        def fsync(descriptor: int) -> None:
            where = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            if len(writes) == 2 and where.parent.name in full:
                raise OSError(errno.ENOSPC, "No space left on device")
            real_fsync(descriptor)

        monkeypatch.setattr(file, "write", write)
        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(OpenBaoError, match="THE SERVER IS INITIALISED and its keys could not be written") as caught:
            initialize.initialize(Answering(), NEW, wanted, [ADMIN])  # type: ignore[arg-type]
        assert "key-a" not in str(caught.value)
        return str(caught.value)

    @pytest.mark.parametrize(("full", "place"), [((), "keys"), (("keys",), "home"), (("keys", "home"), "temporary")])
    @pytest.mark.parametrize("error", [AgeError("no space left on device"), KeyboardInterrupt()])
    def test_is_saved_in_another_place(
        self,
        wanted: Wanted,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        error: BaseException,
        full: tuple[str, ...],
        place: str,
    ) -> None:
        told = self.initialize(wanted, monkeypatch, error, full)
        (saved,) = tmp_path.glob("*/openbao-keys-*.age")
        assert saved.parent.name == place
        assert f"in {saved}: move that file to {wanted.path} now" in told
        assert saved.stat().st_mode & 0o777 == 0o600
        saved.replace(wanted.path)
        kept = escrows.read(wanted.path, [SAFE], "staging")
        assert kept is not None
        assert (kept.state, kept.keys, kept.root_token) == ("answered", ("key-a", "key-b", "key-c"), "root-token")

    @pytest.mark.parametrize("found", [True, False])
    def test_stands_encrypted_in_the_message_where_nothing_can_be_written(
        self, wanted: Wanted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, found: bool
    ) -> None:
        def none() -> str:
            raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

        if not found:
            monkeypatch.setattr(tempfile, "gettempdir", none)
        told = self.initialize(wanted, monkeypatch, AgeError("no space"), ("keys", "home", "temporary"))
        assert list(tmp_path.glob("*/openbao-keys-*")) == []
        assert f"Nor could they in {wanted.path.parent} (No space left on device), " in told
        assert f"printf '%b' 'TEXT' > {wanted.path}" in told
        wanted.path.write_text(told[told.index("-----BEGIN") :])
        kept = escrows.read(wanted.path, [SAFE], "staging")
        assert kept is not None
        assert (kept.state, kept.keys) == ("answered", ("key-a", "key-b", "key-c"))


class Silent:
    """A server that gives no answer to the question; `then` is what it says of itself afterwards."""

    url = "https://bao"

    def __init__(self, then: Status | OpenBaoError) -> None:
        self.then = then

    def initialize(self, *_: object, **__: object) -> Answer:
        raise OpenBaoError("wanted to initialise it, and no answer came: timed out. Does it run?")

    def status(self) -> Status:
        if isinstance(self.then, OpenBaoError):
            raise self.then
        return self.then


@pytest.mark.parametrize(
    ("then", "words", "again"),
    [
        (
            NEW,
            r"It says that it is not initialised, unless it is still at it\. .*it\.age stays",
            ["initialize", "unseal"],
        ),
        (
            SEALED,
            r"It is initialised now, and unless somebody else has its keys they are lost\. .*remove its data directory",
            None,
        ),
        (
            OpenBaoError("wanted to read its status, and no answer came: refused"),
            r"whether it is initialised \(wanted to read its status, and no answer came: refused\)\. .*it\.age stays",
            ["initialize", "unseal"],
        ),
    ],
)
def test_where_no_answer_came_both_errors_are_told_and_the_escrow_stays(
    tmp_path: Path, then: Status | OpenBaoError, words: str, again: list[str] | None
) -> None:
    wanted = Wanted("staging", tmp_path / "it.age", [str(one.to_public()) for one in (ADMIN, SAFE)])
    with pytest.raises(OpenBaoError, match=rf"no answer came: timed out\. Does it run\? .*{words}"):
        initialize.initialize(Silent(then), NEW, wanted, [ADMIN])  # type: ignore[arg-type]
    kept = escrows.read(wanted.path, [SAFE], "staging")
    assert kept is not None
    assert kept.state == "asked"
    # only the client gave up: the server finished in the meantime
    with pytest.raises(
        OpenBaoError, match="killed between the question and its answer, or none came, and unless somebody else has"
    ):
        initialize.plan_initialize(SEALED, kept, wanted)
    if again:
        assert initialize.plan_initialize(NEW, kept, wanted) == again


def test_a_server_that_was_killed_in_the_middle_is_to_be_made_anew(tmp_path: Path) -> None:
    """It has storage and no keys, says that it is not initialised, and refuses for ever."""

    class HalfMade(Silent):
        def initialize(self, *_: object, **__: object) -> Answer:
            raise OpenBaoError("it refuses: could not bootstrap clustered storage: cluster already has state")

    wanted = Wanted("staging", tmp_path / "it.age", [str(one.to_public()) for one in (ADMIN, SAFE)])
    with pytest.raises(
        OpenBaoError, match=r"It holds nothing: stop it, remove its data directory, remove \S+it\.age, and run"
    ):
        initialize.initialize(HalfMade(NEW), NEW, wanted, [ADMIN])  # type: ignore[arg-type]


class _Task:
    check_mode = False
    diff = False
    async_val = 0
    action = "stagecraft.gitops.openbao_init"
    args: dict[str, Any]


def test_who_is_added_can_open_the_escrow_and_who_is_removed_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = pyrage.x25519.Identity.generate()
    path, identity = tmp_path / "it.age", tmp_path / "admin.txt"
    identity.write_text(f"{ADMIN}\n")
    monkeypatch.setattr(action, "Server", lambda *_: Silent(OPEN))

    def run(*identities: Any, check: bool = False) -> list[str]:
        plugin = action.ActionModule.__new__(action.ActionModule)
        plugin._task = _Task()
        plugin._task.check_mode = check
        plugin._task.args = {
            "url": "https://bao",
            "environment": "staging",
            "escrow": str(path),
            "identity_files": [str(identity)],
            "recipients": [str(one.to_public()) for one in identities],
        }
        result = plugin.act(plugin._options(), {})
        assert result["changed"] == bool(result["steps"])
        return list(result["steps"])

    older = json.loads(escrows.encode(ANSWERED, ()))
    del older["recipients"]
    path.write_bytes(file.encrypt(json.dumps(older).encode(), [str(one.to_public()) for one in (ADMIN, SAFE)]))
    assert run(ADMIN, SAFE) == ["encrypt_escrow_anew"], "that of an older version notes none"
    assert run(SAFE, ADMIN) == []
    before = path.read_bytes()
    assert run(ADMIN, new, check=True) == ["encrypt_escrow_anew"]
    assert path.read_bytes() == before
    assert run(ADMIN, new) == ["encrypt_escrow_anew"]
    assert run(ADMIN, new) == []
    kept = escrows.read(path, [new], "staging")
    assert kept is not None
    assert (kept.state, kept.keys, kept.root_token) == ("answered", ANSWERED.keys, "t")
    with pytest.raises(AgeError, match="not encrypted to the identities at hand"):
        escrows.read(path, [SAFE], "staging")
