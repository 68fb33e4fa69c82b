# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The restore drill: a snapshot and the escrow alone bring back a server that answers what the lost one held."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import admin, initialize, snapshot
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Server
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.escrow import Escrow
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.throw_away import ThrowAwayServer

_PAUSE = 0.1


@dataclass(frozen=True)
class Canary:
    """A secret that has to be in every snapshot, and the values that it has to hold."""

    mount: str
    path: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Done:
    """What the restored server held."""

    seconds: float
    cluster: str
    mounts: tuple[str, ...]
    canary_version: int


def drill(
    program: str,
    data: bytes,
    kept: Escrow,
    canary: Canary,
    seal: tuple[str, Mapping[str, Any]] | None,
    seconds: float,
) -> Done:
    """Restore into a server that is thrown away, open it with the escrow, and read the canary. Raises OpenBaoError.

    `seal` is what the lost server unsealed itself by, which has to be at hand still; None where it took keys.
    """
    began = time.monotonic()
    snapshot.check(data, "the snapshot")
    if (seal is None) != (kept.seal == "shamir"):
        raise OpenBaoError(
            f"the escrow says that the server is unsealed by {kept.seal}, and the drill has"
            f" {'no seal' if seal is None else f'seal {seal[0]}'}: give seal as the server has it"
        )
    with ThrowAwayServer(program, seal, seconds) as server:
        _restore(server, data, kept, seconds)
        _open(server, kept, seconds)
        entry = admin.enter(server, kept)
        with entry.api as api:
            found = api.get(f"{canary.mount}/data/{canary.path}")
            if found is None:
                raise OpenBaoError(
                    f"the restored server has no secret {canary.mount}/{canary.path}: the snapshot is older than it, or of another"
                    " server. Write it with openbao_config, and take another snapshot"
                )
            held = found.get("data") or {}
            wrong = [name for name, value in canary.data.items() if held.get(name) != value]
            if wrong:
                raise OpenBaoError(
                    f"the restored server holds other values of {', '.join(sorted(wrong))} in {canary.mount}/{canary.path} than"
                    " wanted: is it the snapshot of another environment?"
                )
            mounts = tuple(sorted(path.rstrip("/") for path in api.get("sys/mounts") or {}))
        cluster = server.status().cluster
    return Done(time.monotonic() - began, cluster, mounts, int(found["metadata"]["version"]))


def _restore(server: Server, data: bytes, kept: Escrow, seconds: float) -> None:
    status = server.status()
    # With as many keys as the lost server had: it does not look again how many there are once the data are restored.
    answer = server.initialize(len(kept.keys), kept.threshold, recovery=status.unseals_itself)
    if not status.unseals_itself:
        for key in answer.keys[: kept.threshold]:
            server.send_key(key)
    server.wait_until_active(seconds)
    own = server.status().cluster
    reply = server.upload("sys/storage/raft/snapshot-force", data, answer.root_token)
    if reply.status >= 400:
        raise OpenBaoError(f"the server of the drill refuses the snapshot ({reply.status}): {reply.errors}")
    # The answer comes before the restored data are in use: until then the server is still its old self.
    deadline = time.monotonic() + seconds
    while True:
        status = server.status()
        if status.sealed or status.cluster != own:
            return
        if time.monotonic() > deadline:
            raise OpenBaoError(f"the server of the drill took the snapshot, and did not restore it in {seconds:g} s")
        time.sleep(_PAUSE)


def _open(server: Server, kept: Escrow, seconds: float) -> None:
    status = server.status()
    if status.sealed and not status.unseals_itself:
        initialize.unseal(server, status, kept, initialize.plan_unseal(status, kept), seconds)
    server.wait_until_active(seconds)
