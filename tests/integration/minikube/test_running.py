# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster that setup-local.yml made: real Minikube, ready, left alone by the next run."""

from __future__ import annotations

import json
import re

from tests.integration.cluster.lab import BUSYBOX, not_running, until
from tests.integration.minikube.lab import VERSION, MinikubeLab


def test_it_is_minikube_and_it_says_that_it_runs(lab: MinikubeLab) -> None:
    found = json.loads(lab.minikube("status", "--output=json"))
    assert (found["Host"], found["Kubelet"], found["APIServer"]) == ("Running", "Running", "Running")
    assert (lab.record()["Driver"], lab.record()["KubernetesConfig"]["KubernetesVersion"]) == ("none", VERSION)
    assert "v1.38.1" in lab.minikube("version")


def test_the_node_is_ready_and_every_pod_runs(lab: MinikubeLab) -> None:
    (node,) = lab.objects("nodes")
    assert node["status"]["nodeInfo"]["kubeletVersion"] == VERSION
    until("all pods run", 60, lambda: not not_running(lab, "-A"))
    assert lab.addons() == ["default-storageclass"]


def test_pods_find_names(lab: MinikubeLab) -> None:
    lab.kubectl("run", "probe", f"--image={BUSYBOX}", "--restart=Never", "--command", "--", "sleep", "600")
    try:
        lab.kubectl("wait", "pod/probe", "--for=condition=Ready", "--timeout=60s", timeout=90)
        look = ("exec", "probe", "--", "nslookup", "kubernetes.default.svc.cluster.local")
        until("names are found", 30, lambda: "10.96.0.1" in lab.kubectl(*look, check=False))
    finally:
        lab.kubectl("delete", "pod/probe", "--now", timeout=120)


def test_the_next_run_changes_and_shows_nothing(lab: MinikubeLab) -> None:
    before = lab.pids(lab.host)
    assert set(before) == {"kubelet", "containerd", "kube-apiserver", "etcd"}
    run = lab.setup("-vvv", "--diff")
    run.must_not_change()
    assert lab.pids(lab.host) == before
    key = re.findall(r"client-key-data: (\S+)", lab.ssh(lab.host, "cat /root/.minikube/stagecraft/minikube.kubeconfig"))
    assert len(key) == 1
    assert key[0][:60] not in run.output
    lab.setup("--check").must_not_change()


def test_a_lost_kubeconfig_comes_back(lab: MinikubeLab) -> None:
    lab.kubeconfig.unlink()
    assert set(lab.setup().must_work().changed) == {lab.host}
    assert lab.objects("nodes")


def test_credentials_are_for_root_alone(lab: MinikubeLab) -> None:
    assert lab.ssh(lab.host, "stat -c %a /root/.minikube/stagecraft /root/.minikube/stagecraft/*").split() == [
        "700",
        "600",
    ]
