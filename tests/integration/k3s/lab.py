# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox whose hosts are a K3s cluster."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.integration.cluster.lab import Lab, Run

SETUP = "playbooks/setup-staging.yml"
OLD, NEW = "v1.35.8+k3s1", "v1.36.3+k3s1"
DATA = "/var/lib/rancher/k3s"
VERSION = re.compile(r"k3s version (v\S+)")


@dataclass(frozen=True)
class K3sLab(Lab):
    """One sandbox, with the variables that make its environment one of K3s."""

    variables: Mapping[str, Any] = field(
        default_factory=lambda: {"stagecraft_distribution": "k3s", "stagecraft_kubernetes_version": NEW}
    )

    def setup(self, *options: str, timeout: float = 900, extra: Mapping[str, str] | None = None) -> Run:
        """Run the set-up of a K3s environment."""
        return self.playbook(SETUP, *options, timeout=timeout, extra=extra)

    def at(self, version: str, **more: Any) -> Run:
        """Run the set-up with another version declared, and with more variables."""
        return self.setup("-e", json.dumps({"stagecraft_kubernetes_version": version, **more}))

    def unit(self, host: str) -> str:
        return "k3s" if host in self.control_planes else "k3s-agent"

    def pid(self, host: str) -> int:
        """The main process of K3s on a host; 0 where it does not run."""
        return int(self.ssh(host, f"systemctl show -p MainPID --value {self.unit(host)}"))

    def pids(self, host: str) -> dict[str, list[Any]]:
        """K3s and every program below it, each with its time of start: what a run without work must leave alone."""
        seen = self.processes(host)
        return {name: seen[name] for name in ("k3s", "containerd", "etcd", "flanneld") if name in seen}

    def running(self, host: str) -> str:
        """The version that the program in memory says it is."""
        found = VERSION.search(self.ssh(host, f"/proc/{self.pid(host)}/exe --version"))
        assert found
        return found.group(1)

    def installed(self, host: str) -> str:
        """The version that the link to the program leads to."""
        return self.ssh(host, "readlink /usr/local/bin/k3s; true").rpartition("/k3s/")[2].partition("/")[0]

    def nodes_seen(self) -> dict[str, dict[str, Any]]:
        """The nodes by name, as the API has them."""
        return {node["metadata"]["name"]: node for node in self.objects("nodes")}

    def versions(self) -> dict[str, str]:
        """The version of each node's kubelet."""
        return {name: node["status"]["nodeInfo"]["kubeletVersion"] for name, node in self.nodes_seen().items()}

    def voters(self, via: str) -> set[str]:
        """The nodes whose member of etcd votes, as the API server of ``via`` has it."""
        return {
            node["metadata"]["name"]
            for node in self.objects("nodes", via=via)
            for condition in node["status"]["conditions"]
            if condition["type"] == "EtcdIsVoter" and condition["status"] == "True"
        }

    def tokens(self) -> dict[str, str]:
        """The secrets of the cluster that must be shown nowhere, each with the file that it is in."""
        server = self.control_planes[0]
        found = {}
        for path in (f"{DATA}/server/token", "/etc/rancher/k3s/agent-token"):
            found[self.ssh(server, f"cat {path}").strip().rpartition(":")[2]] = path
        config = json.loads(self.ssh(server, f"cat {DATA}/server/cred/encryption-config.json"))
        for provider in config["resources"][0]["providers"]:
            for kind in provider.values():
                found |= {key["secret"]: "encryption-config.json" for key in kind.get("keys", [])}
        return found
