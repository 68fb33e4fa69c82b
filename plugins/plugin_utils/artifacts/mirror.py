# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirrors: filled from upstream under the upstream names, for any number of environments."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .catalogue import ImageReference
from .collection import Collection
from .errors import ArtifactError, SourceError
from .lock import BUNDLE_LOCK, MIRROR_LOCK
from .registry import Registry
from .transport import Policy, Transport

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .catalogue import Entry

_PROBE = Policy(attempts=1, most=1, connect_timeout=3.0, read_timeout=5.0)


def mirror(directory: Path | str) -> Collection:
    """Open a mirror to be filled by download; what it holds already stays.

    Raises SourceError for a mirror that was built from sources (the two kinds of hashes must not mix) and for a bundle.
    """
    opened = Collection.at(directory, MIRROR_LOCK, exact=False)
    root = opened.root
    if (root / BUNDLE_LOCK).exists():
        raise SourceError(f"mirror {root} is a bundle (it has {BUNDLE_LOCK}); choose another directory")
    if opened.lock().origin == "built":
        raise SourceError(
            f"mirror {root} was built from sources; downloaded files have other hashes and must not mix with it."
            " Choose another directory"
        )
    return opened


def unreachable(entries: Iterable[Entry], transport: Transport | None = None) -> dict[str, str]:
    """Tell which upstream hosts do not serve what these entries need, with the reason; empty when all do.

    Asks each host once for a small document (a checksum file, an image's manifest), for a few seconds at most.
    """
    transport = transport or Transport(_PROBE)
    registry = Registry(transport)
    asked: dict[str, Entry] = {}
    for entry in entries:
        if entry.kind == "image" or entry.checksum_url:
            asked.setdefault(urlsplit(entry.checksum_url or entry.url).netloc, entry)
    problems = {}
    for host, entry in asked.items():
        try:
            if entry.checksum_url:
                transport.get(entry.checksum_url)
            else:
                registry.digest(ImageReference.parse(entry.reference))
        except ArtifactError as error:
            problems[host] = str(error)
    return problems
