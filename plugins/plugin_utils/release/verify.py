# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a commit does well in a cluster: Flux at the revision, workloads, the digests that run, and the admin's probes.

What fails and what cannot be known are told apart: only the first is a reason to roll back. A Git host, registry or API
server that does not answer, and a metric without data, say nothing about the release.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import secrets
import shutil
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlencode

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import missing
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import explain, status
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError, KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import (
    Object,
    Ref,
    condition,
    is_true,
    listed,
    mapping,
    ref,
    text,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import delivery, live
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.delivery import Clone, Subject
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.policy import pod_spec

try:
    import urllib3
except ImportError as error:
    urllib3 = missing("urllib3", error)

_LOOK = 0.5
_SUSPECTS_TOLD = 5
#: Seconds that a Job may run longer than it is waited for, and that one which has ended stays at least, and otherwise.
_JOB_LINGERS, _JOB_STAYS = 30, 600
_SUSPECTS = ("Deployment", "StatefulSet", "DaemonSet")
_RESTARTS = 3
_STATUSES = ("initContainerStatuses", "containerStatuses")
#: How often containers have restarted, by their pod's uid and their name.
Restarts = Mapping[tuple[str, str], int]
#: Why a container waits when waiting is of no use.
_HOPELESS = (
    "CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError",
    "CreateContainerError", "RunContainerError", "ErrImageNeverPull",
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What has to hold. Times are in seconds; `settle` is for how long all must be well together.

    `http`, `promql`, `job` and `command` are as the modules' documentation tells.
    """

    enabled: bool = True
    timeout: float = 600.0
    settle: float = 10.0
    http: tuple[Mapping[str, Any], ...] = ()
    promql: tuple[Mapping[str, Any], ...] = ()
    job: Mapping[str, Any] | None = None
    command: tuple[str, ...] = ()
    on_failure: Literal["rollback", "keep"] = "rollback"


def combined(own: Options, given: Collection[str], environment: Mapping[str, Any]) -> Options:
    """Return the options of a run with those that its environment has set; `given` are names that the run has set itself.

    Probes of both are asked; of all else the run's own word counts.
    """
    probes: dict[str, Any] = {
        name: (*(environment.get(name) or ()), *mine) for name, mine in (("http", own.http), ("promql", own.promql))
    }
    rest: dict[str, Any] = {
        name: value for name, value in environment.items() if name not in probes and name not in given
    }
    if "command" in rest:
        rest["command"] = tuple(map(str, rest["command"]))
    return replace(own, **rest, **probes)


@dataclass(frozen=True)
class Verification:
    """The answer: `verified` is None where it cannot be known. `failures` and `unknown` are sentences."""

    verified: bool | None
    failures: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    revision: str = ""
    seconds: float = 0.0

    def text(self) -> str:
        """Return why, in one line."""
        return "; ".join([*self.failures, *self.unknown]) or "all is well"

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as a module's result has it."""
        return {
            "revision": self.revision,
            "failures": list(self.failures),
            "unknown": list(self.unknown),
            "seconds": round(self.seconds, 3),
        }


@dataclass
class _Answer:
    failures: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def verify(cluster: live.Cluster, subject: Subject, options: Options, clone: Clone | None) -> Verification:
    """Wait until a commit does well, or is known not to. Never raises for what a cluster does."""
    started = time.monotonic()
    ends = started + options.timeout
    answer = _Answer()
    at = ""
    try:
        before = _restarts_before(cluster, ends)
        lost = _Lost(cluster, subject)
        found = delivery.deliver(cluster, subject, options.timeout, clone, lost)
        at = found.revision
        answer.failures += lost.said or found.failures
        if not lost.said:
            answer.unknown += found.unknown
            answer.warnings += found.warnings
        if not answer.failures and not answer.unknown:
            candidates = suspects(found.objects, subject.namespaces)
            _workloads(cluster, candidates, subject.images, subject.namespaces, options, ends, answer, before)
        if not answer.failures and not answer.unknown:
            _probes(cluster, options, ends, answer)
    except KubeError as error:
        answer.unknown.append(str(error))
    verified = False if answer.failures else None if answer.unknown else True
    return Verification(
        verified,
        tuple(answer.failures),
        tuple(answer.unknown),
        tuple(answer.warnings),
        at,
        time.monotonic() - started,
    )


def lacking(options: Options) -> list[str]:
    """Say what of the controller verification would need and not find; it is asked before anything is pushed."""
    if options.command and shutil.which(options.command[0]) is None:
        return [f"verify: wanted the program {options.command[0]}, found none that can be run"]
    return []


# -- while it is waited for ----------------------------------------------------------------------------------------------------


class _Lost:
    """Looks, while Flux is waited for, whether a pod of the new version is beyond hope: Flux says so minutes later."""

    def __init__(self, cluster: live.Cluster, subject: Subject) -> None:
        self._cluster, self._subject = cluster, subject
        self._next = 0.0
        self.said: list[str] = []

    def __call__(self) -> bool:
        """Say whether waiting is of no use."""
        now = time.monotonic()
        if now < self._next or not self._subject.images:
            return False
        self._next = now + _LOOK * 2
        with contextlib.suppress(KubeError):
            wanted, namespaces = self._subject.images, self._subject.namespaces
            self.said = [
                said
                for pod in self._cluster.pods(fresh=True)
                if (not namespaces or text(pod, "metadata", "namespace") in namespaces)
                and asks_for(pod, wanted)
                and (said := hopeless_pod(pod))
            ][:_SUSPECTS_TOLD]
        return bool(self.said)


def asks_for(pod: Object, wanted: Sequence[live.Image]) -> bool:
    """Say whether a pod is of a version that is looked for: its image, at the tag and digest. Pure."""
    known = {image.name: image for image in wanted}
    for one in [*listed(pod, "spec", "containers"), *listed(pod, "spec", "initContainers")]:
        image = live.parse_image(text(one, "image"))
        found = known.get(image.name)
        if found is not None and (found.tag, found.digest) == (image.tag, image.digest):
            return True
    return False


# -- workloads -----------------------------------------------------------------------------------------------------------------


def _workloads(
    cluster: live.Cluster,
    candidates: Sequence[Ref],
    images: Sequence[live.Image],
    namespaces: Sequence[str],
    options: Options,
    ends: float,
    answer: _Answer,
    before: Restarts | None,
) -> None:
    """Wait until the workloads have been well for the time of settling; end at once where they will not be."""
    names = {image.name for image in images}
    well_since: float | None = None
    while True:
        try:
            open_, hopeless = _look(cluster, candidates, names, images, namespaces, before)
        except ApiError as error:
            # an API server that is busy or starts anew says nothing about the release; until the time is up it is asked on
            if not error.transient or time.monotonic() >= ends:
                raise
            well_since = None
            time.sleep(_LOOK)
            continue
        now = time.monotonic()
        if hopeless:
            answer.failures += hopeless
            return
        well_since = None if open_ else well_since or now
        if well_since is not None and now - well_since >= options.settle:
            return
        if now >= ends:
            answer.failures += open_ or [
                f"it has been well for {now - (well_since or now):.0f} s only, wanted {options.settle:g}"
            ]
            return
        time.sleep(_LOOK)


def suspects(objects: Sequence[Ref], namespaces: Sequence[str]) -> list[Ref]:
    """Return those of the delivered objects that run pods. Pure."""
    return [one for one in objects if one.kind in _SUSPECTS and (not namespaces or one.namespace in namespaces)]


def _look(
    cluster: live.Cluster,
    candidates: Sequence[Ref],
    names: set[str],
    images: Sequence[live.Image],
    namespaces: Sequence[str],
    before: Restarts | None,
) -> tuple[list[str], list[str]]:
    """Return what is not well yet, and what will not be. `before` are restarts that do not count; with None none does."""
    open_: list[str] = []
    hopeless: list[str] = []
    for named in candidates:
        item = cluster.session.object(named)
        if item is not None and names and not names & {image.name for image in images_of(item)}:
            continue
        found = status.status(item)
        if found.state == "Failed":
            hopeless.append(f"{named}: {found}")
            continue
        lost = ""
        pods = [] if found.state == "Current" and before is None else _newest(cluster, item)
        if found.state != "Current":
            open_.append(f"{named}: {found}")
            lost = next((said for pod in pods if (said := hopeless_pod(pod))), "")
        if not lost and before is not None:
            # a pod may be ready between two of its ends
            lost = next((said for pod in pods if (said := restarted(pod, before))), "")
        if lost:
            hopeless.append(f"{named}: {lost}")
    if names and not hopeless:
        running = cluster.running(names, namespaces, fresh=True)
        open_ += [said for said in digest_mismatches(images, running) if said not in open_]
    return open_, hopeless


def images_of(workload: Object) -> list[live.Image]:
    """Return the images that a workload's pods ask for."""
    pod = pod_spec(workload)
    return [
        live.parse_image(text(one, "image")) for key in ("containers", "initContainers") for one in listed(pod, key)
    ]


def _newest(cluster: live.Cluster, workload: Object | None) -> list[Object]:
    """Return the pods of a workload's newest version that are to stay."""
    if workload is None:
        return []
    labels = mapping(workload, "spec", "selector", "matchLabels")
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    if not selector:
        return []
    pods = cluster.session.items(f"/api/v1/namespaces/{ref(workload).namespace}/pods", labelSelector=selector)
    wanted = {(one.name, one.tag, one.digest) for one in images_of(workload)}
    return [
        pod
        for pod in pods
        if not text(pod, "metadata", "deletionTimestamp")
        and {
            (i.name, i.tag, i.digest)
            for c in listed(pod, "spec", "containers")
            for i in [live.parse_image(text(c, "image"))]
        }
        <= wanted
    ]


def hopeless_pod(pod: Object) -> str:
    """Say why a pod will not become ready, or "". Pure."""
    for key in _STATUSES:
        for one in listed(pod, "status", key):
            waiting = mapping(one, "state", "waiting")
            last = mapping(one, "lastState", "terminated")
            who = f"pod {text(pod, 'metadata', 'name')}: container {text(one, 'name')}"
            if text(waiting, "reason") in _HOPELESS:
                why = text(last, "reason") or text(waiting, "message")
                return f"{who}: {text(waiting, 'reason')}{': ' + why if why else ''}"
            if int(mapping(one).get("restartCount") or 0) >= _RESTARTS and not is_true(condition(pod, "Ready")):
                return f"{who} has restarted {one['restartCount']} times"
            if text(last, "reason") == "OOMKilled" and not mapping(one, "state", "running"):
                return f"{who}: OOMKilled"
    return ""


def _restarts_before(cluster: live.Cluster, ends: float) -> Restarts | None:
    """Return how often containers have restarted before a commit comes; None where nobody may know. Raises KubeError.

    What a pod did in the weeks before says nothing about a release that leaves it as it is.
    """
    while True:
        try:
            return restarts(cluster.pods(fresh=True))
        except ApiError as error:
            if not error.transient:
                return None
            if time.monotonic() >= ends:
                raise
            time.sleep(_LOOK)


def restarts(pods: Iterable[Object]) -> dict[tuple[str, str], int]:
    """Return how often each container has restarted, by its pod's uid and its name. Pure."""
    return {
        (text(pod, "metadata", "uid"), text(one, "name")): int(mapping(one).get("restartCount") or 0)
        for pod in pods
        for key in _STATUSES
        for one in listed(pod, "status", key)
    }


def restarted(pod: Object, before: Restarts) -> str:
    """Say how a pod has ended since `before`, ready as it may be, or "": out of memory once, or restarted too often. Pure."""
    for key in _STATUSES:
        for one in listed(pod, "status", key):
            name = text(one, "name")
            count = int(mapping(one).get("restartCount") or 0) - before.get((text(pod, "metadata", "uid"), name), 0)
            who = f"pod {text(pod, 'metadata', 'name')}: container {name}"
            if count > 0 and text(one, "lastState", "terminated", "reason") == "OOMKilled":
                return f"{who}: OOMKilled"
            if count >= _RESTARTS:
                return f"{who} has restarted {count} times"
    return ""


def digest_mismatches(images: Sequence[live.Image], running: Sequence[live.Container]) -> list[str]:
    """Say which ready pods run another digest than the promoted one. Pure."""
    wanted = {image.name: image for image in images if image.digest}
    said = []
    for one in running:
        image = wanted.get(one.wanted.name)
        if image is not None and one.ready and one.digest and one.digest != image.digest:
            said.append(f"pod {one.pod} runs {one.digest[:19]}, promoted was {image.digest[:19]}")
    return said


# -- probes --------------------------------------------------------------------------------------------------------------------


def _probes(cluster: live.Cluster, options: Options, ends: float, answer: _Answer) -> None:
    for one in options.http:
        _http(one, ends, answer)
    for one in options.promql:
        _promql(one, answer)
    if options.job is not None and not answer.failures:
        _job(cluster, options.job, ends, answer)
    if options.command and not answer.failures:
        _command(options.command, max(ends - time.monotonic(), 1.0), answer)


def _http(probe: Mapping[str, Any], ends: float, answer: _Answer) -> None:
    """Ask `count` times; `failures` wrong answers one after the other, or too few right ones, are a failure."""
    count, most = int(probe.get("count") or 5), int(probe.get("failures") or 3)
    least = int(probe.get("least") or max(count - most + 1, 1))
    right = in_a_row = 0
    said = ""
    for number in range(count):
        if number:
            time.sleep(float(probe.get("interval") or 1.0))
        wrong = _ask(probe)
        right += not wrong
        in_a_row = in_a_row + 1 if wrong else 0
        said = wrong or said
        if in_a_row >= most or time.monotonic() > ends:
            break
    if in_a_row >= most or right < least:
        answer.failures.append(
            f"{probe['url']}: {right} of {count} answers were right, wanted {least}; the last wrong one: {said}"
        )


def _ask(probe: Mapping[str, Any]) -> str:
    """Return what is wrong with one answer, or ""."""
    wanted = probe.get("status") or [200]
    wanted = wanted if isinstance(wanted, list) else [wanted]
    try:
        found = _get(
            str(probe["url"]), float(probe.get("timeout") or 5.0), probe.get("headers") or {}, probe.get("ca_file")
        )
    except urllib3.exceptions.HTTPError as error:
        return f"no answer: {str(error)[:200]}"
    if found.status not in [int(one) for one in wanted]:
        return f"status {found.status}"
    if probe.get("contains") and str(probe["contains"]) not in found.data.decode("utf-8", "replace"):
        return f"it does not contain {probe['contains']!r}"
    return ""


def _get(url: str, timeout: float, headers: Mapping[str, str], ca_file: Any = None) -> Any:
    options: dict[str, Any] = {"ca_certs": str(ca_file)} if ca_file else {}
    with urllib3.PoolManager(timeout=timeout, retries=False, **options) as pool:
        return pool.request("GET", url, headers=dict(headers), redirect=False)


def _promql(probe: Mapping[str, Any], answer: _Answer) -> None:
    """Hold a metric against `max` and `min`. No data, and no answer, are never a failure."""
    name = str(probe.get("name") or probe["query"])
    address = f"{str(probe['url']).rstrip('/')}/api/v1/query?{urlencode({'query': probe['query']})}"
    try:
        found = _get(address, float(probe.get("timeout") or 10.0), probe.get("headers") or {}, probe.get("ca_file"))
        body = json.loads(found.data)
        if found.status != 200 or body.get("status") != "success":
            raise ValueError(str(body.get("error") or found.status))
        values = _numbers(body["data"])
    except (urllib3.exceptions.HTTPError, ValueError, LookupError, TypeError, AttributeError) as error:
        answer.warnings.append(f"metric {name} is not known: {str(error)[:200]}")
        return
    values = [value for value in values if not math.isnan(value)]  # nothing was divided by nothing
    if not values:
        answer.warnings.append(f"metric {name} has no data, which says nothing")
        return
    if probe.get("max") is not None and max(values) > float(probe["max"]):
        answer.failures.append(f"metric {name} is {max(values):g}, wanted at most {probe['max']}")
    if probe.get("min") is not None and min(values) < float(probe["min"]):
        answer.failures.append(f"metric {name} is {min(values):g}, wanted at least {probe['min']}")


def _numbers(data: Mapping[str, Any]) -> list[float]:
    """Return the numbers of an answer of Prometheus: one of a scalar, one of each element of an instant vector."""
    kind = data["resultType"]
    if kind == "scalar":
        return [float(data["result"][1])]
    if kind != "vector":
        raise ValueError(f"the query gives a {kind}, wanted one number or an instant vector")
    if any("value" not in one for one in data["result"]):
        raise ValueError("the query gives histograms, wanted numbers; take histogram_quantile of it")
    return [float(one["value"][1]) for one in data["result"]]


def run_job(cluster: live.Cluster, manifest: Mapping[str, Any], seconds: float) -> tuple[list[str], list[str]]:
    """Run a Job to its end; return how it failed, and why it could not be run. Raises KubeError."""
    answer = _Answer()
    _job(cluster, manifest, time.monotonic() + seconds, answer)
    return answer.failures, answer.unknown


def _job(cluster: live.Cluster, manifest: Mapping[str, Any], ends: float, answer: _Answer) -> None:
    """Run a Job and wait for its end; it is taken away afterwards, also when it fails."""
    body = job_of(manifest, ends - time.monotonic())
    namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    named = Ref("batch", "Job", namespace, name)
    cause = ""
    with _made(cluster, path, body, answer) as made:
        while made:
            try:
                item = cluster.session.object(named)
            except ApiError as error:
                # as with workloads: an API server that is busy says nothing about the Job
                if not error.transient or time.monotonic() >= ends:
                    raise
                time.sleep(_LOOK)
                continue
            found = status.status(item)
            # a Job that is suspended is as it is declared, but it has shown nothing
            if found.state == "Current" and not is_true(condition(item or {}, "Suspended")):
                return
            # some pods are gone when their Job has failed, and with them what they said
            cause = explain.workload(cluster.session, item) or cause
            if found.state == "Failed" or time.monotonic() > ends:
                said = "it is suspended" if found.state == "Current" else found
                answer.failures.append(f"{named}: {said}" + (f" ({cause})" if cause else ""))
                return
            time.sleep(_LOOK)


def job_of(manifest: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Return the Job that is made, with a name of its own; what is left of the time are `seconds`. Pure.

    Where this run is killed, Kubernetes ends the Job and takes it away. The end of a failed container's log becomes its message.
    """
    body = copy.deepcopy(dict(manifest))
    metadata = body.setdefault("metadata", {})
    metadata["name"] = f"{metadata.get('name') or 'verify'}-{secrets.token_hex(3)}"
    metadata.setdefault("namespace", "default")
    spec = body.get("spec")
    if isinstance(spec, dict):
        spec.setdefault("activeDeadlineSeconds", math.ceil(max(seconds, 0.0)) + _JOB_LINGERS)
        # one that went at its end would not be seen to have ended well
        stays = spec.get("ttlSecondsAfterFinished")
        spec["ttlSecondsAfterFinished"] = max(stays, _JOB_LINGERS) if isinstance(stays, int) else _JOB_STAYS
        for key in ("containers", "initContainers"):
            for container in listed(spec, "template", "spec", key):
                if isinstance(container, dict):
                    container.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    return {**body, "apiVersion": "batch/v1", "kind": "Job"}


@contextlib.contextmanager
def _made(cluster: live.Cluster, path: str, body: Mapping[str, Any], answer: _Answer) -> Iterator[bool]:
    try:
        cluster.session.api().request("POST", path, body=body)
    except ApiError as error:
        if error.transient:
            raise
        answer.unknown.append(f"the Job could not be made: {error}")
        yield False
        return
    try:
        yield True
    finally:
        with contextlib.suppress(KubeError):
            query = {"propagationPolicy": "Background"}
            cluster.session.api().request("DELETE", f"{path}/{body['metadata']['name']}", query=query)


def _command(argv: Sequence[str], seconds: float, answer: _Answer) -> None:
    try:
        done = subprocess.run(list(argv), capture_output=True, text=True, timeout=seconds, check=False)
    except OSError as error:
        # the commit is pushed by now, and a program that cannot be started says nothing about it
        answer.unknown.append(f"{argv[0]} cannot be run: {error.strerror or error}")
        return
    except subprocess.TimeoutExpired:
        answer.failures.append(f"{argv[0]} did not end within {seconds:.0f} s")
        return
    if done.returncode:
        said = " ".join((done.stderr.strip() or done.stdout.strip()).split())[-400:]
        answer.failures.append(f"{argv[0]} ended with {done.returncode}: {said}")
