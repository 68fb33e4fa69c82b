# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives: what is unpacked, and what is refused."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state import archive, errors

from .fake_host import tar_of


def _unpack(tmp_path: Path, data: bytes, strip: int = 0, members: tuple[str, ...] = ()) -> dict[str, dict[str, str]]:
    (tmp_path / "archive").write_bytes(data)
    target = tmp_path / "target"
    target.mkdir()
    return archive.unpack(str(tmp_path / "archive"), str(target), strip, members, "artifact x/1")


def _tar(*members: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return buffer.getvalue()


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, link, mode
    member.size = 1 if kind == tarfile.REGTYPE else 0
    return member


def test_files_are_stripped_chosen_and_digested(tmp_path: Path) -> None:
    found = _unpack(tmp_path, tar_of({"./linux/a": "A", "linux/sub/b": "B", "top": "T"}), 1, ("a", "sub/b"))
    assert sorted(found) == ["a", "sub/b"]
    assert (tmp_path / "target/sub/b").read_text() == "B"
    assert found["a"]["sha256"] == "559aead08264d5795d3909718cdd05abd49572e84fe55590eef31a88a08fdffd"


def test_modes_are_reduced_to_executable_or_not(tmp_path: Path) -> None:
    _unpack(tmp_path, _tar(_member("tool", mode=0o6777), _member("text", mode=0o666)))
    assert (tmp_path / "target/tool").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "target/text").stat().st_mode & 0o7777 == 0o644


def test_links_inside_are_kept(tmp_path: Path) -> None:
    found = _unpack(tmp_path, _tar(_member("bin/tool"), _member("bin/alias", tarfile.SYMTYPE, "tool")))
    assert found["bin/alias"] == {"link": "tool"}
    assert (tmp_path / "target/bin/alias").resolve() == tmp_path / "target/bin/tool"


@pytest.mark.parametrize(
    "member",
    [
        _member("/etc/passwd"),
        _member("../evil"),
        _member("a/../../evil"),
        _member("a\\..\\evil"),
        _member("link", tarfile.SYMTYPE, "/etc/passwd"),
        _member("a/link", tarfile.SYMTYPE, "../../etc/passwd"),
        _member("device", tarfile.CHRTYPE),
        _member("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda member: member.name,
)
def test_paths_outside_the_target_are_refused(tmp_path: Path, member: tarfile.TarInfo) -> None:
    with pytest.raises(errors.HostStateError, match="artifact x/1: refused"):
        _unpack(tmp_path, _tar(member))
    assert {entry.name for entry in tmp_path.iterdir()} == {"archive", "target"}


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    with pytest.raises(errors.HostStateError, match="through a link"):
        _unpack(tmp_path, _tar(_member("real/x"), _member("a", tarfile.SYMTYPE, "real"), _member("a/file")))


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.HostStateError, match="twice"):
        _unpack(tmp_path, _tar(_member("a"), _member("./a")))


@pytest.mark.parametrize("data", [b"no archive", tar_of({"a": "x" * 10000})[:80], gzip.compress(b"no tar")])
def test_damaged_archives_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(errors.HostStateError, match="damaged or no tar archive"):
        _unpack(tmp_path, data)


def test_missing_members_are_named(tmp_path: Path) -> None:
    with pytest.raises(errors.HostStateError, match=r"holds no bin/ctr \(paths count after strip=0\)"):
        _unpack(tmp_path, tar_of({"bin/containerd": "x"}), 0, ("bin/containerd", "bin/ctr"))


def test_stripping_everything_away_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.HostStateError, match=r"holds no file \(strip=3\)"):
        _unpack(tmp_path, tar_of({"bin/containerd": "x"}), 3)
