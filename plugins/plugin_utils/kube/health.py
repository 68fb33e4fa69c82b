# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge objects by their status, the way kstatus does, and a whole cluster by its objects.

Pure: objects are the JSON of an API server. A verdict is a list of sentences that say what does not
hold; an empty one means healthy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.status import CURRENT, status

Object = Mapping[str, Any]

#: Conditions of a node that must not be True.
_NODE_PRESSURE = ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable")
#: The pods that kubeadm runs on each control plane, without the node's name behind them.
CONTROL_PLANE_PODS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
#: The kinds of workloads that are judged.
WORKLOAD_KINDS = ("DaemonSet", "Deployment", "StatefulSet")
#: The one namespace that may be empty: a K3s whose packaged components are disabled runs nothing there.
_MAY_BE_EMPTY = "kube-system"


@dataclass(frozen=True)
class Expected:
    """What must hold. `nodes` and `control_plane` are names of nodes; `version` is without a leading v ("": any).

    `workloads` are kind/namespace/name (a kind of WORKLOAD_KINDS) that must exist; all workloads and pods of
    `namespaces` must be ready, whether or not they are named there. A namespace must exist and, but for kube-system,
    have a workload or a pod: in an empty one nothing was looked at.
    """

    nodes: tuple[str, ...] = ()
    version: str = ""
    control_plane: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ("kube-system",)
    workloads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cluster:
    """What one look at the API server showed. `readyz` is its text, "" when it said ok.

    `absent_namespaces` are those of the expected ones that the cluster does not have.
    """

    version: str = ""
    readyz: str = ""
    nodes: tuple[Object, ...] = ()
    daemon_sets: tuple[Object, ...] = ()
    deployments: tuple[Object, ...] = ()
    stateful_sets: tuple[Object, ...] = ()
    absent_namespaces: tuple[str, ...] = ()
    pods: tuple[Object, ...] = field(default=(), repr=False)


def verdict(expected: Expected, seen: Cluster) -> list[str]:
    """Return everything that keeps the cluster from being as expected, in the order one would look into it."""
    problems: list[str] = []
    if seen.readyz:
        problems.append(f"the API server is not ready: {_one_line(seen.readyz)}")
    if expected.version and seen.version.removeprefix("v") != expected.version:
        problems.append(f"the API server runs {seen.version or 'an unknown version'}, wanted v{expected.version}")
    problems += _nodes(expected, seen)
    problems += _control_plane(expected, seen)
    problems += _namespaces(expected, seen)
    problems += _workloads(expected, seen)
    mirrored = {f"{name}-{node}" for node in expected.control_plane for name in CONTROL_PLANE_PODS}
    for pod in _in(expected.namespaces, seen.pods):
        trouble = pod_problem(pod)
        if trouble and not _is_dispensable(pod) and _name(pod) not in mirrored:
            problems.append(f"pod {_label(pod)}: {trouble}")
    return problems


def node_problem(node: Object, version: str = "") -> str:
    """Return why a node is not ready at `version`, or "" when it is."""
    status = _dict(node, "status")
    conditions = {str(c.get("type")): c for c in status.get("conditions") or []}
    ready = conditions.get("Ready")
    if _dict(node, "metadata").get("deletionTimestamp"):
        return "is being deleted"
    if ready is None:
        return "not Ready: the kubelet has not reported yet"
    if ready.get("status") != "True":
        return f"not Ready: {_reason(ready)}"
    pressed = [f"{name}: {_reason(conditions[name])}" for name in _NODE_PRESSURE if _true(conditions.get(name))]
    if pressed:
        return "; ".join(pressed)
    kubelet = str(_dict(status, "nodeInfo").get("kubeletVersion") or "")
    if version and kubelet.removeprefix("v") != version:
        return f"its kubelet runs {kubelet or 'an unknown version'}, wanted v{version}"
    return ""


def daemon_set_problem(daemon_set: Object) -> str:
    """Return why a DaemonSet has not all its pods, up to date and available, or ""."""
    status = _dict(daemon_set, "status")
    stale = _not_observed(daemon_set)
    if stale:
        return stale
    wanted = int(status.get("desiredNumberScheduled") or 0)
    checks = (("up to date", "updatedNumberScheduled"), ("available", "numberAvailable"))
    return _too_few(wanted, [(what, int(status.get(key) or 0)) for what, key in checks])


def deployment_problem(deployment: Object) -> str:
    """Return why a Deployment has not all its pods, up to date and available, or ""."""
    status = _dict(deployment, "status")
    stale = _not_observed(deployment)
    if stale:
        return stale
    replicas = _dict(deployment, "spec").get("replicas")
    wanted = 1 if replicas is None else int(replicas)
    checks = (("up to date", "updatedReplicas"), ("available", "availableReplicas"))
    short = _too_few(wanted, [(what, int(status.get(key) or 0)) for what, key in checks])
    if not short and int(status.get("replicas") or 0) > int(status.get("updatedReplicas") or 0):
        short = "pods of the previous version are still there"
    for condition in status.get("conditions") or []:
        if short and condition.get("reason") in ("ProgressDeadlineExceeded", "FailedCreate"):
            return f"{short}; {_reason(condition)}"
    return short


def stateful_set_problem(stateful_set: Object) -> str:
    """Return why a StatefulSet is not as its manifest wants it, or ""."""
    # an item of a list says neither
    found = status({**stateful_set, "apiVersion": "apps/v1", "kind": "StatefulSet"})
    return "" if found == CURRENT else _one_line(found.message or found.reason)


def pod_problem(pod: Object) -> str:
    """Return why a pod is not running with all containers ready (or finished well), or ""."""
    status = _dict(pod, "status")
    phase = status.get("phase")
    waiting = [trouble for trouble in map(_container_problem, _containers(status)) if trouble]
    conditions = {str(c.get("type")): c for c in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled", {})
    problem = "; ".join(waiting)
    if phase == "Succeeded" or (phase == "Running" and _true(conditions.get("Ready"))):
        problem = ""
    elif _dict(pod, "metadata").get("deletionTimestamp"):
        problem = "is being deleted"
    elif scheduled.get("status") == "False":
        problem = f"not scheduled: {_reason(scheduled)}"
    elif not problem:
        problem = "running, but not ready" if phase == "Running" else f"{phase or 'unknown phase'}: {_reason(status)}"
    return problem


def _nodes(expected: Expected, seen: Cluster) -> list[str]:
    known = {_name(node): node for node in seen.nodes}
    problems = []
    for name in expected.nodes:
        if name in known:
            trouble = node_problem(known[name], expected.version)
            problems += [f"node {name}: {trouble}"] if trouble else []
        else:
            problems.append(f"node {name}: not in the cluster (it has {', '.join(sorted(known)) or 'no node'})")
    return problems


def _control_plane(expected: Expected, seen: Cluster) -> list[str]:
    pods = {_name(pod): pod for pod in _in(("kube-system",), seen.pods)}
    problems = []
    for node in expected.control_plane:
        for name in CONTROL_PLANE_PODS:
            pod = pods.get(f"{name}-{node}")
            trouble = "is not there" if pod is None else pod_problem(pod)
            problems += [f"control plane {node}: {name}: {trouble}"] if trouble else []
    return problems


def _namespaces(expected: Expected, seen: Cluster) -> list[str]:
    used = {_namespace(o) for o in (*seen.daemon_sets, *seen.deployments, *seen.stateful_sets, *seen.pods)}
    problems = []
    for name in dict.fromkeys(expected.namespaces):
        if name in seen.absent_namespaces:
            problems.append(f"namespace {name}: not in the cluster")
        elif name not in used and name != _MAY_BE_EMPTY:
            problems.append(f"namespace {name}: nothing runs in it (no {', '.join(WORKLOAD_KINDS)} and no pod)")
    return problems


def _workloads(expected: Expected, seen: Cluster) -> list[str]:
    judges = {
        "DaemonSet": (seen.daemon_sets, daemon_set_problem),
        "Deployment": (seen.deployments, deployment_problem),
        "StatefulSet": (seen.stateful_sets, stateful_set_problem),
    }
    problems = []
    for kind, (objects, judge) in judges.items():
        known = {f"{kind}/{_label(o)}": o for o in objects}
        named = [w for w in expected.workloads if w.partition("/")[0] == kind]
        for label in [
            *named,
            *(k for k, o in known.items() if k not in named and _namespace(o) in expected.namespaces),
        ]:
            trouble = judge(known[label]) if label in known else "is not there"
            problems += [f"{kind} {label.partition('/')[2]}: {trouble}"] if trouble else []
    return problems


def _is_dispensable(pod: Object) -> bool:
    """Say whether a workload stands for this pod: what it lacks is told once, by the workload's count."""
    owners = {str(owner.get("kind")) for owner in _dict(pod, "metadata").get("ownerReferences") or []}
    finished = _dict(pod, "status").get("phase") in ("Failed", "Succeeded")
    return (
        bool(_dict(pod, "metadata").get("deletionTimestamp"))
        or "Job" in owners
        or (bool(owners - {"Node"}) and finished)
    )


def _containers(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _container_problem(container: Mapping[str, Any]) -> str:
    state = _dict(container, "state")
    waiting = state.get("waiting")
    ended = state.get("terminated")
    if isinstance(waiting, Mapping) and waiting.get("reason") not in (None, "PodInitializing"):
        return f"container {container.get('name')} waits: {_reason(waiting)}"
    if isinstance(ended, Mapping) and ended.get("exitCode"):
        return f"container {container.get('name')} ended with {ended['exitCode']}: {_reason(ended)}"
    return ""


def _not_observed(workload: Object) -> str:
    generation = _dict(workload, "metadata").get("generation")
    observed = _dict(workload, "status").get("observedGeneration")
    if generation is not None and int(observed or 0) < int(generation):
        return "its controller has not seen the newest version yet"
    return ""


def _too_few(wanted: int, counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{found} of {wanted} {what}" for what, found in counts if found < wanted)


def _in(namespaces: Iterable[str], objects: Iterable[Object]) -> list[Object]:
    wanted = set(namespaces)
    return [o for o in objects if _namespace(o) in wanted]


def _dict(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = body.get(key)
    return value if isinstance(value, Mapping) else {}


def _name(o: Object) -> str:
    return str(_dict(o, "metadata").get("name") or "")


def _namespace(o: Object) -> str:
    return str(_dict(o, "metadata").get("namespace") or "")


def _label(o: Object) -> str:
    return f"{_namespace(o)}/{_name(o)}"


def _true(condition: Mapping[str, Any] | None) -> bool:
    return condition is not None and condition.get("status") == "True"


def _reason(condition: Mapping[str, Any]) -> str:
    words = [str(condition[key]) for key in ("reason", "message") if condition.get(key)]
    return _one_line(": ".join(words)) or "no reason given"


def _one_line(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 400 else flat[:397] + "..."
