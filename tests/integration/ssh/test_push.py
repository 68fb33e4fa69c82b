# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pushing files to a real sshd: once, resumed, damaged, and onto a full disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh import transfer
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.connection import connect, privilege, run
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import (
    DigestMismatchError,
    DiskFullError,
    SshError,
    TransferError,
    UnreachableError,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.transfer import Push, push_file, push_files

from tests.programs import lacking

if TYPE_CHECKING:
    import paramiko

    from .conftest import Server

MIB = 1024 * 1024


def blob(path: Path, size: int, seed: bytes = b"x") -> tuple[Path, str]:
    """Write a file of that size whose every block differs; returns it and its digest."""
    block = hashlib.sha512(seed).digest() * 16
    with path.open("wb") as handle:
        for number in range(-(-size // 1024)):
            handle.write((number.to_bytes(8, "big") + block)[:1024])
        handle.truncate(size)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 240 * 1024, 3 * MIB + 17])
def test_a_file_arrives_whole_with_its_mode_and_the_second_push_sends_nothing(
    server: Server, tmp_path: Path, size: int
) -> None:
    local, digest = blob(tmp_path / "a file", size)
    remote = tmp_path / "new" / "it's here"
    with connect(server.target()) as client:
        first = push_file(client, local, str(remote), digest, 0o640)
        second = push_file(client, local, str(remote), digest, 0o640)
    assert remote.read_bytes() == local.read_bytes()
    assert remote.stat().st_mode & 0o777 == 0o640
    assert (first.changed, first.sent) == (True, size)
    assert (second.changed, second.sent) == (False, 0)
    assert [path.name for path in remote.parent.iterdir()] == ["it's here"]


def test_only_the_mode_differs(server: Server, tmp_path: Path) -> None:
    local, digest = blob(tmp_path / "a", 5000)
    with connect(server.target()) as client:
        push_file(client, local, str(tmp_path / "b"), digest, 0o600)
        again = push_file(client, local, str(tmp_path / "b"), digest, 0o755)
    assert (again.changed, again.sent) == (True, 0)
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o755


def test_several_files_go_over_one_connection_and_what_is_there_is_left_out(server: Server, tmp_path: Path) -> None:
    pushes = []
    for number in range(8):
        local, digest = blob(tmp_path / f"l{number}", 300_000 + number, bytes([number]))
        pushes.append(Push(local, str(tmp_path / "far" / f"r{number}"), digest, 0o644))
    with connect(server.target()) as client:
        push_files(client, pushes[:3])
        done = push_files(client, pushes)
    assert [item.sent for item in done] == [0, 0, 0] + [300_000 + number for number in range(3, 8)]
    assert all(Path(push.remote).read_bytes() == push.local.read_bytes() for push in pushes)


def test_check_mode_changes_nothing_and_foretells_the_run(server: Server, tmp_path: Path) -> None:
    local, digest = blob(tmp_path / "a", 70_000)
    push = Push(local, str(tmp_path / "far" / "b"), digest)
    with connect(server.target()) as client:
        foretold = push_files(client, [push], check_mode=True)
        assert not (tmp_path / "far").exists()
        assert push_files(client, [push]) == foretold


def test_an_interrupted_push_goes_on_where_it_stopped(server: Server, tmp_path: Path, cutter_type: type) -> None:
    local, digest = blob(tmp_path / "a", 24 * MIB)
    remote = tmp_path / "far" / "b"
    cutter = cutter_type(server.port, 9 * MIB)
    server.known_hosts.write_text(server.known_hosts.read_text() + f"[127.0.0.1]:{cutter.port} {server.public_key()}\n")
    with (
        pytest.raises(UnreachableError, match="taken up where it stopped"),
        connect(server.target(port=cutter.port)) as client,
    ):
        push_file(client, local, str(remote), digest)
    cutter.close()
    assert not remote.exists()
    part = Path(Push(local, str(remote), digest).part)
    there = part.stat().st_size
    assert 0 < there < 24 * MIB
    assert part.stat().st_mode & 0o777 == 0o600
    with connect(server.target()) as client:
        done = push_file(client, local, str(remote), digest)
    assert done.resumed_at >= there > 0
    assert done.sent == 24 * MIB - done.resumed_at
    assert remote.read_bytes() == local.read_bytes()
    assert not part.exists()


def test_a_part_that_is_no_true_beginning_is_sent_anew(server: Server, tmp_path: Path) -> None:
    local, digest = blob(tmp_path / "a", 2 * MIB)
    remote = tmp_path / "far" / "b"
    part = Path(Push(local, str(remote), digest).part)
    part.parent.mkdir()
    # What a power cut leaves: the right length, zeros at the end.
    part.write_bytes(local.read_bytes()[:500_000] + bytes(500_000))
    with connect(server.target()) as client:
        done = push_file(client, local, str(remote), digest)
    assert (done.resumed_at, done.sent) == (0, 2 * MIB)
    assert remote.read_bytes() == local.read_bytes()


def test_a_part_that_is_longer_than_the_file_is_cut(server: Server, tmp_path: Path) -> None:
    local, digest = blob(tmp_path / "a", 1000)
    part = Path(Push(local, str(tmp_path / "b"), digest).part)
    part.write_bytes(local.read_bytes() + b"more")
    with connect(server.target()) as client:
        push_file(client, local, str(tmp_path / "b"), digest)
    assert (tmp_path / "b").read_bytes() == local.read_bytes()


def test_a_complete_part_is_only_renamed(server: Server, tmp_path: Path) -> None:
    local, digest = blob(tmp_path / "a", MIB)
    part = Path(Push(local, str(tmp_path / "b"), digest).part)
    part.write_bytes(local.read_bytes())
    with connect(server.target()) as client:
        assert push_file(client, local, str(tmp_path / "b"), digest).sent == 0
    assert (tmp_path / "b").read_bytes() == local.read_bytes()


def test_parts_of_other_versions_are_cleared_away(server: Server, tmp_path: Path) -> None:
    local, digest = blob(tmp_path / "a", 1000)
    old = Path(Push(local, str(tmp_path / "b"), "0" * 64).part)
    other = tmp_path / ".bb.0000000000000000.part"
    for path in (old, other):
        path.write_bytes(b"old")
    with connect(server.target()) as client:
        push_file(client, local, str(tmp_path / "b"), digest)
    assert not old.exists()
    assert other.exists()


def test_a_damaged_file_on_the_host_is_replaced(server: Server, tmp_path: Path) -> None:
    local, digest = blob(tmp_path / "a", MIB)
    remote = tmp_path / "b"
    damaged = bytearray(local.read_bytes())
    damaged[700_000] ^= 1
    remote.write_bytes(damaged)
    with connect(server.target()) as client:
        assert push_file(client, local, str(remote), digest).sent == MIB
    assert remote.read_bytes() == local.read_bytes()


def test_a_corrupted_artefact_never_takes_the_place_of_a_good_one(server: Server, tmp_path: Path) -> None:
    local, digest = blob(tmp_path / "a", MIB)
    remote = tmp_path / "b"
    remote.write_bytes(b"good old")
    data = bytearray(local.read_bytes())
    data[-1] ^= 1
    local.write_bytes(data)
    with (
        connect(server.target()) as client,
        pytest.raises(DigestMismatchError, match=f"on the controller is not the file.*{digest}"),
    ):
        push_file(client, local, str(remote), digest)
    assert remote.read_bytes() == b"good old"
    assert not Path(Push(local, str(remote), digest).part).exists()


def test_a_directory_in_the_way_and_a_missing_local_file_are_refused(server: Server, tmp_path: Path) -> None:
    local, digest = blob(tmp_path / "a", 10)
    (tmp_path / "dir").mkdir()
    with connect(server.target()) as client:
        with pytest.raises(TransferError, match="is a directory"):
            push_file(client, local, str(tmp_path / "dir"), digest)
        with pytest.raises(TransferError, match=r"cannot read .*nothing"):
            push_file(client, tmp_path / "nothing", str(tmp_path / "x"), digest)
    assert list((tmp_path / "dir").iterdir()) == []


def test_a_host_that_refuses_to_write_says_so(server: Server, tmp_path: Path) -> None:
    local, digest = blob(tmp_path / "a", 10)
    (tmp_path / "file").write_text("in the way")
    with connect(server.target()) as client, pytest.raises(SshError, match=r"mkdir|directory"):
        push_file(client, local, str(tmp_path / "file" / "b"), digest)


def test_too_little_room_is_refused_before_a_byte_is_sent(bare_host: Server, tmp_path: Path) -> None:
    """/small of the throw-away host has 8 MiB."""
    pushes = [Push(*_remote(blob(tmp_path / f"a{n}", 5 * MIB, bytes([n])), f"/small/b{n}")) for n in range(2)]
    with _password_login(bare_host) as client:
        with pytest.raises(DiskFullError, match=r"/small has 8\.0 MiB free, 14\.0 MiB are needed.*Nothing was sent"):
            push_files(client, pushes)
        assert run(client, "ls -A /small").stdout == ""


def test_a_disk_that_fills_up_meanwhile_leaves_the_old_file_and_no_part(
    bare_host: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, digest = blob(tmp_path / "a", 3 * MIB)
    with _password_login(bare_host) as client:
        run(client, "echo old >/small/b")
        send = transfer._send

        def fill_then_send(*arguments: object) -> None:
            run(client, "head -c 6291456 /dev/zero >/small/other")
            send(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(transfer, "_send", fill_then_send)
        with pytest.raises(DiskFullError, match="filled up while /small/b was sent"):
            push_file(client, local, "/small/b", digest)
        assert run(client, "cat /small/b; ls -A /small").stdout.split() == ["old", "b", "other"]
        monkeypatch.undo()
        run(client, "rm /small/other")
        assert push_file(client, local, "/small/b", digest).sent == 3 * MIB


def test_a_user_with_sudo_writes_where_only_root_may(bare_host: Server, tmp_path: Path) -> None:
    local, digest = blob(tmp_path / "a", 2 * MIB)
    with _password_login(bare_host) as client:
        if run(client, "command -v sudo", check_status=False).status:
            lacking("sudo is missing: install the package sudo")
        run(client, "useradd -m admin && echo admin:secret1 | chpasswd && install -d -m 700 /root/only")
        run(client, "echo 'admin ALL=(ALL) ALL' >/etc/sudoers.d/admin")
    target = bare_host.target(user="admin", key_file=None, password="secret1", become=True, become_password="secret1")
    with connect(target) as client:
        rights = privilege(client, target)
        assert push_file(client, local, "/root/only/b", digest, 0o600, rights=rights).sent == 2 * MIB
        assert push_file(client, local, "/root/only/b", digest, 0o600, rights=rights).sent == 0
    with _password_login(bare_host) as client:
        assert run(client, "stat -c '%U %a' /root/only/b").stdout.split() == ["root", "600"]
    with (
        connect(bare_host.target(user="admin", key_file=None, password="secret1")) as client,
        pytest.raises(SshError, match="cannot become root"),
    ):
        privilege(client, bare_host.target(user="admin", become=True, become_password="wrong"))


def _remote(made: tuple[Path, str], remote: str) -> tuple[Path, str, str]:
    return made[0], remote, made[1]


def _password_login(server: Server) -> paramiko.SSHClient:
    return connect(server.target(key_file=None, password="first-login"))
