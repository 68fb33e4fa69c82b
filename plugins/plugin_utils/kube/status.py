# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say of one object whether it is as its manifest wants it, by the rules of kstatus (sigs.k8s.io/cli-utils).

Pure. The rules are those that Flux and kubectl-based tools use, so that all of them agree: an object whose controller
has not seen its newest generation is in progress; one whose conditions say Stalled or, for the built-in kinds, that
something went wrong for good is failed; one that is being deleted is terminating; and one without any sign is current.
Three rules are stricter, because who waits for these waits for their end: a Job is current when it is complete, not when
it runs, a pod that ended with an error is failed, and a SealedSecret is current when its controller has made the Secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import (
    Object,
    condition,
    generation,
    is_false,
    is_true,
    listed,
    mapping,
    one_line,
    text,
)

State = Literal["Current", "InProgress", "Failed", "Terminating", "NotFound", "Unknown"]

#: For how long a pod may be unschedulable before that counts as a failure; kstatus' own number, in seconds.
SCHEDULE_WINDOW = 15.0
_NO_DEADLINE = 2**31 - 1


@dataclass(frozen=True)
class Status:
    """What an object is like, and why: `reason` is a word, `message` a sentence; both are empty when it is current."""

    state: State
    reason: str = ""
    message: str = ""

    def __str__(self) -> str:
        """`State: reason: message`, as far as known."""
        return ": ".join(part for part in (self.state, self.reason, one_line(self.message)) if part)


CURRENT = Status("Current")


def status(item: Object | None, age: float | None = None) -> Status:
    """Judge `item`; None is an object that is not there. `age` is in seconds, where a rule asks how long it lasts."""
    if item is None:
        return Status("NotFound", "NotFound", "it is not in the cluster")
    if text(item, "metadata", "deletionTimestamp"):
        finalizers = ", ".join(map(str, listed(item, "metadata", "finalizers")))
        said = f"it is being deleted and waits for {finalizers}" if finalizers else "it is being deleted"
        return Status("Terminating", "Terminating", said)
    found = _unseen(item) or _standard(item)
    if found is not None:
        return found
    rule = _RULES.get((text(item, "apiVersion").rpartition("/")[0], text(item, "kind")), _ready)
    return rule(item, age)


def _unseen(item: Object) -> Status | None:
    """Return a verdict where the controller has not seen the newest generation."""
    seen = mapping(item, "status").get("observedGeneration")
    if seen is not None and generation(item) and int(seen) != generation(item):
        return Status(
            "InProgress",
            "LatestGenerationNotObserved",
            f"its controller has seen generation {seen}, the newest is {generation(item)}",
        )
    return None


def _standard(item: Object) -> Status | None:
    """Return a verdict where the conditions that any controller may set say that it is not done."""
    stalled, reconciling, ready = (condition(item, kind) for kind in ("Stalled", "Reconciling", "Ready"))
    if is_true(stalled):
        return _from("Failed", stalled)
    if is_true(reconciling):
        return _from("InProgress", ready if is_false(ready) else reconciling)
    return None


def _ready(item: Object, _age: float | None) -> Status:
    ready = condition(item, "Ready")
    return _from("InProgress", ready) if ready and not is_true(ready) else CURRENT


def _deployment(item: Object, _age: float | None) -> Status:
    progressing, broken, free = (condition(item, kind) for kind in ("Progressing", "ReplicaFailure", "Available"))
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return _from("Failed", progressing)
    wanted, counts = _replicas(item), mapping(item, "status")
    found, updated = _count(counts, "replicas"), _count(counts, "updatedReplicas")
    lacking = _lacking((("replicas", found, wanted), ("updated", updated, wanted)))
    if not lacking and found > wanted:
        lacking = f"{found - wanted} pods of the previous version are still there"
    lacking = lacking or _lacking(
        (
            ("available", _count(counts, "availableReplicas"), updated),
            ("ready", _count(counts, "readyReplicas"), wanted),
        )
    )
    if lacking and is_true(broken):
        return Status("InProgress", text(broken, "reason"), f"{lacking}: {text(broken, 'message')}")
    if lacking:
        return Status("InProgress", "LessReplicas", lacking)
    rolled_out = is_true(progressing) and progressing.get("reason") == "NewReplicaSetAvailable"
    if not rolled_out and mapping(item, "spec").get("progressDeadlineSeconds") not in (None, _NO_DEADLINE):
        return Status("InProgress", "ReplicaSetNotAvailable", text(progressing, "message") or "it is rolling out")
    if not is_true(free):
        return Status("InProgress", "DeploymentNotAvailable", text(free, "message") or "it is not available yet")
    return CURRENT


def _replica_set(item: Object, _age: float | None) -> Status:
    broken = condition(item, "ReplicaFailure")
    if is_true(broken):
        return _from("InProgress", broken)
    wanted, counts = _replicas(item), mapping(item, "status")
    names = ("fullyLabeledReplicas", "availableReplicas", "readyReplicas")
    lacking = _lacking(tuple((name.removesuffix("Replicas"), _count(counts, name), wanted) for name in names))
    if not lacking and _count(counts, "replicas") > wanted:
        lacking = f"{_count(counts, 'replicas') - wanted} pods too many"
    return Status("InProgress", "LessReplicas", lacking) if lacking else CURRENT


def _stateful_set(item: Object, _age: float | None) -> Status:
    strategy = mapping(item, "spec", "updateStrategy")
    if strategy.get("type") == "OnDelete":
        return CURRENT
    wanted, counts = _replicas(item), mapping(item, "status")
    lacking = _lacking(
        (
            ("replicas", _count(counts, "replicas"), wanted),
            ("ready", _count(counts, "readyReplicas"), wanted),
        )
    )
    if not lacking and _count(counts, "replicas") > wanted:
        lacking = f"{_count(counts, 'replicas') - wanted} pods too many"
    partition = mapping(strategy, "rollingUpdate").get("partition")
    if not lacking and partition:
        lacking = _lacking((("updated", _count(counts, "updatedReplicas"), wanted - int(partition)),))
    elif not lacking and not partition:
        lacking = _lacking((("up to date", _count(counts, "currentReplicas"), wanted),))
        if not lacking and counts.get("currentRevision") != counts.get("updateRevision"):
            lacking = "the newest version is not rolled out to all pods"
    return Status("InProgress", "LessReplicas", lacking) if lacking else CURRENT


def _daemon_set(item: Object, _age: float | None) -> Status:
    counts = mapping(item, "status")
    if counts.get("observedGeneration") is None:
        return Status("InProgress", "NoObservedGeneration", "its controller has not seen it yet")
    if counts.get("desiredNumberScheduled") is None:
        return Status("InProgress", "NoDesiredNumber", "its controller has not counted the nodes yet")
    wanted = _count(counts, "desiredNumberScheduled")
    lacking = _lacking(
        (
            ("scheduled", _count(counts, "currentNumberScheduled"), wanted),
            ("updated", _count(counts, "updatedNumberScheduled"), wanted),
            ("available", _count(counts, "numberAvailable"), wanted),
            ("ready", _count(counts, "numberReady"), wanted),
        )
    )
    return Status("InProgress", "LessPods", lacking) if lacking else CURRENT


def _job(item: Object, _age: float | None) -> Status:
    failed, done, suspended = (condition(item, kind) for kind in ("Failed", "Complete", "Suspended"))
    if is_true(failed):
        return _from("Failed", failed)
    if is_true(done) or is_true(suspended):
        return CURRENT
    if not text(item, "status", "startTime"):
        return Status("InProgress", "JobNotStarted", "it has not started")
    # kstatus takes a job that runs for done; who waits for a job waits for its end.
    counts = mapping(item, "status")
    wanted = int(mapping(item, "spec").get("completions") or 1)
    return Status(
        "InProgress",
        "JobInProgress",
        f"{_count(counts, 'succeeded')} of {wanted} done, {_count(counts, 'active')} running, "
        f"{_count(counts, 'failed')} failed",
    )


def _claim(item: Object, _age: float | None) -> Status:
    phase = text(item, "status", "phase") or "unknown"
    return CURRENT if phase == "Bound" else Status("InProgress", "NotBound", f"the claim is {phase}, not Bound")


def _pod(item: Object, age: float | None) -> Status:
    phase = text(item, "status", "phase")
    waiting = container_problem(item)
    ready = condition(item, "Ready")
    if phase == "Failed":
        return Status(
            "Failed", text(item, "status", "reason") or "PodFailed", waiting or text(item, "status", "message")
        )
    if phase == "Succeeded" or (phase == "Running" and is_true(ready)):
        return CURRENT
    if phase == "Running":
        loops = "CrashLoopBackOff" in waiting
        return Status(
            "Failed" if loops else "InProgress",
            "ContainerCrashLooping" if loops else "PodRunningNotReady",
            waiting or "it runs, but is not ready",
        )
    scheduled = condition(item, "PodScheduled")
    if is_false(scheduled) and scheduled.get("reason") == "Unschedulable":
        state: State = "Failed" if age is not None and age >= SCHEDULE_WINDOW else "InProgress"
        return Status(state, "PodUnschedulable", text(scheduled, "message"))
    return Status("InProgress", "PodPending", waiting or f"it is {phase or 'not seen yet'}")


def _service(item: Object, _age: float | None) -> Status:
    if text(item, "spec", "type") == "LoadBalancer" and not text(item, "spec", "clusterIP"):
        return Status("InProgress", "NoIPAssigned", "it has no cluster address yet")
    return CURRENT


def _definition(item: Object, _age: float | None) -> Status:
    names, established = condition(item, "NamesAccepted"), condition(item, "Established")
    if is_false(names):
        return _from("Failed", names)
    if is_true(established):
        return CURRENT
    if is_false(established) and established.get("reason") != "Installing":
        return _from("Failed", established)
    return Status("InProgress", "Installing", text(established, "message") or "it is not established yet")


def _sealed_secret(item: Object, _age: float | None) -> Status:
    # Its controller sets none of the usual conditions, so for kstatus one that cannot be opened is done. It tries again.
    synced = condition(item, "Synced")
    if is_true(synced):
        return CURRENT
    return (
        _from("InProgress", synced) if synced else Status("InProgress", "NotUnsealed", "its controller has not seen it")
    )


def container_problem(pod: Object) -> str:
    """Return what the containers of a pod wait for or died of, or ""."""
    found = []
    for name in ("initContainerStatuses", "containerStatuses"):
        for container in listed(pod, "status", name):
            said = _container(container)
            found += [said] if said else []
    return "; ".join(found)


def _container(container: Mapping[str, Any]) -> str:
    name = text(container, "name")
    waiting, ended = mapping(container, "state", "waiting"), mapping(container, "state", "terminated")
    if waiting and waiting.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
        words = ": ".join(str(waiting[key]) for key in ("reason", "message") if waiting.get(key))
        last = mapping(container, "lastState", "terminated")
        ended_with = f" (it last ended with {last['exitCode']})" if last.get("exitCode") is not None else ""
        return one_line(f"container {name} waits: {words}{ended_with}")
    if ended and ended.get("exitCode"):
        words = ": ".join(str(ended[key]) for key in ("reason", "message") if ended.get(key))
        return one_line(f"container {name} ended with {ended['exitCode']}{': ' + words if words else ''}")
    return ""


def _from(state: State, found: Mapping[str, Any]) -> Status:
    return Status(state, text(found, "reason"), text(found, "message"))


def _replicas(item: Object) -> int:
    wanted = mapping(item, "spec").get("replicas")
    return 1 if wanted is None else int(wanted)


def _count(body: Mapping[str, Any], key: str) -> int:
    return int(body.get(key) or 0)


def _lacking(counts: tuple[tuple[str, int, int], ...]) -> str:
    """Return the first count that is too low: it says why the later ones are."""
    return next((f"{found} of {wanted} {what}" for what, found, wanted in counts if found < wanted), "")


_RULES: dict[tuple[str, str], Callable[[Object, float | None], Status]] = {
    ("", "PersistentVolumeClaim"): _claim,
    ("", "Pod"): _pod,
    ("", "Service"): _service,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "Deployment"): _deployment,
    ("apps", "ReplicaSet"): _replica_set,
    ("apps", "StatefulSet"): _stateful_set,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("batch", "Job"): _job,
    ("bitnami.com", "SealedSecret"): _sealed_secret,
}
