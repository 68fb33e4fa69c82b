# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Revisions, in all forms that Flux writes them. Pure.

`main@sha1:…` (a branch), `v1.2@sha1:…` (a tag), `refs/heads/main@sha1:…` (a full reference), `sha1:…` (a commit without
one), `latest@sha256:…` (an artefact), and `main/…` (before Flux 2.0) mean the part behind the last `@`.
"""

from __future__ import annotations

import re

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError

_DIGEST = re.compile(r"^(?:(?P<algorithm>sha1|sha256|sha384|sha512|blake3):)?(?P<hex>[0-9a-f]{7,128})$")


def digest(revision: str) -> str:
    """Return the hexadecimal digest of a revision, or "" where it has none."""
    last = revision.rpartition("@")[2]
    if "@" not in revision and ":" not in last:
        last = last.rpartition("/")[2]
    found = _DIGEST.match(last)
    return found["hex"] if found else ""


def wanted(revision: str) -> str:
    """Return the digest to wait for, of a whole revision or an abbreviated commit. Raises FluxError."""
    found = digest(revision.strip().lower())
    if not found:
        raise FluxError(
            f"revision {revision!r} is no commit; wanted the commit's hexadecimal id (7 digits or more), or a revision "
            "as Flux writes it, such as main@sha1:4f9c…"
        )
    return found


def same(found: str, target: str) -> bool:
    """Say whether the revision `found` is the one whose digest, or the beginning of it, is `target`."""
    return bool(target) and digest(found).startswith(target)


def short(revision: str) -> str:
    """Return a revision as messages name it: the reference, and the digest cut to 12 digits."""
    found = digest(revision)
    return revision.replace(found, found[:12]) if found else revision or "no revision"
