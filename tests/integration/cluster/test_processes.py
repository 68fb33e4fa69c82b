# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A second set-up leaves every process alone."""

from __future__ import annotations

import json

from tests.integration.cluster.lab import Lab


def test_same_processes(lab: Lab) -> None:
    seen = {host: lab.pids(host) for host in lab.nodes}
    for host in lab.nodes:
        wanted = {"kubelet", "containerd", *(["kube-apiserver", "etcd"] if host in lab.control_planes else [])}
        assert wanted <= set(seen[host]), f"{host} runs {sorted(seen[host])}"
    remembered = lab.state / "processes.json"
    if not remembered.exists():
        remembered.write_text(json.dumps(seen))
        print("remembered", seen)
    assert seen == json.loads(remembered.read_text())
