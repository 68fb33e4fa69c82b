# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories that hold artefacts under their upstream names with a lock file: how mirrors and bundles are written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from .cache import Cache, sha256_of
from .errors import SourceError
from .fetch import fetch, plan_fetch
from .lock import Lock, LockedFile
from .transport import Transport

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .catalogue import Entry
    from .progress import Progress
    from .registry import Registry
    from .source import Source


@dataclass(frozen=True)
class Change:
    """What was, or in a plan would be, different: mirror paths that are put there and that are removed, sorted."""

    put: tuple[str, ...]
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether there is anything to do."""
        return bool(self.put or self.removed)


@dataclass(frozen=True)
class Collection:
    """A directory to be written: `exact` ones hold nothing but what was asked for last, others grow."""

    root: Path
    lock_name: str
    exact: bool

    @classmethod
    def at(cls, directory: Path | str, lock_name: str, *, exact: bool) -> Collection:
        """Open a directory, which need not exist yet. Raises SourceError when none is named or it is something else."""
        if not str(directory).strip():
            raise SourceError("no directory was given to write to; set it (artifacts_destination for the playbooks)")
        root = Path(directory).expanduser().absolute()
        if root.exists() and not root.is_dir():
            raise SourceError(f"{root} is not a directory; choose another path")
        return cls(root, lock_name, exact)

    def lock(self) -> Lock:
        """Read the directory's own lock file, empty when there is none."""
        return Lock.load(self.root / self.lock_name)

    def plan(
        self,
        entries: Iterable[Entry],
        source: Source,
        cache_dir: Path,
        lock: Lock,
        transport: Transport | None = None,
        more: Mapping[str, LockedFile | None] = MappingProxyType({}),
    ) -> Change:
        """Tell what `fill` would change. Downloads no artefact; what lies here is compared by its name and size.

        Of `more` is None what has yet to be made.
        """
        transport = transport or Transport()
        planned = plan_fetch(entries, source, cache_dir, lock, transport)
        own = self.lock()
        put = []
        for item in planned:
            known, file = own.get(item.entry.path), self.root / item.entry.path
            same = known is not None and item.sha256 in (known.sha256, None) and file.is_file()
            if not same or (known is not None and known.size not in (None, file.stat().st_size)):
                put.append(item.entry.path)
        put += [path for path, file in more.items() if file is None]
        return Change(tuple(sorted(put)), self._stale(own, {*(item.entry.path for item in planned), *more}))

    def fill(
        self,
        entries: Iterable[Entry],
        source: Source,
        cache_dir: Path,
        lock: Lock,
        *,
        progress: Progress | None = None,
        jobs: int = 4,
        transport: Transport | None = None,
        registry: Registry | None = None,
        more: Mapping[str, LockedFile] = MappingProxyType({}),
    ) -> Change:
        """Fetch every entry, put it here and write the lock file; everything that lies here is verified on the way.

        `more` are files that no catalogue knows, by their path: they lie here already, or in the cache.

        The lock file is written after the files that it names and before those are removed that it no longer names, so
        whoever reads the directory at any moment finds all that its lock file promises.
        """
        transport = transport or Transport()
        wanted = {entry.path: entry for entry in entries}
        fetched = fetch(
            wanted.values(),
            source,
            cache_dir,
            lock,
            progress=progress,
            jobs=jobs,
            transport=transport,
            registry=registry,
        )
        own, cache, put = self.lock(), Cache(cache_dir), []
        theirs = source.lock(transport)
        stale = self._stale(own, {*wanted, *more})
        files = {} if self.exact else own.files
        for path, entry in wanted.items():
            file = fetched[entry.key]
            target = self.root / path
            if not target.is_file() or sha256_of(target) != file.sha256:
                cache.lend(file.sha256, target)
                put.append(path)
            files[path] = _locked(entry, file.sha256, file.size, lock, theirs)
        for path, locked in more.items():
            target = self.root / path
            if not target.is_file() or sha256_of(target) != locked.sha256:
                cache.lend(locked.sha256, target)
                put.append(path)
            files[path] = locked
        written = Lock(
            own.path,
            origin=theirs.origin if theirs is not None and theirs.origin else "downloaded",
            built_by=theirs.built_by if theirs is not None else "",
            created=own.created,
            files=files,
        )
        if own.files != files or own.origin != written.origin or own.built_by != written.built_by:
            written.write()
        for path in stale:
            self._remove(path)
        return Change(tuple(sorted(put)), stale)

    def _stale(self, own: Lock, wanted: set[str]) -> tuple[str, ...]:
        return tuple(sorted(own.files.keys() - wanted)) if self.exact else ()

    def _remove(self, path: str) -> None:
        file = self.root / path
        file.unlink(missing_ok=True)
        for folder in file.parents:
            if folder == self.root or any(folder.iterdir()):
                return
            folder.rmdir()


def _locked(entry: Entry, sha256: str, size: int, lock: Lock, theirs: Lock | None) -> LockedFile:
    """Say of a file what it was checked against, as far back as is known."""
    for known in (theirs.get(entry.path) if theirs is not None else None, lock.get(entry.path)):
        if known is not None and known.sha256 == sha256:
            return LockedFile(sha256, size, known.digest or entry.digest, known.checked)
    return LockedFile(sha256, size, entry.digest, "the catalogue" if entry.sha256 == sha256 else "")
