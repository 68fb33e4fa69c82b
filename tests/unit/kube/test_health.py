# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import health
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.health import Cluster, Expected, verdict

META: dict[str, Any] = {"namespace": "kube-system", "generation": 2}


def node(name: str = "cp1", version: str = "v1.36.3", **conditions: str) -> dict[str, Any]:
    shown = {"Ready": "True", "MemoryPressure": "False", **conditions}
    return {
        "metadata": {"name": name},
        "status": {
            "nodeInfo": {"kubeletVersion": version},
            "conditions": [
                {"type": t, "status": s, "reason": "Why", "message": "so\n it is"} for t, s in shown.items()
            ],
        },
    }


def deployment(wanted: int | None = 2, **status: Any) -> dict[str, Any]:
    counts = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "observedGeneration": 2}
    spec = {} if wanted is None else {"replicas": wanted}
    return {"metadata": {"name": "coredns", **META}, "spec": spec, "status": {**counts, **status}}


def daemon_set(**status: Any) -> dict[str, Any]:
    counts = {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3, "observedGeneration": 2}
    return {"metadata": {"name": "kube-proxy", **META}, "status": {**counts, **status}}


def stateful_set(**status: Any) -> dict[str, Any]:
    counts = {"replicas": 2, "readyReplicas": 2, "currentReplicas": 2, "observedGeneration": 2}
    metadata = {"name": "db", **META, "namespace": "shop"}
    return {"metadata": metadata, "spec": {"replicas": 2}, "status": {**counts, **status}}


def pod(name: str = "etcd-cp1", phase: str = "Running", ready: str = "True", owner: str = "Node", **status: Any) -> Any:
    metadata = {"name": name, "namespace": "kube-system", "ownerReferences": [{"kind": owner}]}
    return {
        "metadata": metadata,
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}], **status},
    }


def waits(reason: str, message: str = "") -> list[dict[str, Any]]:
    return [{"name": "main", "state": {"waiting": {"reason": reason, "message": message}}}]


HEALTHY = Cluster(
    version="v1.36.3",
    nodes=(node(),),
    daemon_sets=(daemon_set(),),
    deployments=(deployment(),),
    pods=tuple(pod(f"{name}-cp1") for name in health.CONTROL_PLANE_PODS),
)
EXPECTED = Expected(
    nodes=("cp1",),
    version="1.36.3",
    control_plane=("cp1",),
    workloads=("Deployment/kube-system/coredns", "DaemonSet/kube-system/kube-proxy"),
)


def test_a_healthy_cluster_has_no_problem() -> None:
    assert verdict(EXPECTED, HEALTHY) == []


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        ({"readyz": "500: [-]etcd failed"}, "the API server is not ready: 500: [-]etcd failed"),
        ({"version": "v1.35.8"}, "the API server runs v1.35.8, wanted v1.36.3"),
        ({"nodes": (node("cp2"),)}, "node cp1: not in the cluster (it has cp2)"),
        ({"nodes": ()}, "node cp1: not in the cluster (it has no node)"),
        ({"deployments": ()}, "Deployment kube-system/coredns: is not there"),
        ({"daemon_sets": ()}, "DaemonSet kube-system/kube-proxy: is not there"),
        ({"pods": HEALTHY.pods[1:]}, "control plane cp1: etcd: is not there"),
        ({"pods": (pod(ready="False"), *HEALTHY.pods[1:])}, "control plane cp1: etcd: running, but not ready"),
        (
            {
                "pods": (
                    *HEALTHY.pods,
                    pod("lonely", "Pending", "False", containerStatuses=waits("ImagePullBackOff", "no")),
                )
            },
            "pod kube-system/lonely: container main waits: ImagePullBackOff: no",
        ),
    ],
)
def test_each_thing_that_does_not_hold_is_told_once(seen: dict[str, Any], message: str) -> None:
    assert verdict(EXPECTED, replace(HEALTHY, **seen)) == [message]


SHOP = replace(EXPECTED, namespaces=("kube-system", "shop"))


@pytest.mark.parametrize(
    ("seen", "problems"),
    [
        ({"stateful_sets": (stateful_set(),)}, []),
        ({"pods": (*HEALTHY.pods, {"metadata": {"namespace": "shop"}, "status": {"phase": "Succeeded"}})}, []),
        ({"stateful_sets": (stateful_set(readyReplicas=1),)}, ["StatefulSet shop/db: 1 of 2 ready"]),
        ({"absent_namespaces": ("shop",)}, ["namespace shop: not in the cluster"]),
        ({}, ["namespace shop: nothing runs in it (no DaemonSet, Deployment, StatefulSet and no pod)"]),
    ],
)
def test_a_namespace_must_be_there_and_run_something(seen: dict[str, Any], problems: list[str]) -> None:
    assert verdict(SHOP, replace(HEALTHY, **seen)) == problems


def test_a_stateful_set_can_be_named_and_need_not_be_there() -> None:
    named = replace(EXPECTED, workloads=("StatefulSet/shop/db",))
    assert verdict(named, HEALTHY) == ["StatefulSet shop/db: is not there"]
    assert verdict(named, replace(HEALTHY, stateful_sets=(stateful_set(),))) == []


def test_the_system_namespace_of_a_k3s_without_its_components_may_be_empty() -> None:
    assert verdict(Expected(), Cluster()) == []


@pytest.mark.parametrize(
    ("observed", "problem"),
    [
        (stateful_set(), ""),
        (stateful_set(observedGeneration=1), "its controller has seen generation 1, the newest is 2"),
        (stateful_set(replicas=1, readyReplicas=1), "1 of 2 replicas"),
        (stateful_set(currentRevision="a", updateRevision="b"), "the newest version is not rolled out to all pods"),
        ({"metadata": {"name": "new"}, "spec": {}}, "0 of 1 replicas"),
        ({"metadata": {"name": "old", "deletionTimestamp": "now"}}, "it is being deleted"),
    ],
)
def test_stateful_set(observed: dict[str, Any], problem: str) -> None:
    assert health.stateful_set_problem(observed) == problem


@pytest.mark.parametrize(
    ("observed", "problem"),
    [
        (node(), ""),
        (node(Ready="False"), "not Ready: Why: so it is"),
        (node(Ready="Unknown"), "not Ready: Why: so it is"),
        ({"metadata": {"name": "a"}}, "not Ready: the kubelet has not reported yet"),
        (node(DiskPressure="True"), "DiskPressure: Why: so it is"),
        (node(NetworkUnavailable="True"), "NetworkUnavailable: Why: so it is"),
        (node(version="v1.35.8"), "its kubelet runs v1.35.8, wanted v1.36.3"),
        ({"metadata": {"name": "a", "deletionTimestamp": "now"}}, "is being deleted"),
    ],
)
def test_node(observed: dict[str, Any], problem: str) -> None:
    assert health.node_problem(observed, "1.36.3") == problem


@pytest.mark.parametrize(
    ("observed", "problem"),
    [
        (deployment(), ""),
        (deployment(wanted=0, replicas=0, updatedReplicas=0, availableReplicas=0), ""),
        (deployment(wanted=None, replicas=1, updatedReplicas=1, availableReplicas=0), "0 of 1 available"),
        (deployment(observedGeneration=1), "its controller has not seen the newest version yet"),
        (deployment(updatedReplicas=1, availableReplicas=1), "1 of 2 up to date, 1 of 2 available"),
        (deployment(replicas=3), "pods of the previous version are still there"),
        (
            deployment(
                availableReplicas=0,
                conditions=[{"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "x"}],
            ),
            "0 of 2 available; ProgressDeadlineExceeded: x",
        ),
        (
            {"metadata": {"name": "new", "generation": 1}, "spec": {}},
            "its controller has not seen the newest version yet",
        ),
    ],
)
def test_deployment(observed: dict[str, Any], problem: str) -> None:
    assert health.deployment_problem(observed) == problem


@pytest.mark.parametrize(
    ("observed", "problem"),
    [
        (daemon_set(), ""),
        (daemon_set(numberAvailable=10), ""),
        (daemon_set(numberAvailable=2), "2 of 3 available"),
        (daemon_set(updatedNumberScheduled=0), "0 of 3 up to date"),
        (daemon_set(observedGeneration=1), "its controller has not seen the newest version yet"),
    ],
)
def test_daemon_set(observed: dict[str, Any], problem: str) -> None:
    assert health.daemon_set_problem(observed) == problem


@pytest.mark.parametrize(
    ("observed", "problem"),
    [
        (pod(), ""),
        (pod(phase="Succeeded", ready="False"), ""),
        (pod(ready="False"), "running, but not ready"),
        (pod(phase="Failed", ready="False", reason="Evicted", message="disk\nfull"), "Failed: Evicted: disk full"),
        (pod(phase="Pending", ready="False"), "Pending: no reason given"),
        (
            pod(ready="False", containerStatuses=waits("CrashLoopBackOff", "back-off 10s")),
            "container main waits: CrashLoopBackOff: back-off 10s",
        ),
        (
            pod(
                ready="False",
                containerStatuses=[{"name": "m", "state": {"terminated": {"exitCode": 2, "reason": "Error"}}}],
            ),
            "container m ended with 2: Error",
        ),
        (
            pod(
                phase="Pending",
                conditions=[
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no nodes"}
                ],
            ),
            "not scheduled: Unschedulable: no nodes",
        ),
    ],
)
def test_pod(observed: dict[str, Any], problem: str) -> None:
    assert health.pod_problem(observed) == problem


@pytest.mark.parametrize(
    "extra",
    [
        pod("old-evicted", "Failed", "False", owner="ReplicaSet"),
        pod("job-1", "Failed", "False", owner="Job"),
        pod("done", "Succeeded", "False", owner="Job"),
        {"metadata": {"name": "going", "namespace": "kube-system", "deletionTimestamp": "now"}, "status": {}},
        {"metadata": {"name": "elsewhere", "namespace": "shop"}, "status": {"phase": "Failed"}},
    ],
)
def test_pods_that_say_nothing_about_the_cluster_do_not_count(extra: dict[str, Any]) -> None:
    assert verdict(EXPECTED, replace(HEALTHY, pods=(*HEALTHY.pods, extra))) == []
