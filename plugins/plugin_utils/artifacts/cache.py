# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's cache: files under the name of their sha256, verified when they enter and whenever they are used.

Layout under the root: `sha256/<first two digits>/<sha256>` (complete files) and `partial/` (downloads under way, kept
over an interruption so that they can be resumed). Several processes may share one cache.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK = 1 << 20


def sha256_of(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """Give the sha256 of a file in hexadecimal; `on_bytes` hears of every piece read, in bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
    return digest.hexdigest()


class Cache:
    """A content-addressed directory; made on first use."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).expanduser()

    def path(self, sha256: str) -> Path:
        """Where a file of this digest lies, or would."""
        return self.root / "sha256" / sha256[:2] / sha256

    def holds(self, sha256: str) -> bool:
        """Whether there is such a file; says nothing about its contents (see `verified`)."""
        return self.path(sha256).is_file()

    def verified(self, sha256: str) -> Path | None:
        """Give the file of this digest after reading it through; a damaged one is removed and None returned."""
        path = self.path(sha256)
        try:
            if sha256_of(path) == sha256:
                return path
        except FileNotFoundError:
            return None
        path.unlink(missing_ok=True)
        return None

    def partial(self, *identity: str) -> Path:
        """Give the file for a download under way; the same identity (URL, expected digest) finds it again."""
        name = hashlib.sha256("\0".join(identity).encode()).hexdigest()
        folder = self.root / "partial"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.part"

    def adopt(self, file: Path, sha256: str) -> Path:
        """Move a file, whose digest the caller has verified, to its place."""
        path = self.path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
        file.chmod(0o644)
        return file.replace(path)

    def lend(self, sha256: str, target: Path) -> None:
        """Put a file of the cache at `target` as well, atomically: a hard link, or a copy on another file system."""
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        try:
            try:
                temporary.hardlink_to(self.path(sha256))
            except OSError:
                shutil.copyfile(self.path(sha256), temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def hold(self, partial: Path) -> Iterator[None]:
        """Keep other processes and threads off one partial file; waits for its turn."""
        lock = partial.with_suffix(".lock")
        while True:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _same_file(descriptor, lock):
                    try:
                        yield
                    finally:
                        lock.unlink(missing_ok=True)
                    return
            finally:
                os.close(descriptor)


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
