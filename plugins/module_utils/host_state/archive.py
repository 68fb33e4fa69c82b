# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives: unpacked member by member, nothing outside the target, each file's digest taken on the way."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import posixpath
import tarfile
import zlib
from typing import IO, TYPE_CHECKING, Any

from .errors import HostStateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHUNK = 1 << 20


def _member_path(name: str, strip: int, archive: str) -> str:
    """Path of a member below the target, "" when `strip` leaves nothing of it."""
    if name.startswith("/") or "\\" in name or "\0" in name:
        raise HostStateError(f"{archive}: refused, member {name!r} has a path outside the archive")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise HostStateError(f"{archive}: refused, member {name!r} has a path outside the archive")
    return "/".join(parts[strip:])


def _check_link(path: str, target: str, archive: str) -> None:
    end = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    if target.startswith("/") or end == ".." or end.startswith("../"):
        raise HostStateError(f"{archive}: refused, link {path!r} points outside the archive, at {target!r}")


def _copy(stream: IO[bytes], real: str, mode: int) -> str:
    digest = hashlib.sha256()
    handle = os.open(real, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb", buffering=0) as target:
        while True:
            chunk = stream.read(CHUNK)
            if not chunk:
                break
            digest.update(chunk)
            view = memoryview(chunk)
            while view:
                view = view[target.write(view) :]
        os.fchmod(handle, mode)
        os.fsync(handle)
    return digest.hexdigest()


def _wanted(tar: tarfile.TarFile, strip: int, archive: str) -> Iterator[tuple[tarfile.TarInfo, str]]:
    for member in tar:
        path = _member_path(member.name, strip, archive)
        if member.isdir() or not path:
            continue
        if not (member.isreg() or member.issym() or member.islnk()):
            raise HostStateError(f"{archive}: refused, member {member.name!r} is neither file nor link nor directory")
        yield member, path


def unpack(real_archive: str, real_target: str, strip: int, members: Sequence[str], archive: str) -> dict[str, Any]:
    """Unpack into an empty directory; `archive` names it in messages.

    Returns {path below the target: {"sha256": …} or {"link": target}}. Setuid bits, owners and devices are never
    taken over. Raises HostStateError for members outside the target, for absent `members` and for a damaged archive.
    """
    found: dict[str, Any] = {}
    try:
        with tarfile.open(real_archive, "r:*") as tar:
            for member, path in _wanted(tar, strip, archive):
                if members and path not in members:
                    continue
                real = os.path.join(real_target, path)
                _make_parents(real_target, path, archive)
                if os.path.lexists(real):
                    raise HostStateError(f"{archive}: refused, member {path!r} is there twice")
                if member.issym():
                    _check_link(path, member.linkname, archive)
                    os.symlink(member.linkname, real)
                    found[path] = {"link": member.linkname}
                    continue
                stream = tar.extractfile(member)
                if stream is None:
                    raise HostStateError(f"{archive}: member {member.name!r} cannot be read")
                with stream:
                    found[path] = {"sha256": _copy(stream, real, 0o755 if member.mode & 0o111 else 0o644)}
    except (tarfile.TarError, EOFError, KeyError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise HostStateError(f"{archive}: cannot be unpacked, it is damaged or no tar archive: {error}") from error
    absent = [name for name in members if name not in found]
    if absent:
        raise HostStateError(f"{archive}: holds no {', '.join(absent)} (paths count after strip={strip})")
    if not found:
        raise HostStateError(f"{archive}: holds no file (strip={strip})")
    return found


def _make_parents(real_target: str, path: str, archive: str) -> None:
    real = real_target
    for part in path.split("/")[:-1]:
        real = os.path.join(real, part)
        if os.path.islink(real):
            raise HostStateError(f"{archive}: refused, member {path!r} would be written through a link")
        if not os.path.isdir(real):
            os.mkdir(real, 0o755)
            os.chmod(real, 0o755)  # noqa: S103 - software that everybody runs
