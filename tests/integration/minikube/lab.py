# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox whose one host carries a Minikube cluster, with the driver none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.integration.cluster.lab import Lab, Run

SETUP = "playbooks/setup-local.yml"
VERSION = "v1.36.3"


@dataclass(frozen=True)
class MinikubeLab(Lab):
    """One sandbox, with the variables that make its environment one of Minikube."""

    variables: Mapping[str, Any] = field(default_factory=lambda: {"stagecraft_distribution": "minikube"})

    @property
    def host(self) -> str:
        """The machine."""
        return self.control_planes[0]

    def setup(self, *options: str, timeout: float = 900, extra: Mapping[str, str] | None = None) -> Run:
        """Run the set-up of a Minikube environment."""
        return self.playbook(SETUP, *options, timeout=timeout, extra=extra)

    def with_(self, **variables: Any) -> Run:
        """Run the set-up with other variables."""
        return self.setup("-e", json.dumps(variables))

    def pids(self, host: str) -> dict[str, list[Any]]:
        """What a run without work must leave alone."""
        seen = self.processes(host)
        return {name: seen[name][0] for name in ("kubelet", "containerd", "kube-apiserver", "etcd") if name in seen}

    def minikube(self, *words: str) -> str:
        """What Minikube itself says, asked as its user is."""
        settings = "MINIKUBE_HOME=/root KUBECONFIG=/root/.minikube/stagecraft/minikube.kubeconfig"
        return self.ssh(self.host, f"{settings} /usr/local/bin/minikube {' '.join(words)}", check=False)

    def record(self) -> dict[str, Any]:
        """Minikube's own record of the profile."""
        found: dict[str, Any] = json.loads(self.read(self.host, "/root/.minikube/profiles/minikube/config.json"))
        return found

    def addons(self) -> list[str]:
        """The addons that are enabled."""
        return sorted(name for name, enabled in self.record()["Addons"].items() if enabled)
