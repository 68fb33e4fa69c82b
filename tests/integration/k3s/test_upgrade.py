# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From one version to the next and back: one host after the other, and after a kill at any place."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable

import pytest

from tests.integration.cluster.lab import until
from tests.integration.k3s.lab import NEW, OLD, SETUP, K3sLab


def snapshots(lab: K3sLab) -> list[str]:
    return lab.ssh("s1", "ls -tr /var/lib/rancher/k3s/server/stagecraft-snapshots 2>/dev/null; true").split()


def moving(lab: K3sLab) -> set[str]:
    """The pods that are to move."""
    return {pod["metadata"]["name"] for pod in lab.objects("pods", "-l", "app=moves")}


def test_the_cluster_is_at_the_older_version_with_something_in_it(lab: K3sLab) -> None:
    assert lab.versions() == {"s1": OLD, "a1": OLD}
    lab.kubectl("create", "configmap", "before", "--from-literal=version=old")
    image = lab.ssh("s1", "k3s ctr images ls -q name~=coredns").split()[0]
    lab.kubectl("create", "deployment", "moves", f"--image={image}")
    lab.kubectl("rollout", "status", "deployment/moves", "--timeout=60s", timeout=90)
    (name,) = moving(lab)
    lab.kubectl("create", "configmap", "pod", f"--from-literal=name={name}")


def test_what_would_be_done_is_said_and_not_done(lab: K3sLab) -> None:
    before = {host: lab.pids(host) for host in lab.nodes}
    run = lab.setup("-e", json.dumps({"stagecraft_kubernetes_version": NEW}), "--check").must_work()
    assert set(run.changed) == {"s1", "a1"}
    assert {host: lab.pids(host) for host in lab.nodes} == before


def stopped_for_the_copy(lab: K3sLab) -> bool:
    return lab.pid("s1") == 0


def switched_on_the_server(lab: K3sLab) -> bool:
    return lab.installed("s1") == NEW


def switched_on_the_agent(lab: K3sLab) -> bool:
    return lab.installed("a1") == NEW


@pytest.mark.parametrize("place", [stopped_for_the_copy, switched_on_the_server, switched_on_the_agent])
def test_a_controller_is_killed_in_the_middle(lab: K3sLab, place: Callable[[K3sLab], bool]) -> None:
    """Each round kills where the host has come to: the run is still going on there."""
    run = lab.start(SETUP, "-e", json.dumps({"stagecraft_kubernetes_version": NEW}), log=lab.state / "killed.log")
    try:
        until(place.__name__, 240, lambda: run.poll() is not None or place(lab), pause=0.1)
        assert run.poll() is None, "the run ended before it was killed"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def test_the_next_run_finishes(lab: K3sLab) -> None:
    lab.at(NEW).must_work()
    assert lab.versions() == {"s1": NEW, "a1": NEW}
    assert not [name for name, node in lab.nodes_seen().items() if node["spec"].get("unschedulable")]
    assert lab.kubectl("get", "configmap", "before", "-o", "jsonpath={.data.version}") == "old"
    first = lab.kubectl("get", "configmap", "pod", "-o", "jsonpath={.data.name}")
    assert first not in moving(lab), "no node was emptied"
    # once more where a run was killed between the copy and the switch; none of what the newer version wrote
    assert 1 <= len(snapshots(lab)) <= 2
    assert all(OLD.replace("+", "-") in name for name in snapshots(lab))
    lab.at(NEW).must_not_change()


def test_an_agent_whose_process_is_older_than_its_program_is_brought_up(lab: K3sLab) -> None:
    """The link is right again, and the older version runs: only the process tells."""
    link, old = "/usr/local/bin/k3s", f"/opt/stagecraft/k3s/{OLD}/k3s"
    right = lab.ssh("a1", f"readlink {link}").strip()
    lab.ssh("a1", f"ln -sfn {old} {link} && systemctl restart k3s-agent && ln -sfn {right} {link}", timeout=180)
    until("the agent is back in the older version", 90, lambda: lab.versions() == {"s1": NEW, "a1": OLD})
    server = lab.pids("s1")
    assert set(lab.at(NEW).must_work().changed) == {"a1"}
    assert lab.versions() == {"s1": NEW, "a1": NEW}
    assert lab.pids("s1") == server, "the server was restarted for its agent"


def test_the_way_back_wants_the_snapshot_s_name(lab: K3sLab) -> None:
    lab.kubectl("create", "configmap", "after", "--from-literal=version=new")
    run = lab.at(OLD)
    assert run.rc != 0
    name = snapshots(lab)[-1]
    assert name in run.output
    wrong = lab.at(OLD, k3s_restore_snapshot="nothing")
    assert wrong.rc != 0
    assert not wrong.changed
    lab.at(OLD, k3s_restore_snapshot=name).must_work()
    assert lab.versions() == {"s1": OLD, "a1": OLD}
    assert lab.kubectl("get", "configmap", "before", "-o", "name").strip() == "configmap/before"
    assert not lab.kubectl("get", "configmap", "after", "--ignore-not-found").strip()
    # the copy was taken when the server was emptied
    assert not [host for host, node in lab.nodes_seen().items() if node["spec"].get("unschedulable")]
    lab.at(OLD).must_not_change()


def test_a_power_cut_in_the_middle_of_an_upgrade(lab: K3sLab) -> None:
    """Between the link and the node that is ready again: the copy is taken, and the new version begins."""
    run = lab.start(SETUP, "-e", json.dumps({"stagecraft_kubernetes_version": NEW}), log=lab.state / "cut.log")
    try:
        until("the server is switched", 240, lambda: run.poll() is not None or switched_on_the_server(lab), pause=0.1)
        assert run.poll() is None, "the run ended before the power was cut"
        lab.power("powered-off", "s1")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    lab.power("present")
    lab.at(NEW).must_work()
    assert lab.versions() == {"s1": NEW, "a1": NEW}
    lab.at(NEW).must_not_change()
