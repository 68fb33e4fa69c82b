# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a host a node, or finish what an interrupted run began: secrets before the start, patience after it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.host import (
    AGENT,
    AGENT_TOKEN_FILE,
    SERVER,
    SERVER_TOKEN,
    TOKEN_FILE,
    UNITS,
    Host,
    LocalApi,
    NodeError,
    journal_tail,
    write_file,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.observe import running_version, unit_status
from ansible_collections.stagecraft.gitops.plugins.module_utils.node import host as journal
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.api import ApiUnavailable

PAUSE = 0.5


def prepare(host: Host, entry: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
    """Begin, and put the tokens in place; what is there stays where nothing else is given.

    ``secrets`` are ``token`` and ``agent_token`` of the cluster, both missing on the server that makes it: that one
    gets an agents' token of its own, so that no agent holds what opens a server.
    """
    journal.begin(host.state, entry)
    for path, secret in ((TOKEN_FILE, secrets.get("token")), (AGENT_TOKEN_FILE, secrets.get("agent_token"))):
        if secret and (host.read_text(path) or "").strip() != secret.strip():
            write_file(host.path(path), (secret.strip() + "\n").encode())
    if entry["role"] == SERVER and not host.exists(AGENT_TOKEN_FILE):
        write_file(host.path(AGENT_TOKEN_FILE), (os.urandom(32).hex() + "\n").encode())


def cluster_secrets(host: Host) -> dict[str, str]:
    """The tokens of the cluster that this server is of: {token, agent_token}; for newcomers, never for a log."""
    token, agent = host.read_text(SERVER_TOKEN), host.read_text(AGENT_TOKEN_FILE)
    if token is None:
        raise NodeError(
            f"{SERVER_TOKEN} is missing on this server: it is no server of a running cluster, and nobody can join by it. "
            "See journalctl -u k3s."
        )
    return {"token": token.strip(), "agent_token": (agent or "").strip()}


def restart_stale(host: Host, role: str, version: str, timeout: float) -> bool:
    """Restart the unit where another version runs than the one on disk; says whether that was needed."""
    unit = UNITS[role]
    status = unit_status(host, unit)
    if status["pid"] and running_version(host, status["pid"]) == version:
        return False
    done = host.run(["systemctl", "restart", unit], timeout=timeout)
    if done.rc != 0:
        raise NodeError(f"{unit} did not start (rc {done.rc}): {done.stderr.strip()}\n{journal_tail(host, unit)}")
    return True


def wait(host: Host, role: str, node: str, version: str, port: int, timeout: float) -> None:
    """Return when the program runs in this version and its node is ready in it; a server's member of etcd must vote.

    An agent has no administrator's credentials: of it, only what systemd and its process say is asked here, and the
    servers say the rest.
    """
    deadline = time.monotonic() + timeout
    while True:
        problem = _problem(host, role, node, version, port)
        if not problem:
            return
        if time.monotonic() >= deadline:
            raise NodeError(f"{problem} (waited {timeout:.0f} s)\n{journal_tail(host, UNITS[role])}")
        time.sleep(PAUSE)


def _problem(host: Host, role: str, node: str, version: str, port: int) -> str:
    unit = UNITS[role]
    status = unit_status(host, unit)
    if status["active"] != "active":
        return f"{unit} is {status['active']}, not active"
    running = running_version(host, status["pid"])
    if running != version:
        return f"{unit} runs {running or 'nothing that tells its version'}, wanted {version}"
    if role == AGENT:
        return ""
    api = LocalApi(host, "127.0.0.1", port)
    try:
        api.request("GET", "/readyz")
        nodes = {one["name"]: one for one in api.nodes()}
    except ApiUnavailable as error:
        return str(error)
    return node_problem(nodes.get(node), node, version)


def node_problem(found: Mapping[str, Any] | None, node: str, version: str) -> str:
    """What is wrong with a node as the API tells it; "" where nothing is."""
    if found is None:
        return f"the cluster has no node {node}"
    if not found["ready"]:
        return f"node {node} is not Ready"
    if "v" + str(found["kubelet_version"]) != version:
        return f"node {node} runs v{found['kubelet_version']}, wanted {version}"
    if found["voter"] is False:
        return f"etcd on node {node} has no vote yet"
    return ""
