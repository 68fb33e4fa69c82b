# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kstatus: one row for each rule, with the words that come out."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import explain
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.status import status


def made(
    kind: str, version: str = "apps/v1", *, spec: Any = None, state: Any = None, **metadata: Any
) -> dict[str, Any]:
    head = {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "x", "namespace": "n", "generation": 2, **metadata},
    }
    return {**head, "spec": spec or {}, "status": {"observedGeneration": 2, **(state or {})}}


def said(kind: str, value: str, reason: str = "", message: str = "") -> dict[str, str]:
    return {"type": kind, "status": value, "reason": reason, "message": message}


ROLLED_OUT = [said("Progressing", "True", "NewReplicaSetAvailable"), said("Available", "True")]
COUNTS = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2}
SETS = {"replicas": 2, "readyReplicas": 2, "currentReplicas": 2, "currentRevision": "a", "updateRevision": "a"}
DAEMONS = {
    "desiredNumberScheduled": 2,
    "currentNumberScheduled": 2,
    "updatedNumberScheduled": 2,
    "numberAvailable": 2,
    "numberReady": 2,
}
TWO = {"replicas": 2, "progressDeadlineSeconds": 600}


def deployment(**changes: Any) -> dict[str, Any]:
    return made("Deployment", spec=TWO, state={**COUNTS, "conditions": ROLLED_OUT, **changes})


def pod(phase: str, *conditions: dict[str, str], **more: Any) -> dict[str, Any]:
    return made("Pod", "v1", state={"phase": phase, "conditions": list(conditions), **more})


def waits(reason: str) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": reason, "message": "why"}}}]}


@pytest.mark.parametrize(
    ("item", "wanted"),
    [
        (None, "NotFound: NotFound: it is not in the cluster"),
        (
            made("X", deletionTimestamp="t", finalizers=["a/b"]),
            "Terminating: Terminating: it is being deleted and waits for a/b",
        ),
        (made("X", state={"observedGeneration": 1}), "InProgress: LatestGenerationNotObserved"),
        (made("ConfigMap", "v1"), "Current"),
        (made("X", "e.io/v1"), "Current"),
        (made("X", "e.io/v1", state={"conditions": [said("Ready", "True")]}), "Current"),
        (made("X", "e.io/v1", state={"conditions": [said("Ready", "False", "R", "m")]}), "InProgress: R: m"),
        (made("X", "e.io/v1", state={"conditions": [said("Ready", "Unknown", "R", "m")]}), "InProgress: R: m"),
        (made("X", "e.io/v1", state={"conditions": [said("Stalled", "True", "R", "m")]}), "Failed: R: m"),
        (
            made("X", "e.io/v1", state={"conditions": [said("Reconciling", "True", "R", "m"), said("Ready", "True")]}),
            "InProgress: R: m",
        ),
        (deployment(), "Current"),
        (deployment(replicas=1), "InProgress: LessReplicas: 1 of 2 replicas"),
        (deployment(updatedReplicas=1), "InProgress: LessReplicas: 1 of 2 updated"),
        (deployment(replicas=3), "InProgress: LessReplicas: 1 pods of the previous version are still there"),
        (deployment(availableReplicas=0), "InProgress: LessReplicas: 0 of 2 available"),
        (deployment(readyReplicas=1), "InProgress: LessReplicas: 1 of 2 ready"),
        (
            deployment(conditions=[said("Progressing", "False", "ProgressDeadlineExceeded", "late")]),
            "Failed: ProgressDeadlineExceeded: late",
        ),
        (
            deployment(replicas=0, conditions=[said("ReplicaFailure", "True", "FailedCreate", "quota")]),
            "InProgress: FailedCreate: 0 of 2 replicas: quota",
        ),
        (
            deployment(conditions=[said("Progressing", "True", "ReplicaSetUpdated", "m")]),
            "InProgress: ReplicaSetNotAvailable: m",
        ),
        (deployment(conditions=ROLLED_OUT[:1]), "InProgress: DeploymentNotAvailable"),
        (made("StatefulSet", spec={"replicas": 2}, state=SETS), "Current"),
        (made("StatefulSet", spec={"updateStrategy": {"type": "OnDelete"}}), "Current"),
        (
            made("StatefulSet", spec={"replicas": 2}, state={**SETS, "readyReplicas": 1}),
            "InProgress: LessReplicas: 1 of 2 ready",
        ),
        (
            made("StatefulSet", spec={"replicas": 2}, state={**SETS, "updateRevision": "b"}),
            "InProgress: LessReplicas: the newest version is not rolled out",
        ),
        (
            made(
                "StatefulSet",
                spec={"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}},
                state={**SETS, "updatedReplicas": 0},
            ),
            "InProgress: LessReplicas: 0 of 1 updated",
        ),
        (made("DaemonSet", state=DAEMONS), "Current"),
        (made("DaemonSet", state={**DAEMONS, "numberReady": 1}), "InProgress: LessPods: 1 of 2 ready"),
        (made("DaemonSet", state={"observedGeneration": None}), "InProgress: NoObservedGeneration"),
        (made("Job", "batch/v1", state={"conditions": [said("Complete", "True")]}), "Current"),
        (made("Job", "batch/v1", state={"conditions": [said("Failed", "True", "R", "m")]}), "Failed: R: m"),
        (made("Job", "batch/v1"), "InProgress: JobNotStarted"),
        (
            made("Job", "batch/v1", state={"startTime": "t", "active": 1}),
            "InProgress: JobInProgress: 0 of 1 done, 1 running",
        ),
        (made("PersistentVolumeClaim", "v1", state={"phase": "Bound"}), "Current"),
        (made("PersistentVolumeClaim", "v1", state={"phase": "Pending"}), "InProgress: NotBound: the claim is Pending"),
        (pod("Running", said("Ready", "True")), "Current"),
        (pod("Succeeded"), "Current"),
        (pod("Failed", reason="Evicted", message="disk"), "Failed: Evicted: disk"),
        (
            pod("Running", **waits("CrashLoopBackOff")),
            "Failed: ContainerCrashLooping: container c waits: CrashLoopBackOff: why",
        ),
        (pod("Pending", **waits("ImagePullBackOff")), "InProgress: PodPending: container c waits: ImagePullBackOff"),
        (pod("Pending", said("PodScheduled", "False", "Unschedulable", "full")), "Failed: PodUnschedulable: full"),
        (made("Service", "v1", spec={"type": "LoadBalancer"}), "InProgress: NoIPAssigned"),
        (
            made(
                "CustomResourceDefinition",
                "apiextensions.k8s.io/v1",
                state={"conditions": [said("Established", "True")]},
            ),
            "Current",
        ),
        (
            made(
                "CustomResourceDefinition",
                "apiextensions.k8s.io/v1",
                state={"conditions": [said("NamesAccepted", "False", "C", "m")]},
            ),
            "Failed: C: m",
        ),
        (made("CustomResourceDefinition", "apiextensions.k8s.io/v1"), "InProgress: Installing"),
        (
            made("SealedSecret", "bitnami.com/v1alpha1", state={"observedGeneration": None}),
            "InProgress: NotUnsealed: its controller has not seen it",
        ),
        (
            made(
                "SealedSecret",
                "bitnami.com/v1alpha1",
                state={"conditions": [said("Synced", "False", "", "no key could decrypt secret (token)")]},
            ),
            "InProgress: no key could decrypt secret (token)",
        ),
        (made("SealedSecret", "bitnami.com/v1alpha1", state={"conditions": [said("Synced", "True")]}), "Current"),
        (
            made(
                "SealedSecret",
                "bitnami.com/v1alpha1",
                state={"observedGeneration": 1, "conditions": [said("Synced", "True")]},
            ),
            "InProgress: LatestGenerationNotObserved: its controller has seen generation 1, the newest is 2",
        ),
    ],
)
def test_rules(item: dict[str, Any] | None, wanted: str) -> None:
    assert str(status(item, age=60.0)).startswith(wanted)


def test_a_pod_has_some_seconds_to_be_scheduled() -> None:
    unscheduled = pod("Pending", said("PodScheduled", "False", "Unschedulable", "full"))
    assert status(unscheduled, age=3.0).state == "InProgress"
    assert status(unscheduled).state == "InProgress"


def _pods(phase: str, *waiting: str) -> list[dict[str, Any]]:
    containers = [{"name": "web", "state": {"waiting": {"reason": reason}}} for reason in waiting]
    return [{"metadata": {"name": "web-1"}, "status": {"phase": phase, "containerStatuses": containers}}]


@pytest.mark.parametrize(
    ("pods", "starts"),
    [
        (_pods("Pending", "ContainerCreating"), True),
        (_pods(""), True),
        (_pods("Pending", "ImagePullBackOff"), False),
        (_pods("Running"), False),
    ],
)
def test_pods_that_only_start_are_told_from_those_in_trouble(pods: list[dict[str, Any]], starts: bool) -> None:
    said = explain.pods_problem(pods)
    assert said.startswith("pod web-1: ")
    assert explain.starts(said) is starts
