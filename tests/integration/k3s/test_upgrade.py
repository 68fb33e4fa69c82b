# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From one version to the next and back: one host after the other, and after a kill at any place."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import pytest

from tests.integration.cluster.lab import until
from tests.integration.k3s.lab import NEW, OLD, SETUP, K3sLab


def at(version: str, **more: Any) -> str:
    return json.dumps({"stagecraft_kubernetes_version": version, **more})


def snapshots(lab: K3sLab) -> list[str]:
    return lab.ssh("s1", "ls -tr /var/lib/rancher/k3s/server/stagecraft-snapshots 2>/dev/null; true").split()


def test_the_cluster_is_at_the_older_version_with_something_in_it(lab: K3sLab) -> None:
    assert lab.versions() == {"s1": OLD, "a1": OLD}
    lab.kubectl("create", "configmap", "before", "--from-literal=version=old")


def test_what_would_be_done_is_said_and_not_done(lab: K3sLab) -> None:
    before = {host: lab.pids(host) for host in lab.nodes}
    run = lab.setup("-e", at(NEW), "--check").must_work()
    assert set(run.changed) == {"s1", "a1"}
    assert {host: lab.pids(host) for host in lab.nodes} == before


@pytest.mark.parametrize("seconds", [6.0, 11.0, 16.0, 22.0, 30.0])
def test_a_controller_that_is_killed_leaves_what_the_next_run_finishes(lab: K3sLab, seconds: float) -> None:
    """Each round kills at another place; the last one is let through."""
    log = lab.state / f"killed-{seconds:.0f}.log"
    run = lab.start(SETUP, "-e", at(NEW), log=log)
    time.sleep(seconds)
    if run.poll() is None:
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    until("the API answers, or K3s is stopped", 60, lambda: lab.ssh("s1", "true") == "")


def test_the_next_run_finishes(lab: K3sLab) -> None:
    lab.setup("-e", at(NEW)).must_work()
    assert lab.versions() == {"s1": NEW, "a1": NEW}
    assert not [name for name, node in lab.nodes_seen().items() if node["spec"].get("unschedulable")]
    assert lab.kubectl("get", "configmap", "before", "-o", "jsonpath={.data.version}") == "old"
    lab.setup("-e", at(NEW)).must_not_change()


def test_the_way_back_wants_the_snapshot_s_name(lab: K3sLab) -> None:
    lab.kubectl("create", "configmap", "after", "--from-literal=version=new")
    run = lab.setup("-e", at(OLD))
    assert run.rc != 0
    name = snapshots(lab)[-1]
    assert name in run.output
    wrong = lab.setup("-e", at(OLD, k3s_restore_snapshot="nothing"))
    assert wrong.rc != 0
    assert not wrong.changed
    lab.setup("-e", at(OLD, k3s_restore_snapshot=name)).must_work()
    assert lab.versions() == {"s1": OLD, "a1": OLD}
    assert lab.kubectl("get", "configmap", "before", "-o", "name").strip() == "configmap/before"
    assert not lab.kubectl("get", "configmap", "after", "--ignore-not-found").strip()


def test_a_power_cut_in_the_middle_of_an_upgrade(lab: K3sLab) -> None:
    run = lab.start(SETUP, "-e", at(NEW), log=lab.state / "cut.log")
    time.sleep(14.0)
    lab.power("powered-off", "s1")
    if run.poll() is None:
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    lab.power("present")
    lab.setup("-e", at(NEW)).must_work()
    assert lab.versions() == {"s1": NEW, "a1": NEW}
    lab.setup("-e", at(NEW)).must_not_change()
