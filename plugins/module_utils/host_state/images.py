# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container images in containerd: which are there, which archive they came from, importing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .errors import HostStateError
from .spec import IMAGES_RECORD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .system import System

IMPORT_SECONDS = 600.0


def listed(system: System, ctr: str, namespace: str) -> frozenset[str] | None:
    """Return references in a namespace of containerd; None when containerd does not answer."""
    if system.stat(ctr) is None:
        return None
    done = system.query([ctr, "-n", namespace, "images", "ls", "-q"], timeout=20.0)
    return frozenset(done.stdout.split()) if done.rc == 0 else None


def recorded(system: System) -> dict[str, str]:
    """Archive digest by "namespace reference" of what was imported; empty when the record is absent or damaged."""
    try:
        data = json.loads(system.read(IMAGES_RECORD) or b"{}")
    except ValueError:
        return {}
    images = data.get("images", {}) if isinstance(data, dict) else {}
    return {str(key): str(value) for key, value in images.items()} if isinstance(images, dict) else {}


def record_key(namespace: str, reference: str) -> str:
    """Key of an image in the record."""
    return f"{namespace} {reference}"


def import_archive(system: System, ctr: str, namespace: str, archive: str, reference: str) -> None:
    """Import an archive and make sure that it brought `reference`."""
    done = system.command([ctr, "-n", namespace, "images", "import", system.path(archive)], timeout=IMPORT_SECONDS)
    if done.rc != 0:
        raise HostStateError(f"image {reference} could not be imported by {ctr} (rc {done.rc}): {done.output}")
    after = listed(system, ctr, namespace)
    if after is None or reference not in after:
        raise HostStateError(
            f"the image archive was imported, but containerd's namespace {namespace} has no {reference}; "
            f"ctr said: {done.output or 'nothing'}"
        )


def record(system: System, entries: Sequence[tuple[str, str, str]]) -> None:
    """Remember (namespace, reference, sha256 of the archive) of imported images."""
    images = recorded(system)
    for namespace, reference, sha256 in entries:
        images[record_key(namespace, reference)] = sha256
    text = json.dumps({"schema": 1, "images": images}, indent=1, sort_keys=True) + "\n"
    system.write_file(IMAGES_RECORD, text.encode())
