# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where artefacts come from: upstream, a mirror (directory or URL), or an air-gap bundle (directory)."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from .errors import MissingArtifact, SourceError
from .lock import BUNDLE_LOCK, MIRROR_LOCK, Lock
from .transport import Transport, redacted

if TYPE_CHECKING:
    from collections.abc import Mapping


class Source:
    """One way to get artefacts. Make it by `upstream`, `mirror` or `bundle`; it remembers the lock file it has read."""

    def __init__(self, kind: Literal["upstream", "mirror", "bundle"], root: str, *, trust_built: bool) -> None:
        self.kind = kind
        self.root = root
        self.trust_built = trust_built
        self._guard = threading.Lock()
        self._lock: Lock | None = None
        self._lock_read = False

    @classmethod
    def upstream(cls) -> Source:
        """Take from the projects' own download sites and registries."""
        return cls("upstream", "", trust_built=False)

    @classmethod
    def mirror(cls, root: Path | str, *, trust_built: bool = False) -> Source:
        """Take from a directory or URL with the upstream host names as top folders.

        `trust_built` accepts a mirror that was built from sources, whose files have other hashes than upstream's.
        """
        text = str(root)
        if text.startswith(("http://", "https://")):
            return cls("mirror", text.rstrip("/"), trust_built=trust_built)
        if "://" in text:
            raise SourceError(f"mirror {redacted(text)}: only a directory or an http(s) URL can be a mirror")
        return cls("mirror", _directory("mirror", text), trust_built=trust_built)

    @classmethod
    def bundle(cls, root: Path | str, *, trust_built: bool = False) -> Source:
        """Take from a directory made by `make_bundle`; nothing is ever taken from the network."""
        return cls("bundle", _directory("bundle", str(root)), trust_built=trust_built)

    @property
    def is_local(self) -> bool:
        """Whether everything lies in a directory on this machine."""
        return self.kind == "bundle" or (self.kind == "mirror" and not self.root.startswith(("http://", "https://")))

    def file(self, path: str) -> Path:
        """Find the file of a mirror path in a local source. Raises MissingArtifact."""
        file = Path(self.root, path)
        if not file.is_file():
            raise MissingArtifact(f"{self} has no {path}")
        return file

    def url(self, path: str, upstream: str) -> str:
        """Give the address of a file: below a mirror's URL by its mirror path, upstream as it is."""
        return upstream if self.kind == "upstream" else f"{self.root}/{quote(path, safe='/+~@:')}"

    def lock(self, transport: Transport) -> Lock | None:
        """Give the source's own lock file, read once; None for upstream or a mirror without one.

        Raises SourceError for a bundle without a lock file and for a built one that is not trusted.
        """
        with self._guard:
            if not self._lock_read:
                self._lock = self._checked(self._read(transport))
                self._lock_read = True
            return self._lock

    def _read(self, transport: Transport) -> Lock | None:
        if self.kind == "upstream":
            return None
        name = MIRROR_LOCK if self.kind == "mirror" else BUNDLE_LOCK
        if self.is_local:
            if not Path(self.root).is_dir():
                raise SourceError(f"{self}: there is no such directory")
            file = Path(self.root, name)
            if file.is_file():
                return Lock.load(file, read_only=True)
        else:
            try:
                body = transport.get(f"{self.root}/{name}").body
            except MissingArtifact:
                return None
            return Lock.parse(body.decode("utf-8", "replace"), f"{redacted(self.root)}/{name}")
        if self.kind == "bundle":
            raise SourceError(
                f"{self}: it has no {name}, so it was never finished; make it again with playbooks/bundle.yml"
            )
        return None

    def _checked(self, lock: Lock | None) -> Lock | None:
        if lock is not None and lock.origin == "built" and not self.trust_built:
            raise SourceError(
                f"{self} was built from sources ({lock.built_by or 'its lock file does not say with what'}): its files"
                " are not upstream's and have other hashes than the catalogue. Set artifacts_trust_built_mirror: true"
                " for this environment if that is what you want, or fill a mirror by download with playbooks/mirror.yml"
            )
        return lock

    def __str__(self) -> str:
        return self.kind if self.kind == "upstream" else f"{self.kind} {redacted(self.root)}"


@dataclass(frozen=True)
class Settings:
    """What the role's variables say about artefacts; `lock` None keeps no lock file."""

    source: Source
    cache: Path
    lock: Path | None
    jobs: int

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Settings:
        """Read the dict {mirror, bundle, cache, lock, trust_built_mirror, jobs} that actions take as `artifact_source`.

        Empty strings and missing keys mean the default. Raises SourceError naming everything that is wrong.
        """
        known = {"mirror", "bundle", "cache", "lock", "trust_built_mirror", "jobs"}
        problems = [
            f"artifact_source has no key {key!r}; it has {', '.join(sorted(known))}" for key in options.keys() - known
        ]
        mirror, bundle = str(options.get("mirror") or ""), str(options.get("bundle") or "")
        trust = options.get("trust_built_mirror") or False
        if mirror and bundle:
            problems.append(
                f"both a mirror ({redacted(mirror)}) and a bundle ({bundle}) are given; set only one of them"
            )
        if not isinstance(trust, bool):
            problems.append(f"trust_built_mirror is {trust!r}, it must be true or false")
        try:
            jobs = int(options.get("jobs") or 4)
        except (TypeError, ValueError):
            jobs = 0
        if not 1 <= jobs <= 32:
            problems.append(f"jobs is {options.get('jobs')!r}, it must be a number from 1 to 32")
        if problems:
            raise SourceError("; ".join(sorted(problems)))
        lock = str(options.get("lock") or "")
        return cls(
            source=_source(mirror, bundle, trust=bool(trust)),
            cache=Path(str(options.get("cache") or default_cache())).expanduser(),
            lock=Path(lock).expanduser() if lock else None,
            jobs=jobs,
        )


def default_cache() -> Path:
    """Give the controller's cache: below STAGECRAFT_CACHE, XDG_CACHE_HOME/stagecraft or ~/.cache/stagecraft."""
    root = os.environ.get("STAGECRAFT_CACHE")
    if not root:
        root = str(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "stagecraft"))
    return Path(root, "artifacts").expanduser()


def _source(mirror: str, bundle: str, *, trust: bool) -> Source:
    if bundle:
        return Source.bundle(bundle, trust_built=trust)
    return Source.mirror(mirror, trust_built=trust) if mirror else Source.upstream()


def _directory(what: str, text: str) -> str:
    if not text:
        raise SourceError(f"the {what}'s directory is empty")
    return str(Path(text).expanduser().absolute())
