# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""reset.yml leaves a bare host, on which the next set-up works."""

from __future__ import annotations

from tests.integration.cluster.lab import until
from tests.integration.k3s.lab import K3sLab

RESET = "playbooks/reset.yml"


def test_one_agent_leaves_and_the_cluster_forgets_it(lab: K3sLab) -> None:
    lab.playbook(RESET, "-e", f"reset_environment={lab.context}", "--limit", "a1").must_work()
    assert set(lab.versions()) == {"s1"}
    lab.setup().must_work()
    assert set(lab.versions()) == {"s1", "a1"}


def test_all_hosts_are_bare_again(lab: K3sLab) -> None:
    lab.playbook(RESET, "-e", f"reset_environment={lab.context}").must_work()
    for host in lab.nodes:
        assert not {"k3s", "containerd", "containerd-shim-runc-v2", "etcd"} & set(lab.processes(host))
        left = lab.ssh(
            host,
            "ls -d /etc/rancher /var/lib/rancher/k3s /etc/systemd/system/k3s* /usr/local/bin/k3s 2>/dev/null; true",
        )
        assert not left
        assert "KUBE-" not in lab.ssh(host, "iptables-save")
        links = lab.ssh(host, "ip -br link")
        assert "cni0" not in links
        assert "flannel" not in links
    lab.playbook(RESET, "-e", f"reset_environment={lab.context}").must_not_change()


def test_set_up_works_again(lab: K3sLab) -> None:
    lab.setup().must_work()
    until("the nodes are ready", 60, lambda: "NotReady" not in lab.kubectl("get", "nodes"))
    lab.setup().must_not_change()
