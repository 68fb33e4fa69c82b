# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lock files: what a mirror or a bundle holds, and what an environment has learnt from upstream and keeps to.

One format for all three::

    {"schema": 1, "origin": "built" | "downloaded" | "", "created": "RFC 3339", "built_by": "…",
     "files": {"<mirror path>": {"sha256": "64 hex", "size": bytes, "digest": "sha256:…", "checked": "against what"}}}

`digest` is that of an image's index, `checked` says in words what the sha256 was checked against; both are optional.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import tempfile
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import DigestMismatch, LockError

if TYPE_CHECKING:
    from collections.abc import Iterator

MIRROR_LOCK = "stagecraft-mirror.lock.json"
BUNDLE_LOCK = "stagecraft-bundle.lock.json"

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class LockedFile:
    """What a lock file says about one file; `size` is in bytes, None when it was never seen whole."""

    sha256: str
    size: int | None = None
    digest: str | None = None
    checked: str = ""

    def as_json(self) -> dict[str, Any]:
        """Give the entry as it stands in the file, without what is empty."""
        fields = {"sha256": self.sha256, "size": self.size, "digest": self.digest, "checked": self.checked}
        return {name: value for name, value in fields.items() if value not in (None, "")}


class Lock:
    """A lock file in memory. Threads may share one; processes that save to one file merge instead of overwriting."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        origin: str = "",
        built_by: str = "",
        created: str = "",
        files: dict[str, LockedFile] | None = None,
        read_only: bool = False,
    ) -> None:
        self.path = path
        self.origin = origin
        self.built_by = built_by
        self.created = created
        self.read_only = read_only
        self._files = dict(files or {})
        self._guard = threading.Lock()
        self._unsaved: set[str] = set()

    @classmethod
    def load(cls, path: Path | str | None, *, read_only: bool = False) -> Lock:
        """Read the lock at `path`; an empty one when there is no such file. None gives a lock that is never written."""
        if path is None:
            return cls(read_only=True)
        file = Path(path).expanduser()
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return cls(file, read_only=read_only)
        except (OSError, UnicodeDecodeError) as error:
            raise LockError(f"lock file {file} cannot be read: {error}") from error
        lock = cls.parse(text, str(file))
        lock.path = file
        lock.read_only = read_only
        return lock

    @classmethod
    def parse(cls, text: str, where: str) -> Lock:
        """Read the lock in `text`; `where` names it in errors. Raises LockError with all that is wrong."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise LockError(
                f"lock file {where} is not JSON: {error}; restore it or, if it is yours, remove it"
            ) from error
        if not isinstance(data, dict) or data.get("schema") != 1 or not isinstance(data.get("files"), dict):
            raise LockError(f"lock file {where} is not of schema 1 (a mapping with schema: 1 and files)")
        files: dict[str, LockedFile] = {}
        problems = []
        for path, fields in data["files"].items():
            if not _safe(path):
                problems.append(f"{path!r} is not a path below the root")
            elif not isinstance(fields, dict) or not _SHA256.fullmatch(str(fields.get("sha256"))):
                problems.append(f"{path}: no sha256 of 64 hexadecimal digits")
            elif not isinstance(fields.get("size"), (int, type(None))):
                problems.append(f"{path}: size is not a number")
            else:
                files[path] = LockedFile(
                    fields["sha256"], fields.get("size"), fields.get("digest"), str(fields.get("checked", ""))
                )
        if data.get("origin", "") not in ("", "built", "downloaded"):
            problems.append(f"origin {data['origin']!r} is neither built nor downloaded")
        if problems:
            raise LockError(f"lock file {where}: " + "; ".join(problems))
        return cls(
            origin=data.get("origin", ""),
            built_by=str(data.get("built_by", "")),
            created=str(data.get("created", "")),
            files=files,
        )

    @property
    def files(self) -> dict[str, LockedFile]:
        """A copy of all entries by mirror path."""
        with self._guard:
            return dict(self._files)

    def get(self, path: str) -> LockedFile | None:
        """Tell what is known about one file."""
        with self._guard:
            return self._files.get(path)

    def record(self, path: str, file: LockedFile) -> None:
        """Add an entry, or details to one that agrees. Raises DigestMismatch where it says another sha256."""
        with self._guard:
            known = self._files.get(path)
            if known is not None and known.sha256 != file.sha256:
                raise DigestMismatch(
                    f"{path}: the lock file {self.path or '(in memory)'} has sha256"
                    f" {known.sha256}, now it would be {file.sha256};"
                    " remove the entry only if you know why upstream's file changed"
                )
            merged = file if known is None else _merge(known, file)
            if merged != known:
                self._files[path] = merged
                self._unsaved.add(path)

    def forget(self, path: str) -> None:
        """Drop an entry in memory (for locks that are written whole)."""
        with self._guard:
            self._files.pop(path, None)
            self._unsaved.discard(path)

    def save(self) -> bool:
        """Merge what was recorded here into the file and write it atomically; True when that changed the file.

        Does nothing for a read-only lock. Raises DigestMismatch when another process recorded another digest meanwhile.
        """
        with self._guard:
            if self.read_only or self.path is None or not self._unsaved:
                return False
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _exclusive(self.path.parent):
                disk = Lock.load(self.path)
                for path in sorted(self._unsaved):
                    disk.record(path, self._files[path])
                disk.origin, disk.built_by = self.origin, self.built_by
                disk.created = disk.created or self.created or now()
                changed = bool(disk._unsaved)
                if changed:
                    disk._write(self.path)
                self._files = {**self._files, **disk._files}
                self.created = disk.created
                self._unsaved.clear()
            return changed

    def write(self) -> None:
        """Replace the file by exactly what is in memory. Only for a lock with a single owner (a mirror, a bundle)."""
        with self._guard:
            if self.path is None:
                raise LockError("this lock has no file to be written to")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.created = self.created or now()
            self._write(self.path)
            self._unsaved.clear()

    def _write(self, path: Path) -> None:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(self.as_text())
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise

    def as_text(self) -> str:
        """Give the file's text: sorted, indented, the same for the same contents."""
        head = {"origin": self.origin, "created": self.created, "built_by": self.built_by}
        data: dict[str, Any] = {"schema": 1, **{name: value for name, value in head.items() if value}}
        data["files"] = {path: self._files[path].as_json() for path in sorted(self._files)}
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def now() -> str:
    """Tell the present moment as RFC 3339 in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _merge(known: LockedFile, new: LockedFile) -> LockedFile:
    return LockedFile(
        known.sha256,
        known.size if new.size is None else new.size,
        known.digest or new.digest,
        known.checked or new.checked,
    )


def _safe(path: str) -> bool:
    parts = path.split("/")
    return bool(path) and not path.startswith("/") and not any(part in ("", ".", "..") for part in parts)


@contextlib.contextmanager
def _exclusive(directory: Path) -> Iterator[None]:
    """Keep other processes that save a lock file in this directory waiting; leaves no file behind."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
