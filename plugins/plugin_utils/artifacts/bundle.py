# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Air-gap bundles: all that one environment needs in one directory with its lock file, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import packages
from .collection import Collection
from .errors import SourceError
from .lock import BUNDLE_LOCK, MIRROR_LOCK

if TYPE_CHECKING:
    from pathlib import Path


def bundle(directory: Path | str) -> Collection:
    """Open a bundle to be written; what a later `fill` no longer asks for is removed from it.

    Raises SourceError for a directory that is a mirror or holds something else.
    """
    opened = Collection.at(directory, BUNDLE_LOCK, exact=True)
    root = opened.root
    if (root / MIRROR_LOCK).exists():
        raise SourceError(f"bundle {root} is a mirror (it has {MIRROR_LOCK}); choose another directory")
    if root.is_dir() and not (root / BUNDLE_LOCK).exists() and any(_foreign(root)):
        raise SourceError(
            f"bundle {root} holds other things ({', '.join(_foreign(root)[:3])}) and no {BUNDLE_LOCK};"
            " choose an empty or new directory"
        )
    return opened


def _foreign(root: Path) -> list[str]:
    """List what cannot be of an interrupted `fill`: that leaves folders called after hosts, and the one of packages."""
    return sorted(
        path.name
        for path in root.iterdir()
        if not (path.is_dir() and ("." in path.name.strip(".") or path.name == packages.FOLDER))
    )
