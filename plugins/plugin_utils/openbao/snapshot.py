# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of a server with raft storage: taken, looked at, and kept encrypted."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.api import Api
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError

_MEMBERS = ("meta.json", "state.bin", "SHA256SUMS")


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that is whole. `index` counts the changes that are in it; `size` is in bytes."""

    index: int
    size: int


def take(api: Api) -> bytes:
    """Ask for a snapshot. Raises OpenBaoError."""
    status, data = api.server.download("sys/storage/raft/snapshot", api.token)
    if status != 200:
        raise OpenBaoError(
            f"{api.server.url}: wanted a snapshot, and it refuses ({status}). Snapshots need raft storage, an active server, and"
            " a token that may read sys/storage/raft/snapshot"
        )
    check(data, api.server.url)
    return data


def check(data: bytes, where: str) -> Snapshot:
    """Look whether a snapshot is whole, by the checksums in it. Raises OpenBaoError."""
    try:
        members = _members(data)
        lines = [line.split() for line in members["SHA256SUMS"].decode().splitlines() if line.strip()]
        sums = {name: digest for digest, name in lines}
        index = int(json.loads(members["meta.json"])["Index"])
    except (tarfile.TarError, OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise OpenBaoError(f"{where}: this is no whole snapshot ({error}). Take another one") from None
    wrong = [name for name in _MEMBERS[:2] if hashlib.sha256(members[name]).hexdigest() != sums.get(name)]
    if wrong:
        raise OpenBaoError(
            f"{where}: {', '.join(wrong)} in the snapshot is not what its checksum says. Take another one"
        )
    return Snapshot(index, len(data))


def _members(data: bytes) -> dict[str, bytes]:
    found: dict[str, Any] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.name in _MEMBERS else None
            if stream is not None:
                found[member.name] = stream.read()
    missing = [name for name in _MEMBERS if name not in found]
    if missing:
        raise KeyError(f"without {', '.join(missing)}")
    return found
