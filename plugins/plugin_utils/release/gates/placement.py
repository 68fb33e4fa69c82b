# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which nodes a pod may go to, and whether there is room on one of them: the scheduler's rules, as far as they are told. Pure.

Not counted in are what pods say about other pods (affinity, spreading) and volumes that only some nodes reach.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import health
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, listed, mapping, text
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.quantity import quantity
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import live
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates import policy

_FINISHED = ("Succeeded", "Failed")
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
#: How the units of resources are told: what one is called, and how many of the API's own units it has.
_UNITS = {"cpu": ("cores of cpu", 1.0), "memory": ("MiB of memory", 1024.0**2), "pods": ("places for pods", 1.0)}

#: Resources of a pod or a node in the API's units (cores, bytes, pieces), by name.
Resources = dict[str, float]


@dataclass(frozen=True)
class Node:
    """A node that is ready: `free` is what its pods have not asked for, `images` are names of those that it has."""

    name: str
    arch: str
    labels: Mapping[str, str]
    taints: tuple[Mapping[str, Any], ...]
    free: Resources
    images: frozenset[str] = frozenset()


def nodes_of(items: Iterable[Object], pods: Iterable[Object]) -> list[Node]:
    """Return the nodes that are ready, with what is free on them."""
    used: dict[str, Resources] = {}
    for pod in pods:
        if text(pod, "status", "phase") not in _FINISHED:
            taken = used.setdefault(text(pod, "spec", "nodeName"), {})
            for what, amount in requests(mapping(pod, "spec")).items():
                taken[what] = taken.get(what, 0.0) + amount
    found = []
    for one in items:
        if health.node_problem(one):
            continue
        name = text(one, "metadata", "name")
        taints = [taint for taint in listed(one, "spec", "taints") if isinstance(taint, Mapping)]
        if mapping(one, "spec").get("unschedulable") is True:
            taints.append({"key": _UNSCHEDULABLE, "effect": "NoSchedule"})
        allocatable = {what: quantity(str(amount)) for what, amount in mapping(one, "status", "allocatable").items()}
        taken = used.get(name, {})
        found.append(
            Node(
                name,
                text(one, "status", "nodeInfo", "architecture"),
                {str(key): str(value) for key, value in mapping(one, "metadata", "labels").items()},
                tuple(taints),
                {what: amount - taken.get(what, 0.0) for what, amount in allocatable.items()},
                frozenset(
                    str(called) for image in listed(one, "status", "images") for called in listed(image, "names")
                ),
            )
        )
    return found


def requests(pod: Mapping[str, Any]) -> Resources:
    """Return what a pod asks for: its containers and sidecars together, or its largest init container beside these."""
    every = listed(pod, "initContainers")
    sidecars = [one for one in every if text(one, "restartPolicy") == "Always"]
    found = _sum(_asked(one) for one in [*listed(pod, "containers"), *sidecars])
    beside = _sum(_asked(one) for one in sidecars)
    for one in every:
        if one not in sidecars:
            for what, amount in _asked(one).items():
                found[what] = max(found.get(what, 0.0), amount + beside.get(what, 0.0))
    for what, amount in mapping(pod, "overhead").items():
        found[str(what)] = found.get(str(what), 0.0) + quantity(str(amount))
    return {**found, "pods": 1.0}


def _asked(container: Mapping[str, Any]) -> Resources:
    asked = {**mapping(container, "resources", "limits"), **mapping(container, "resources", "requests")}
    # the API's own rule: who has a limit and no request asks for the limit
    return {str(what): quantity(str(amount)) for what, amount in asked.items()}


def _sum(several: Iterable[Resources]) -> Resources:
    found: Resources = {}
    for one in several:
        for what, amount in one.items():
            found[what] = found.get(what, 0.0) + amount
    return found


def replicas(workload: Object, nodes: Sequence[Node]) -> int:
    """Return how many pods a workload has at once."""
    kind = workload.get("kind")
    if kind == "DaemonSet":
        return sum(not unfit(workload, node) for node in nodes)
    key = {"Deployment": "replicas", "StatefulSet": "replicas", "ReplicaSet": "replicas", "Job": "parallelism"}.get(
        str(kind), ""
    )
    count = mapping(workload, "spec").get(key, 1) if key else 1
    return count if isinstance(count, int) and not isinstance(count, bool) else 1


def more_pods(old: Object | None, new: Object, nodes: Sequence[Node]) -> int:
    """Return how many pods more than before there are at the most while `new` takes the place of `old`."""
    count = replicas(new, nodes)
    if old is None:
        return count
    grown = max(count - replicas(old, nodes), 0)
    if new.get("kind") != "Deployment" or text(new, "spec", "strategy", "type") == "Recreate":
        return grown
    surge = mapping(new, "spec", "strategy", "rollingUpdate").get("maxSurge", "25%")
    if isinstance(surge, int):
        return grown + surge
    percent = str(surge).removesuffix("%")
    return grown + (math.ceil(count * int(percent) / 100) if percent.isdigit() else 1)


# -- one pod, one node -----------------------------------------------------------------------------------------------------


def unfit(workload: Object, node: Node) -> str:
    """Say why no pod of a workload may go to a node, or ""."""
    pod = policy.pod_spec(workload)
    for key, value in mapping(pod, "nodeSelector").items():
        if node.labels.get(str(key)) != str(value):
            return f"it is not labelled {key}={value}"
    terms = listed(
        pod, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"
    )
    if terms and not any(_matches(term, node) for term in terms):
        return "the pod's node affinity is for others"
    tolerations = [one for one in listed(pod, "tolerations") if isinstance(one, Mapping)]
    for taint in node.taints:
        if taint.get("effect") not in ("NoSchedule", "NoExecute") or any(_tolerates(one, taint) for one in tolerations):
            continue
        if taint.get("key") == _UNSCHEDULABLE and workload.get("kind") == "DaemonSet":
            continue  # its controller lets it tolerate that
        value = f"={taint['value']}" if taint.get("value") else ""
        return f"its taint {taint.get('key')}{value}:{taint['effect']} is not tolerated"
    return ""


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint.get("key"))
    return toleration.get("key") == taint.get("key") and (toleration.get("value") or "") == (taint.get("value") or "")


def _matches(term: Any, node: Node) -> bool:
    expressions = listed(term, "matchExpressions") if isinstance(term, Mapping) else []
    fields = listed(term, "matchFields") if isinstance(term, Mapping) else []
    if not expressions and not fields:
        return False
    return all(_holds(one, node.labels) for one in expressions) and all(
        _holds(one, {"metadata.name": node.name}) for one in fields
    )


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    found, values = labels.get(text(expression, "key")), [str(one) for one in listed(expression, "values")]
    operator = text(expression, "operator")
    if operator in ("Gt", "Lt"):
        if found is None or not values or not found.lstrip("-").isdigit() or not values[0].lstrip("-").isdigit():
            return False
        return int(found) > int(values[0]) if operator == "Gt" else int(found) < int(values[0])
    return {
        "In": found in values,
        "NotIn": found not in values,
        "Exists": found is not None,
        "DoesNotExist": found is None,
    }.get(operator, False)


# -- all pods, all nodes ---------------------------------------------------------------------------------------------------


def lacks(wanted: Resources, free: Resources) -> str:
    """Say what there is too little of, or ""."""
    for what, amount in wanted.items():
        there = free.get(what, 0.0)
        if amount > there + 1e-9:
            unit, scale = _UNITS.get(what, (what, 1.0))
            return f"it has {max(there, 0.0) / scale:.2f} {unit} free, wanted {amount / scale:.2f}"
    return ""


def place(workloads: Mapping[str, tuple[Object | None, Object]], nodes: Sequence[Node]) -> list[str]:
    """Say for which workloads (name → before, after) the pods of a rollout find no node. The largest are placed first.

    One that is replaced where it stands (a StatefulSet, say) has the room of the one before.
    """
    free = {node.name: dict(node.free) for node in nodes}
    said = []
    order = sorted(
        workloads.items(), key=lambda item: -requests(policy.pod_spec(item[1][1])).get("memory", 0.0)
    )  # stable: the same plan is told in the same words
    for name, (old, new) in order:
        wanted = requests(policy.pod_spec(new))
        reasons = {node.name: unfit(new, node) for node in nodes}
        count = more_pods(old, new, nodes)
        instead = old is not None and count == 0
        left = requests(policy.pod_spec(old)) if instead and old is not None else {}
        for _number in range(max(count, int(instead))):
            tried = {node.name: reasons[node.name] or lacks(wanted, _sum([free[node.name], left])) for node in nodes}
            fits = [node for node, why in tried.items() if not why]
            if not fits:
                told = "; ".join(f"{node}: {why}" for node, why in list(tried.items())[:3])
                said.append(f"{name}: a pod of it finds no node ({told})")
                break
            if not instead:
                best = max(fits, key=lambda node: free[node].get("memory", 0.0))
                free[best] = {what: amount - wanted.get(what, 0.0) for what, amount in free[best].items()}
    return said


def images(workload: Object) -> list[live.Image]:
    """Return the images that the pods of a workload need; those that `variable_images` tells are left out."""
    return list(dict.fromkeys(live.parse_image(one) for one in _references(workload) if "${" not in one))


def variable_images(workload: Object) -> list[str]:
    """Return the references of a workload's pods that only the cluster completes, such as ``ghcr.io/x/app:${TAG}``."""
    return list(dict.fromkeys(one for one in _references(workload) if "${" in one))


def _references(workload: Object) -> list[str]:
    pod = policy.pod_spec(workload)
    found = [text(one, "image") for key in ("containers", "initContainers") for one in listed(pod, key)]
    return [one for one in found if one]


def has_image(node: Node, image: live.Image) -> bool:
    """Say whether a node has an image; kubelets tell of their fifty largest ones only."""
    return (f"{image.name}@{image.digest}" if image.digest else f"{image.name}:{image.tag or 'latest'}") in node.images
