# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the cause of an unready workload where it is told: in its pods."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import (
    Object,
    condition,
    is_false,
    is_true,
    mapping,
    one_line,
    ref,
    text,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.status import container_problem

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session

_UNSEEN = "not seen by a kubelet yet"
_STARTS = (": it is Pending", f": it is {_UNSEEN}")
_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job")


def workload(session: Session, item: Object | None) -> str:
    """Return what keeps the pods of a workload from being ready, or "" (also where nobody answers)."""
    if item is None or text(item, "kind") not in _WORKLOADS:
        return ""
    selector = mapping(item, "spec", "selector")
    labels = ",".join(f"{key}={value}" for key, value in sorted(mapping(selector, "matchLabels").items()))
    if not labels:
        return ""
    pods: list[dict[str, object]] = []
    with contextlib.suppress(KubeError):
        pods = session.items(f"/api/v1/namespaces/{ref(item).namespace}/pods", labelSelector=labels)
    return pods_problem(pods)


def pods_problem(pods: Iterable[Object]) -> str:
    """Return the first pod's trouble, and how many others share it. Pure."""
    told: dict[str, list[str]] = {}
    for pod in sorted(pods, key=lambda p: text(p, "metadata", "creationTimestamp"), reverse=True):
        said = _pod(pod)
        if said:
            told.setdefault(said, []).append(text(pod, "metadata", "name"))
    if not told:
        return ""
    said, names = max(told.items(), key=lambda item: len(item[1]))
    others = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"pod {names[0]}{others}: {said}"


def starts(said: str) -> bool:
    """Say of what `workload` returned whether its pods have only not been started yet. Pure."""
    return said.endswith(_STARTS)


def _pod(pod: Object) -> str:
    if text(pod, "metadata", "deletionTimestamp") or text(pod, "status", "phase") == "Succeeded":
        return ""
    scheduled, ready = condition(pod, "PodScheduled"), condition(pod, "Ready")
    if is_false(scheduled):
        return one_line(f"not scheduled: {text(scheduled, 'message')}")
    problem = container_problem(pod)
    if problem or is_true(ready):
        return problem
    phase = text(pod, "status", "phase") or _UNSEEN
    return "it runs, but its readiness probe does not pass" if phase == "Running" else f"it is {phase}"
