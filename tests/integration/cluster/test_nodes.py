# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes come by standing in the inventory, and a lost control plane by a bare host of its name. The fullest output shows no secret."""

from __future__ import annotations

from tests.integration.cluster.lab import JOIN_TOKEN, Lab, Run, not_ready, not_running, until
from tests.integration.cluster.test_loss import answers, members

REPLACED = "cp3"


def shows_nothing(lab: Lab, run: Run) -> None:
    secrets = lab.secrets_of("cp1")
    assert len(secrets) > 100, "too few secrets were found to say anything"
    shown = {path for text, path in secrets.items() if text in run.output}
    assert not shown, f"the output shows what is in {shown}"
    assert not JOIN_TOKEN.findall(run.output)


def settled(lab: Lab) -> None:
    until("all nodes are Ready", 120, lambda: not not_ready(lab), 1)
    until("all pods run", 120, lambda: not not_running(lab, "-n", "kube-system"), 1)
    tokens = [
        item for item in lab.objects("secrets", "-n", "kube-system") if item["type"] == "bootstrap.kubernetes.io/token"
    ]
    assert not tokens, "a bootstrap token is left"
    lab.setup().must_not_change()


def test_a_worker_is_added(lab: Lab) -> None:
    """The others open their firewall to it; their processes stay."""
    before = {host: lab.pids(host) for host in lab.nodes}
    lab.power("present", listed=[*lab.specification(), {"name": "w2", "groups": ["workers"], "memory_mb": 2048}])
    assert "w2" in lab.nodes
    run = lab.setup("-vvvv", "--diff").must_work()
    print("changed:", run.changed)
    assert run.changed["w2"] > 3
    assert {host: lab.pids(host) for host in before} == before
    settled(lab)
    assert answers(lab, "w2")
    shows_nothing(lab, run)


def test_a_lost_control_plane_is_replaced(lab: Lab) -> None:
    listed = lab.specification()
    others = [host for host in lab.nodes if host != REPLACED]
    before = {host: lab.pids(host) for host in others}
    lab.power("absent", REPLACED)
    lab.power("present", listed=listed)
    assert "kubelet" not in lab.processes(REPLACED)
    run = lab.setup("-vvvv", "--diff", timeout=900).must_work()
    print("changed:", run.changed)
    settled(lab)
    assert members(lab, "cp1") == sorted(lab.control_planes)
    assert {host: lab.pids(host) for host in others} == before
    shows_nothing(lab, run)
