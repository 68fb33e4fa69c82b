# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three servers with etcd: one is down, lost and replaced, also the first one, or leaves and comes back."""

from __future__ import annotations

import pytest

from tests.integration.cluster.lab import until
from tests.integration.k3s.lab import OLD, K3sLab


def test_all_three_vote(lab: K3sLab) -> None:
    assert lab.voters("s1") == {"s1", "s2", "s3"}


def test_a_server_that_is_down_is_started_and_no_other(lab: K3sLab) -> None:
    """Now etcd could spare no other one; only what is wrong is put right."""
    kept = {host: lab.pid(host) for host in ("s1", "s2")}
    lab.ssh("s3", "systemctl stop k3s")
    assert set(lab.at(OLD).must_work().changed) == {"s3"}
    assert {host: lab.pid(host) for host in kept} == kept
    assert lab.voters("s1") == {"s1", "s2", "s3"}


@pytest.mark.parametrize(("lost", "other"), [("s3", "s1"), ("s1", "s2")])
def test_a_server_that_is_lost_for_good_is_replaced_under_its_name(lab: K3sLab, lost: str, other: str) -> None:
    listed = lab.specification()
    kept = {host: lab.pid(host) for host in lab.control_planes if host != lost}
    lab.power("powered-off", lost, listed=listed)
    lab.power("absent", lost, listed=listed)
    lab.power("present", listed=listed)
    lab.at(OLD).must_work()
    until("all three vote", 60, lambda: lab.voters(other) == {"s1", "s2", "s3"})
    assert {host: lab.pid(host) for host in kept} == kept, "the others were restarted"
    assert {lab.running(host) for host in lab.nodes} == {OLD}
    lab.at(OLD).must_not_change()


def test_a_server_leaves_and_comes_back(lab: K3sLab) -> None:
    lab.playbook("playbooks/reset.yml", "-e", f"reset_environment={lab.context}", "--limit", "s2").must_work()
    assert lab.voters("s1") == {"s1", "s3"}
    lab.at(OLD).must_work()
    assert lab.voters("s1") == {"s1", "s2", "s3"}


def test_snapshots_of_etcd_lie_where_upstream_keeps_them(lab: K3sLab) -> None:
    said = lab.ssh("s1", "k3s etcd-snapshot save --name by-hand")
    assert "saved" in said
    assert "by-hand-s1-" in lab.ssh("s1", "k3s etcd-snapshot ls; ls /var/lib/rancher/k3s/server/db/snapshots")
