# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings artefacts into the cache: in parallel, resumable, verified before they count as there."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .cache import Cache, sha256_of
from .digests import expected_sha256
from .errors import ArtifactError, DigestMismatch, DigestUnknown, DownloadFailed, FetchFailed
from .lock import Lock, LockedFile
from .oci_archive import check_archive
from .progress import Event, Progress, serialised
from .registry import Registry
from .transport import Transport

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .catalogue import Entry
    from .source import Source


@dataclass(frozen=True)
class Fetched:
    """An artefact that is here: its file, sha256 (64 hex digits), size in bytes; `cached` when it was here before."""

    path: Path
    sha256: str
    size: int
    cached: bool = False


@dataclass(frozen=True)
class Planned:
    """What `fetch` would do for one entry.

    `sha256` is None for an image that was never pulled, `size` (bytes) None where nothing states it; `origin` is the
    address that it would come from.
    """

    entry: Entry
    sha256: str | None
    size: int | None
    cached: bool
    origin: str


def plan_fetch(
    entries: Iterable[Entry], source: Source, cache_dir: Path | str, lock: Lock, transport: Transport | None = None
) -> list[Planned]:
    """Tell what `fetch` would do; downloads no artefact, at most checksum files and a mirror's lock file.

    Raises FetchFailed with everything that stands in the way.
    """
    transport = transport or Transport()
    cache = Cache(cache_dir)
    wanted = _unique(entries)
    source.lock(transport)
    planned, errors = [], []
    for entry in wanted:
        try:
            sha256 = expected_sha256(entry, source, lock, transport)
        except DigestUnknown:
            planned.append(Planned(entry, None, None, False, entry.reference))
        except ArtifactError as error:
            errors.append(error)
        else:
            stated = (source.lock(transport) or lock).get(entry.path)
            origin = str(Path(source.root, entry.path)) if source.is_local else source.url(entry.path, entry.url)
            planned.append(Planned(entry, sha256, stated.size if stated else None, cache.holds(sha256), origin))
    if errors:
        raise FetchFailed(list({str(error): error for error in errors}.values()), len(wanted))
    return planned


def fetch(
    entries: Iterable[Entry],
    source: Source,
    cache_dir: Path | str,
    lock: Lock,
    *,
    progress: Progress | None = None,
    jobs: int = 4,
    transport: Transport | None = None,
    registry: Registry | None = None,
) -> dict[str, Fetched]:
    """Bring every entry into the cache and return the files by `Entry.key`.

    What is in the cache is read through again before it is used. What had to be learnt (a checksum file, an image's
    digest) is recorded in `lock`, which is saved. All entries are tried; then FetchFailed tells of all that failed.
    """
    transport = transport or Transport()
    work = _Fetch(
        source,
        Cache(cache_dir),
        lock,
        serialised(progress),
        transport=transport,
        registry=registry or Registry(transport),
    )
    wanted = _unique(entries)
    source.lock(transport)  # what is wrong with the source as a whole is said once, not per artefact
    done: dict[str, Fetched] = {}
    errors: list[ArtifactError] = []
    pool = ThreadPoolExecutor(max_workers=max(1, jobs), thread_name_prefix="fetch")
    try:
        for entry, outcome in zip(wanted, pool.map(work.one, wanted), strict=True):
            if isinstance(outcome, ArtifactError):
                errors.append(outcome)
            else:
                done[entry.key] = outcome
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        lock.save()
    if errors:
        raise FetchFailed(list({str(error): error for error in errors}.values()), len(wanted))
    return done


class _Fetch:
    """One call of `fetch`: what all its threads share."""

    def __init__(
        self, source: Source, cache: Cache, lock: Lock, progress: Progress, *, transport: Transport, registry: Registry
    ) -> None:
        self._registry = registry
        self._source = source
        self._cache = cache
        self._lock = lock
        self._progress = progress
        self._transport = transport

    def one(self, entry: Entry) -> Fetched | ArtifactError:
        """Fetch one entry; an error is returned, so that the others go on."""
        self._progress(Event(entry.key, "start"))
        try:
            fetched = self._bring(entry)
        except ArtifactError as error:
            self._progress(Event(entry.key, "failed", text=str(error)))
            return error
        except OSError as error:
            failed = DownloadFailed(
                f"{entry}: {error}; look at the cache directory {self._cache.root} and the disk it is on"
            )
            self._progress(Event(entry.key, "failed", text=str(failed)))
            return failed
        self._progress(Event(entry.key, "cached" if fetched.cached else "done", fetched.size, fetched.size))
        return fetched

    def _bring(self, entry: Entry) -> Fetched:
        try:
            sha256 = expected_sha256(entry, self._source, self._lock, self._transport)
        except DigestUnknown:
            return self._pull(entry, None)
        there = self._cache.verified(sha256)
        if there is not None:
            return self._accept(entry, there, sha256, cached=True)
        if self._source.kind == "upstream" and entry.kind == "image":
            return self._pull(entry, sha256)
        part = self._cache.partial(
            self._source.url(entry.path, entry.url) if not self._source.is_local else entry.path, sha256
        )
        with self._cache.hold(part):
            there = self._cache.verified(sha256)
            if there is not None:
                return self._accept(entry, there, sha256, cached=True)
            if self._source.is_local:
                self._copy(entry, part, sha256)
            else:
                self._download(entry, part, sha256)
            return self._accept(entry, self._cache.adopt(part, sha256), sha256, cached=False)

    def _accept(self, entry: Entry, path: Path, sha256: str, *, cached: bool) -> Fetched:
        if entry.kind == "image":
            own = self._source.lock(self._transport)
            built = own is not None and own.origin == "built"
            check_archive(path, entry.reference, entry.arch, None if built else entry.digest)
        return Fetched(path, sha256, path.stat().st_size, cached)

    def _copy(self, entry: Entry, part: Path, sha256: str) -> None:
        original = self._source.file(entry.path)
        shutil.copyfile(original, part)
        found = sha256_of(part)
        if found != sha256:
            part.unlink()
            raise self._mismatch(entry, str(original), sha256, found)

    def _download(self, entry: Entry, part: Path, sha256: str) -> None:
        url = self._source.url(entry.path, entry.url)
        for fresh in (False, True):
            resumed = self._transport.download(
                url,
                part,
                on_bytes=lambda done, total: self._progress(Event(entry.key, "bytes", done, total)),
                on_retry=lambda reason: self._progress(Event(entry.key, "retry", text=reason)),
            )
            found = sha256_of(part)
            if found == sha256:
                return
            part.unlink()
            if fresh or not resumed:
                raise self._mismatch(entry, url, sha256, found)
            self._progress(
                Event(entry.key, "retry", text="what was left of an earlier download does not fit; starting over")
            )

    def _mismatch(self, entry: Entry, where: str, wanted: str, found: str) -> DigestMismatch:
        return DigestMismatch(
            f"{entry}: {where} has sha256 {found}, wanted {wanted} ({self._authority(entry)}). The file is damaged or"
            " not the one that was published; it was thrown away. Repair the source and run again"
        )

    def _authority(self, entry: Entry) -> str:
        own = self._source.lock(self._transport)
        if own is not None and own.origin == "built":
            return f"the lock file of the {self._source.kind}"
        if entry.sha256:
            return "the catalogue"
        remembered = self._lock.get(entry.path)
        return remembered.checked if remembered and remembered.checked else "the lock file"

    def _pull(self, entry: Entry, sha256: str | None) -> Fetched:
        remembered = self._lock.get(entry.path)
        digest = entry.digest or (remembered.digest if remembered else None)
        part = self._cache.partial(entry.reference, entry.arch, digest or "")
        with self._cache.hold(part):
            pulled = self._registry.pull(
                entry.reference,
                entry.arch,
                part,
                self._cache,
                digest=digest,
                on_bytes=lambda done, total: self._progress(Event(entry.key, "bytes", done, total)),
                on_retry=lambda reason: self._progress(Event(entry.key, "retry", text=reason)),
            )
            if sha256 is not None and pulled.sha256 != sha256:
                part.unlink()
                raise self._mismatch(entry, entry.reference, sha256, pulled.sha256)
            path = self._cache.adopt(part, pulled.sha256)
        checked = "the image digest in the catalogue" if entry.digest else "the registry's answer at the first pull"
        self._lock.record(entry.path, LockedFile(pulled.sha256, pulled.size, pulled.digest, checked))
        return self._accept(entry, path, pulled.sha256, cached=False)


def _unique(entries: Iterable[Entry]) -> list[Entry]:
    return list({entry.key: entry for entry in entries}.values())
