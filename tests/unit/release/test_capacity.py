# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room in the target: nodes that may take a pod and can, images that they can run and keep, volumes that can be made."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import live
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates import placement
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.capacity import capacity
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.gate import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.render import Rendered

GIB = 1024**3
SCHEDULABLE = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}


def node(name: str = "n1", cpu: str = "2", arch: str = "amd64", **spec: Any) -> dict[str, Any]:
    labels = spec.pop("labels", {})
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}},
        "spec": spec,
        "status": {
            "allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"architecture": arch},
            "images": [{"names": ["ghcr.io/x/app:1"]}],
        },
    }


def pod(on: str, cpu: str, phase: str = "Running") -> dict[str, Any]:
    container = {"resources": {"requests": {"cpu": cpu}}}
    return {"spec": {"nodeName": on, "containers": [container]}, "status": {"phase": phase}}


def workload(
    tag: str = "1", cpu: str = "1", replicas: int = 1, kind: str = "Deployment", pod_spec: Any = None, **spec: Any
) -> dict[str, Any]:
    container = {"name": "a", "image": f"ghcr.io/x/app:{tag}"}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu, "memory": "64Mi"}}  # type: ignore[assignment]
    template = {"spec": {"containers": [container], **(pod_spec or {})}}
    return {"kind": kind, "metadata": {"name": "app"}, "spec": {"replicas": replicas, "template": template, **spec}}


class Session:
    """An API server with nodes, classes of storage, and kubelets that tell of their disks (or do not)."""

    def __init__(
        self, nodes: list[dict[str, Any]], lists: Mapping[str, list[dict[str, Any]]], disk: float | None
    ) -> None:
        self._lists = {
            "/api/v1/nodes": nodes,
            **{f"/apis/storage.k8s.io/v1/{key}": found for key, found in lists.items()},
        }
        self._disk = disk

    def items(self, path: str) -> list[dict[str, Any]]:
        return self._lists.get(path, [])

    def get(self, path: str) -> dict[str, Any]:
        if self._disk is None:
            raise ApiError("forbidden", 403)
        assert path.endswith("/proxy/stats/summary")
        return {"node": {"fs": {"availableBytes": 1}, "runtime": {"imageFs": {"availableBytes": self._disk * GIB}}}}


def ask(
    before: list[dict[str, Any]],
    after: list[dict[str, Any]],
    nodes: list[dict[str, Any]] | None = None,
    pods: list[dict[str, Any]] | None = None,
    facts: Mapping[str, int] | None = None,
    disk: float | None = 100,
    **lists: list[dict[str, Any]],
) -> Verdict:
    sides = [
        Rendered({f"{one['kind']} apps/{one['metadata']['name']}": one for one in side}) for side in (before, after)
    ]
    session = Session([node()] if nodes is None else nodes, lists, disk)
    cluster: Any = SimpleNamespace(session=session, pods=lambda: pods or [])

    def tell(image: live.Image, archs: Collection[str]) -> Mapping[str, int] | None:
        assert image.name == "ghcr.io/x/app"
        return facts

    return capacity(cluster, sides[0], sides[1], tell)


KNOWN = {"amd64": 0}


def test_there_has_to_be_room_for_one_more_while_pods_are_replaced() -> None:
    old, new = [workload()], [workload("2")]
    assert ask(old, new, pods=[pod("n1", "1")], facts=KNOWN) == Verdict(True, "")
    found = ask(old, new, pods=[pod("n1", "1"), pod("n1", "500m"), pod("n1", "1", "Succeeded")], facts=KNOWN)
    assert found.detail == (
        "Deployment apps/app: a pod of it finds no node (n1: it has 0.50 cores of cpu free, wanted 1.00)"
    )
    instead = [workload("2", strategy={"type": "Recreate"})]
    assert ask(old, instead, pods=[pod("n1", "1"), pod("n1", "900m")], facts=KNOWN).ok
    assert ask(old, [workload("2", kind="StatefulSet")], pods=[pod("n1", "2")], facts=KNOWN).ok is False
    full = [pod("n1", "1"), pod("n1", "900m")]
    state = [workload(kind="StatefulSet")], [workload("2", kind="StatefulSet")]
    assert ask(*state, pods=full, facts=KNOWN).ok
    assert ask(state[0], [workload("2", "1500m", kind="StatefulSet")], pods=full, facts=KNOWN).ok is False


def test_free_room_in_pieces_is_none() -> None:
    nodes = [node("n1"), node("n2")]
    taken = [pod("n1", "1500m"), pod("n2", "1500m")]
    assert "finds no node (n1: it has 0.50" in ask([], [workload()], nodes, taken, KNOWN).detail
    assert ask([], [workload(cpu="400m", replicas=2)], nodes, taken, KNOWN).ok
    assert ask([], [workload(cpu="400m", replicas=3)], nodes, taken, KNOWN).ok is False


def test_all_that_is_rolled_out_is_added_up() -> None:
    """Each pod that is replaced may find a place, and the last one does not."""
    old, new = [workload(cpu="500m", replicas=3)], [workload("2", "700m", replicas=3)]
    three = [pod("n1", "500m")] * 3
    found = ask(
        old, [{**new[0], "spec": {**new[0]["spec"], "strategy": {"type": "Recreate"}}}], pods=three, facts=KNOWN
    )
    assert found.detail == "0.60 cores of cpu more are needed, 0.50 are free"


@pytest.mark.parametrize(
    ("pod_spec", "spec", "said"),
    [
        ({}, {"taints": [SCHEDULABLE]}, "its taint node-role.kubernetes.io/control-plane:NoSchedule is not tolerated"),
        ({"tolerations": [{"operator": "Exists"}]}, {"taints": [SCHEDULABLE]}, ""),
        ({"tolerations": [{"key": SCHEDULABLE["key"], "effect": "NoExecute"}]}, {"taints": [SCHEDULABLE]}, "its taint"),
        ({}, {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}, ""),
        ({"tolerations": [{"key": "k", "value": "v"}]}, {"taints": [{"key": "k", "value": "v", "effect": "NoExecute"}]}, ""),
        ({}, {"taints": [{"key": "k", "value": "v", "effect": "NoExecute"}]}, "its taint k=v:NoExecute is not tolerated"),
        ({}, {"unschedulable": True}, "its taint node.kubernetes.io/unschedulable:NoSchedule"),
        ({"nodeSelector": {"disk": "ssd"}}, {}, "it is not labelled disk=ssd"),
        ({"nodeSelector": {"disk": "ssd"}}, {"labels": {"disk": "ssd"}}, ""),
    ],
)  # fmt: skip
def test_taints_and_labels(pod_spec: dict[str, Any], spec: dict[str, Any], said: str) -> None:
    found = ask([], [workload(pod_spec=pod_spec)], [node(**spec)], facts=KNOWN)
    assert found.ok is not bool(said)
    assert said in found.detail


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ({"key": "zone", "operator": "In", "values": ["a", "b"]}, True),
        ({"key": "zone", "operator": "NotIn", "values": ["a"]}, False),
        ({"key": "zone", "operator": "Exists"}, True),
        ({"key": "other", "operator": "DoesNotExist"}, True),
        ({"key": "cores", "operator": "Gt", "values": ["3"]}, True),
        ({"key": "cores", "operator": "Lt", "values": ["3"]}, False),
        ({"key": "zone", "operator": "Gt", "values": ["3"]}, False),
    ],
)
def test_node_affinity(expression: dict[str, Any], *, fits: bool) -> None:
    required = {"nodeSelectorTerms": [{}, {"matchExpressions": [expression]}]}
    affinity = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}
    found = ask([], [workload(pod_spec=affinity)], [node(labels={"zone": "a", "cores": "4"})], facts=KNOWN)
    assert found.ok is fits
    assert ("node affinity" in found.detail) is not fits


def test_who_asks_for_nothing_is_not_known_and_nobody_ready_is() -> None:
    found = ask([], [workload(cpu="")], facts=KNOWN)
    assert found == Verdict(None, "not known, no requests are set: Deployment apps/app")
    assert ask([workload(cpu="")], [workload(cpu="")]).ok, "what stays as it is says nothing"
    broken = node()
    broken["status"]["conditions"] = []
    assert ask([], [workload()], [broken]) == Verdict(False, "no node is ready")


def test_what_a_pod_asks_for() -> None:
    def one(memory: str, **more: Any) -> dict[str, Any]:
        return {"resources": {"requests": {"memory": memory}}, **more}

    spec = {"containers": [one("1"), one("2")], "initContainers": [one("8"), one("4", restartPolicy="Always")]}
    assert placement.requests(spec) == {"memory": 12.0, "pods": 1.0}
    limited = {
        "containers": [{"resources": {"limits": {"cpu": "1", "example.com/gpu": 1}, "requests": {"cpu": "500m"}}}]
    }
    assert placement.requests(limited) == {"cpu": 0.5, "example.com/gpu": 1.0, "pods": 1.0}
    gpu = {"containers": [{"image": "ghcr.io/x/app:1", **limited["containers"][0]}]}
    assert "it has 0.00 example.com/gpu free, wanted 1.00" in ask([], [workload(pod_spec=gpu)], facts=KNOWN).detail


@pytest.mark.parametrize(("surge", "more"), [(None, 1), (0, 0), (2, 2), ("50%", 2), ("10%", 1)])
def test_how_many_more_pods_there_are_meanwhile(surge: Any, more: int) -> None:
    rolling: dict[str, Any] = {} if surge is None else {"strategy": {"rollingUpdate": {"maxSurge": surge}}}
    nodes = placement.nodes_of([node("n1"), node("n2", taints=[SCHEDULABLE])], [])
    assert placement.more_pods(workload(replicas=4), workload(replicas=4, **rolling), nodes) == more
    assert placement.more_pods(workload(replicas=1), workload(replicas=4, **rolling), nodes) == more + 3
    assert placement.more_pods(None, workload(kind="DaemonSet"), nodes) == 1


# -- images ----------------------------------------------------------------------------------------------------------------


def test_images_have_to_be_there_for_every_node_that_may_run_them() -> None:
    old, new = [workload()], [workload("2", "100m")]
    nodes = [node("n1"), node("n2", arch="arm64")]
    found = ask(old, new, nodes, facts={"amd64": 1, "s390x": 0})
    assert found.detail == "Deployment apps/app: ghcr.io/x/app is for amd64, s390x, and may come to n2 (arm64)"
    assert ask(old, new, nodes, facts={"amd64": 1, "arm64": 1}).ok
    here = {"nodeSelector": {"kubernetes.io/hostname": "n1"}}
    assert ask(old, [workload("2", "100m", pod_spec=here)], nodes, facts={"amd64": 1}).ok
    assert ask(old, [workload(cpu="100m")], nodes, facts={"s390x": 1}).ok, "the image is that of before"
    unknown = ask(old, new, nodes, facts=None)
    assert unknown == Verdict(True, "not known is for which nodes and how large: ghcr.io/x/app")


def test_images_need_room_on_a_disk() -> None:
    old, new = [workload()], [workload("2")]
    facts = {"amd64": 2 * GIB}
    found = ask(old, new, facts=facts, disk=7)
    assert found.detail == "Deployment apps/app: its images take about 8.0 GiB, and n1 has 7.0 GiB free"
    assert ask(old, new, facts=facts, disk=9).ok
    assert ask(old, new, facts=facts, disk=None).ok, "the kubelet does not tell"
    assert ask([], [workload()], facts=facts, disk=7).ok, "the node has it"


# -- volumes ---------------------------------------------------------------------------------------------------------------


def claim(size: str, **spec: Any) -> dict[str, Any]:
    spec = {"resources": {"requests": {"storage": size}}, **spec}
    return {"kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec}


def storage_class(name: str = "local", *, default: bool = True, **more: Any) -> dict[str, Any]:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {"metadata": {"name": name, "annotations": annotations}, "provisioner": "rancher.io/local-path", **more}


@pytest.mark.parametrize(
    ("before", "after", "classes", "said"),
    [
        (None, claim("5Gi"), [storage_class()], ""),
        (
            None,
            claim("5Gi"),
            [],
            "PersistentVolumeClaim apps/data names no StorageClass, and the target has no default",
        ),
        (
            None,
            claim("5Gi", storageClassName="fast"),
            [storage_class()],
            "the target has no StorageClass fast; it has local",
        ),
        (None, claim("50Gi"), [storage_class()], "data wants 50.0 GiB, and no node has more than 20.0 GiB"),
        (None, claim("50Gi"), [storage_class(provisioner="csi.example.com")], ""),
        (None, claim("50Gi", volumeName="made"), [], ""),
        (None, claim("50Gi", storageClassName=""), [], ""),
        (claim("5Gi"), claim("5Gi"), [], ""),
        (
            claim("5Gi"),
            claim("6Gi"),
            [storage_class()],
            "grows from 5.0 GiB to 6.0 GiB, and StorageClass local lets no",
        ),
        (claim("5Gi"), claim("6Gi"), [storage_class(allowVolumeExpansion=True)], ""),
    ],
)
def test_volumes(before: Any, after: dict[str, Any], classes: list[dict[str, Any]], said: str) -> None:
    found = ask([before] if before else [], [after], disk=20, storageclasses=classes)
    assert found.ok is not bool(said)
    assert said in found.detail


def test_volumes_of_a_stateful_set_and_what_a_driver_tells() -> None:
    template = {"metadata": {"name": "data"}, "spec": claim("5Gi")["spec"]}
    state = workload(cpu="100m", kind="StatefulSet", volumeClaimTemplates=[template])
    classes = [storage_class(provisioner="csi.example.com")]
    told = [{"storageClassName": "local", "capacity": "4Gi"}, {"storageClassName": "other", "capacity": "9Gi"}]
    found = ask([], [state], facts=KNOWN, storageclasses=classes, csistoragecapacities=told)
    assert found.detail == "StatefulSet apps/app data-0 wants 5.0 GiB, and no node has more than 4.0 GiB"
    more = {**state, "spec": {**state["spec"], "replicas": 2}}
    again = ask([state], [more], facts=KNOWN, storageclasses=classes, csistoragecapacities=told)
    assert again.detail == "StatefulSet apps/app data-1 wants 5.0 GiB, and no node has more than 4.0 GiB"
