# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of earlier checks, each under the digest of what it was asked, with the digests of what it was made from.

A result is used again only if every file and listing that it was made from has the same content still. No Secret's
value is in a result.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import secret_names


def default_directory() -> Path:
    """Return where results are kept when nothing else is said."""
    base = os.environ.get("STAGECRAFT_CACHE")
    if base:
        return Path(base).expanduser() / "gitops-check"
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "stagecraft" / "gitops-check"


@lru_cache(maxsize=1)
def engine_digest() -> str:
    """Return the digest of the gate's own code: another version does not use its results."""
    found = hashlib.sha256()
    for path in [*sorted(Path(__file__).parent.glob("*.py")), Path(secret_names.__file__)]:
        found.update(path.read_bytes())
    return found.hexdigest()


def key_of(*parts: Any) -> str:
    """Return the digest of plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


class Cache:
    """A JSON file for each repository and cluster path, readable for its owner only; it is never needed."""

    def __init__(self, directory: Path | None, name: str) -> None:
        """Take the directory (None: nothing is kept) and the name of what is checked."""
        self._path = None if directory is None else directory / f"{key_of(name)[:32]}.json"
        self._old: dict[str, Any] = {}
        self._new: dict[str, Any] = {}
        if self._path is not None:
            try:
                stored = json.loads(self._path.read_bytes())
            except (OSError, ValueError):
                stored = {}
            if isinstance(stored, dict) and stored.get("engine") == engine_digest():
                self._old = stored.get("results", {})

    def get(self, key: str) -> Any:
        """Return what was kept under a key, or None."""
        return self._new.get(key) or self._old.get(key)

    def put(self, key: str, value: Any) -> None:
        """Keep a value. What is not put again is forgotten by `save`."""
        self._new[key] = value

    def save(self) -> None:
        """Write the file; one that cannot be written is done without."""
        if self._path is None or self._new == self._old:
            return
        temporary = ""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".new-")
            with open(handle, "w", encoding="utf-8") as stream:
                json.dump({"engine": engine_digest(), "results": self._new}, stream, separators=(",", ":"))
            os.replace(temporary, self._path)
        except OSError:
            if temporary:
                Path(temporary).unlink(missing_ok=True)
