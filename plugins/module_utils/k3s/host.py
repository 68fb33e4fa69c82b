# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host as the K3s verbs see it: directories, units, the journal."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.module_utils.node import api
from ansible_collections.stagecraft.gitops.plugins.module_utils.node import host as node
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.host import (
    Completed,
    NodeError,
    last_lines,
    read_json,
    remove_file,
    write_file,
)

__all__ = (
    "Completed",
    "Host",
    "LocalApi",
    "NodeError",
    "exclusive",
    "last_lines",
    "read_json",
    "remove_file",
    "write_file",
)

DATA = "/var/lib/rancher/k3s"
SERVER = "server"
AGENT = "agent"
UNITS = {SERVER: "k3s.service", AGENT: "k3s-agent.service"}
#: Secrets that newcomers get from a server; both are for root alone.
TOKEN_FILE = "/etc/rancher/k3s/token"  # noqa: S105 - a path
AGENT_TOKEN_FILE = "/etc/rancher/k3s/agent-token"  # noqa: S105 - a path
#: What K3s itself leaves of the tokens that are in use.
SERVER_TOKEN = DATA + "/server/token"


@dataclasses.dataclass(frozen=True)
class Host(node.Host):
    """A host with the journal of what was begun and finished there."""

    @property
    def state(self) -> Path:
        """The journal; survives a reboot."""
        return self.path("/var/lib/stagecraft/k3s")


class LocalApi(api.LocalApi):
    """The API server of a K3s server, with the administrator's credentials that K3s writes."""

    kubeconfig = "/etc/rancher/k3s/k3s.yaml"
    remedy = "systemctl restart k3s writes it anew"
    log = "journalctl -u k3s"


def exclusive(host: Host, patience: float = 300.0) -> contextlib.AbstractContextManager[None]:
    """Hold the host's K3s lock; waits at most ``patience`` seconds for another run to end."""
    return node.exclusive(host.path("/run/stagecraft-k3s.lock"), "k3s", patience)


def journal_tail(host: Host, unit: str) -> str:
    """The last lines that a unit's own program logged, without those of the programs below it."""
    shown = host.run(["journalctl", "-u", unit, "-n", "300", "--no-pager", "-o", "cat"])
    own = [line for line in shown.stdout.splitlines() if line.startswith("time=") or "systemd" in line]
    return last_lines("\n".join(own or shown.stdout.splitlines()))
