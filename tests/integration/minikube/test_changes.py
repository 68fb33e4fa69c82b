# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster that is changed, stopped, started, found drifted, and deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cluster.guard import Guard, watched
from tests.integration.cluster.lab import until
from tests.integration.minikube.lab import SETUP, MinikubeLab


@pytest.fixture(scope="module")
def guard(lab: MinikubeLab) -> Iterator[Guard]:
    """Looks on while the cluster is taken away and made again, by an admin who has something to keep to himself."""
    with watched(lab, lab.nodes) as (directory, watch):
        yield Guard(lab, directory, watch)


def test_names_lead_to_the_node_and_go_again(lab: MinikubeLab) -> None:
    before = lab.ssh(lab.host, "cat /etc/hosts")
    lab.with_(minikube_host_names=["app.stagecraft.local", "api.stagecraft.local"]).must_work()
    assert lab.ssh(lab.host, "getent hosts app.stagecraft.local").split()[0] == lab.hosts[lab.host]
    lab.with_(minikube_host_names=["app.stagecraft.local", "api.stagecraft.local"]).must_not_change()
    lab.with_(minikube_host_names=[]).must_work()
    assert lab.ssh(lab.host, "cat /etc/hosts") == before


def test_addons_are_switched(lab: MinikubeLab) -> None:
    lab.with_(minikube_addons=[]).must_work()
    assert lab.addons() == []
    assert lab.objects("storageclasses") == []
    lab.with_(minikube_addons=[]).must_not_change()
    lab.setup().must_work()
    assert lab.addons() == ["default-storageclass"]
    assert [item["metadata"]["name"] for item in lab.objects("storageclasses")] == ["standard"]


def test_a_profile_that_drifted_is_named_and_left_alone(lab: MinikubeLab) -> None:
    before = lab.pids(lab.host)
    run = lab.with_(stagecraft_kubernetes_version="1.35.8", minikube_port=9443)
    assert run.rc != 0
    assert "minikube_kubernetes_version: wanted v1.35.8, the profile has v1.36.3" in run.output
    assert "minikube_port: wanted 9443, the profile has 8443" in run.output
    assert "-e minikube_recreate=minikube" in run.output
    assert run.changed == {}
    assert lab.pids(lab.host) == before
    lab.setup().must_not_change()


def test_it_is_stopped_and_started_with_what_is_in_it(lab: MinikubeLab) -> None:
    lab.kubectl("create", "configmap", "kept")
    stop = lab.with_(minikube_state="stopped").must_work()
    assert stop.changed
    assert "kube-apiserver" not in lab.processes(lab.host)
    lab.with_(minikube_state="stopped").must_not_change()
    lab.setup().must_work()
    assert "configmap/kept" in lab.kubectl("get", "configmap", "kept", "-o", "name")
    lab.setup().must_not_change()


def test_a_rebooted_machine_gets_its_cluster_back(lab: MinikubeLab) -> None:
    lab.power("rebooted", lab.host)
    lab.setup().must_work()
    assert "configmap/kept" in lab.kubectl("get", "configmap", "kept", "-o", "name")
    lab.setup().must_not_change()


def test_a_run_that_is_killed_in_minikube_is_finished_by_the_next(lab: MinikubeLab) -> None:
    """The profile is deleted and made anew for another port, and the run is cut short in between."""
    older = {"stagecraft_kubernetes_version": "1.36.3", "minikube_port": 9443}
    log = lab.state / "killed.log"
    process = lab.start("playbooks/setup-local.yml", "-e", "minikube_recreate=minikube minikube_port=9443", log=log)
    try:
        until("minikube works", 120, lambda: "minikube start" in lab.ssh(lab.host, "ps -eo args"), pause=0.2)
        lab.ssh(lab.host, "pkill -9 -f '[m]inikube_profile'; pkill -9 -x minikube; true", check=False)
    finally:
        process.wait(timeout=300)
    assert process.returncode != 0, log.read_text()
    lab.with_(**older).must_work()
    lab.with_(**older).must_not_change()
    assert lab.record()["APIServerPort"] == 9443


def test_reset_leaves_nothing_and_the_set_up_makes_it_again(lab: MinikubeLab, guard: Guard, tmp_path: Path) -> None:
    guard.playbook("playbooks/sandbox-secrets.yml").must_work()
    guard.learn_vault(lab.directory / "secrets" / lab.context)
    guard.learn_kubeconfig()
    guard.playbook("playbooks/reset.yml", reset_environment=lab.context).must_work()
    assert "kube-apiserver" not in lab.processes(lab.host)
    assert lab.ssh(lab.host, "ls -d /root/.minikube/profiles/minikube /var/lib/minikube", check=False) == ""
    again = lab.playbook("playbooks/reset.yml", "-e", f"reset_environment={lab.context}")
    again.must_not_change(lab.host)
    guard.playbook(SETUP, sealed_secrets_directory=str(tmp_path)).must_work()
    assert list(tmp_path.rglob("hello.yaml")), "no secret was sealed"
    guard.playbook(SETUP, sealed_secrets_directory=str(tmp_path)).must_not_change()


def test_nothing_secret_was_shown(lab: MinikubeLab, guard: Guard) -> None:
    """Neither what opens the cluster that was, and the one that is, nor what the environment has sealed."""
    guard.learn_kubeconfig()
    guard.must_not_show()
