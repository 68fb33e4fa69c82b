# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until a source and all that follows it are ready at a commit; end at once where waiting is of no use."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import kinds, readiness, requests, revision, survey
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.readiness import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import explain, status
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError, KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, Ref, condition, text
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Resource, Session
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.watch import Follower, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable

_TICK = 1.0
#: For how long a source may not find a commit that it was asked for, and how often it is asked again meanwhile.
_LAG = 5.0
_ASK_AGAIN = 2.0
#: How often a source is asked again whose server did not answer: its own pauses grow to a quarter of an hour.
_TRY_AGAIN = 10.0
_WORKLOAD = re.compile(r"\b([A-Z][A-Za-z]+)/([a-z0-9-]+)/([a-z0-9.-]+) status")
_SUSPECTS = 20
_GROUPS = {"Deployment": "apps", "StatefulSet": "apps", "DaemonSet": "apps", "Job": "batch"}


@dataclass(frozen=True)
class Options:
    """How to wait. `timeout` is in seconds; with `poke` reconciliations are asked for.

    `superseded` says whether a newer commit than the wanted one will do. `clone` is a clone of the repository that can
    tell whether a commit is newer.
    """

    timeout: float = 300.0
    poke: bool = True
    superseded: Literal["accept", "fail"] = "accept"
    clone: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """How it ended. `revision` is the source's; `superseded` is "" or the commit's successor that was waited for."""

    ok: bool
    found: survey.Survey
    objects: dict[Ref, Object] = field(repr=False)
    revision: str
    seconds: float
    superseded: str = ""
    trouble: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()

    def sentences(self) -> list[str]:
        """What is not ready and why, one sentence for each object."""
        return [*survey.sentences(self.found), *self.causes, *self.trouble]


class Wait:
    """One wait; `run` does it. `progress` is told what is not ready; `stop` is asked now and then whether to give up."""

    def __init__(
        self,
        session: Session,
        goal: survey.Goal,
        options: Options,
        progress: Callable[[str], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        self._session = session
        self._goal = goal
        self._options = options
        self._progress = progress
        self._stop = stop
        self._start = time.monotonic()
        self._tokens: dict[Ref, str] = {}
        self._settled: set[Ref] = set()
        self._changed: dict[Ref, tuple[str, float]] = {}
        self._asked_source = 0.0
        self._passing: dict[Ref, float] = {}
        self._arrived: float | None = None
        self._elsewhere: float | None = None
        self._seen_target = False
        self._superseded = ""
        self._told: list[str] = []
        self._charts_read = 0.0
        self._chart_objects: dict[Ref, Object] = {}

    def run(self) -> Outcome:
        """Wait. Raises KubeError where Flux is not installed, or credentials are refused."""
        with Follower(self._session, self._scopes()) as follower:
            found = survey.Survey(
                "", {self._goal.source: Verdict("waiting", "NotRead", "the API server has not answered")}
            )
            if self._options.poke:
                self._ask(self._goal.source)
            while True:
                follower.update(min(_TICK, max(self._left(), 0.05)))
                picture = follower.picture
                decision: survey.Decision = "wait"
                if picture.complete:
                    found, decision = self._look({**self._charts(picture.objects), **picture.objects})
                    if decision == "done" and not self._confirmed(follower):
                        continue
                if self._stop is not None and decision == "wait" and self._stop():
                    break
                if decision != "wait" or (self._left() <= 0 and (picture.complete or picture.trouble)):
                    break
                self._tell(found)
            trouble = tuple(dict.fromkeys(picture.trouble.values()))
        source = picture.objects.get(self._goal.source) or {}
        return Outcome(
            ok=decision == "done",
            found=found,
            objects=dict(picture.objects),
            revision=text(source, "status", "artifact", "revision"),
            seconds=time.monotonic() - self._start,
            superseded=self._superseded,
            trouble=() if decision == "done" else trouble,
            causes=() if decision == "done" else tuple(c.said for c in causes(self._session, found, picture.objects)),
        )

    def _charts(self, objects: Mapping[Ref, Object]) -> dict[Ref, Object]:
        """Read what the charts come from that HelmReleases wait for, once in a tick; who has none costs nothing."""
        if time.monotonic() - self._charts_read < _TICK:
            return self._chart_objects
        waiting = [
            item
            for item in objects.values()
            if text(item, "kind") == "HelmRelease"
            and text(condition(item, "Ready"), "reason") == survey.SOURCE_NOT_READY
        ]
        read: dict[Ref, Object] = {}
        for named in dict.fromkeys(chart for item in waiting[:_SUSPECTS] for chart in kinds.charts(item)):
            with contextlib.suppress(ApiError):
                found = self._session.object(named) if named not in objects else None
                if found is not None:
                    read[named] = {"apiVersion": f"{named.group}/v1", "kind": named.kind, **found}
        self._charts_read, self._chart_objects = time.monotonic(), read
        return read

    def _look(self, objects: dict[Ref, Object]) -> tuple[survey.Survey, survey.Decision]:
        now = time.monotonic()
        found = self._overtaken(survey.survey(self._goal, objects, self._requests()), objects, now)
        for named in found.having("passing"):
            self._passing.setdefault(named, now)
        # a source that was asked again after it failed has not come right by being asked
        self._passing = {
            n: t
            for n, t in self._passing.items()
            if n in found.having("passing") or (n == self._goal.source and _retrying(found, n, objects))
        }
        decision = survey.decide(self._goal, found, {n: now - t for n, t in self._passing.items()})
        if found.target:
            self._arrived = self._arrived or now
        if decision == "wait" and self._options.poke:
            self._ask_where_due(found, objects, now)
        return found, decision

    def _ask_where_due(self, found: survey.Survey, objects: dict[Ref, Object], now: float) -> None:
        asked = self._requests()
        if self._arrived is not None:
            silent = self._silent(objects, now)
            for named in survey.requests(self._goal, found, objects, asked, now - self._arrived, silent):
                if self._ask(named) and named in found.hasty:
                    self._settled.add(named)
            return
        verdict = found.verdicts.get(self._goal.source)
        item = objects.get(self._goal.source)
        token = asked.of(self._goal.source)
        pause = _TRY_AGAIN if verdict is not None and verdict.state == "passing" else _ASK_AGAIN
        again = not token or (
            verdict is not None
            and (verdict.reason == readiness.OTHER or verdict.state == "passing")
            and item is not None
            and readiness.handled(item, token)
            and now - self._asked_source >= pause
        )
        if again:
            self._ask(self._goal.source)

    def _ask(self, named: Ref) -> bool:
        """Request a reconciliation; one that does not get through is sent again at the next look."""
        token = requests.new_token()
        try:
            requests.patch(self._session, named, requests.request_patch(token))
        except ApiError as error:
            if not error.transient and error.status != 404:
                raise
            return False
        self._tokens[named] = token
        if named == self._goal.source:
            self._asked_source = time.monotonic()
        return True

    def _overtaken(self, found: survey.Survey, objects: dict[Ref, Object], now: float) -> survey.Survey:
        """Deal with a source that is at another commit than the wanted one, though it has looked."""
        source = self._goal.source
        if found.target:
            self._seen_target = True
            return found
        verdict = found.verdicts[source]
        at = text(objects.get(source) or {}, "status", "artifact", "revision")
        elsewhere = bool(at) and bool(self._goal.target) and not revision.same(at, self._goal.target)
        known = self._seen_target or survey.applied_before(self._goal.target, objects)
        if not elsewhere or verdict.state == "failed":
            self._elsewhere = None
            return found
        # Only what it says after it was asked tells that the commit is not there; until then it has not looked.
        looked = verdict.reason == readiness.OTHER and self._options.poke and source in self._tokens
        if not looked and self._elsewhere is None and not self._seen_target:
            return found
        newer = known or descends(self._options.clone, revision.digest(at), self._goal.target)
        if newer and self._options.superseded == "accept":
            self._superseded = at
            self._goal = survey.Goal(
                source, revision.digest(at), self._goal.objects, self._goal.recurse, self._goal.grace
            )
            return survey.survey(self._goal, objects, self._requests())
        self._elsewhere = self._elsewhere or now
        if newer or now - self._elsewhere >= _LAG:
            return survey.Survey("", {source: _not_found(at, self._goal.target, newer)})
        return found

    def _confirmed(self, follower: Follower) -> bool:
        """Read once more what other lists than the Kustomizations' may tell late, and judge again."""
        members = survey.members(self._goal, follower.picture.objects)
        objects = dict(follower.picture.objects)
        for named in (n for n in members if n.kind != "Kustomization"):
            item = None
            with contextlib.suppress(ApiError):
                item = self._session.object(named)
            if item is None:
                return False
            objects[named] = item
        return survey.decide(self._goal, survey.survey(self._goal, objects, self._requests()), {}) == "done"

    def _silent(self, objects: dict[Ref, Object], now: float) -> dict[Ref, float]:
        """For how many seconds each object has not changed."""
        for named, item in objects.items():
            version = text(item, "metadata", "resourceVersion")
            if self._changed.get(named, ("", 0.0))[0] != version:
                self._changed[named] = (version, now)
        return {named: now - since for named, (_unused, since) in self._changed.items()}

    def _requests(self) -> survey.Requests:
        return survey.Requests(self._tokens, self._options.poke, frozenset(self._settled))

    def _scopes(self) -> list[Scope]:
        """Return the lists to follow; an API server that does not answer yet is asked again until the timeout."""
        while True:
            try:
                served = {name: self._session.preferred(kinds.BY_NAME[name].group, name) for name in self._kinds()}
            except ApiError as error:
                if not error.transient or self._left() <= 0:
                    raise
                time.sleep(0.2)
                continue
            found = {name: r for name, r in served.items() if r is not None}
            missing = [name for name in (self._goal.source.kind, "Kustomization") if name not in found]
            if missing:
                raise FluxError(
                    f"the cluster has no {' and no '.join(missing)}: Flux is not installed, or not all of its "
                    "CustomResourceDefinitions are."
                )
            return [self._scope(resource) for resource in found.values()]

    def _scope(self, resource: Resource) -> Scope:
        one = self._goal.source if resource.kind == self._goal.source.kind else None
        return Scope(resource, one.namespace, one.name) if one else Scope(resource)

    def _kinds(self) -> Iterable[str]:
        return dict.fromkeys((self._goal.source.kind, "Kustomization", "HelmRelease"))

    def _left(self) -> float:
        return self._options.timeout - (time.monotonic() - self._start)

    def _tell(self, found: survey.Survey) -> None:
        lines = survey.sentences(found)
        if self._progress is not None and lines != self._told:
            self._told = lines
            self._progress("; ".join(lines))


def _retrying(found: survey.Survey, named: Ref, objects: Mapping[Ref, Object]) -> bool:
    """Say whether a source has not got over its last failure, though what it says is not of our newest request yet."""
    verdict = found.verdicts.get(named)
    failed = condition(objects.get(named) or {}, "FetchFailed").get("status") == "True"
    return verdict is not None and verdict.state == "waiting" and failed


def _not_found(at: str, target: str, newer: bool) -> Verdict:
    if newer:
        return Verdict(
            "failed", "Superseded", f"{target[:12]} was superseded by {revision.short(at)}", "Wait for that one."
        )
    return Verdict(
        "failed",
        "CommitNotFound",
        f"it was fetched just now and is at {revision.short(at)}; {target[:12]} is not what its reference points to",
        "Either the commit was not pushed, or to another branch, or a newer one was pushed since: give `clone`, a clone "
        "of the repository, and a newer commit will do.",
    )


def descends(clone: Path | None, found: str, target: str) -> bool:
    """Say whether the commit `found` comes after `target`, as far as the clone knows both."""
    if clone is None:
        return False
    command = ["git", "-C", str(clone), "merge-base", "--is-ancestor", target, found]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0
    return False


@dataclass(frozen=True)
class Cause:
    """A workload that is not ready, whose health checks `of` (one of Flux's objects) wait for; `said` is a sentence.

    `stuck` says that it has more trouble than having just been started.
    """

    workload: Ref
    of: Ref
    said: str
    stuck: bool


def causes(session: Session, found: survey.Survey, objects: Mapping[Ref, Object]) -> tuple[Cause, ...]:
    """Look into the pods of the workloads that health checks wait for."""
    suspects: dict[Ref, Ref] = {}
    for named, verdict in found.having("failed", "passing", "waiting").items():
        for kind, namespace, name in _WORKLOAD.findall(verdict.message):
            suspects.setdefault(Ref(_GROUPS.get(kind, ""), kind, namespace, name), named)
        if (
            verdict.state == "waiting"
            and named in objects
            and condition(objects[named], "Healthy").get("status") != "True"
        ):
            for child in kinds.inventory(objects[named]):
                suspects.setdefault(child, named)
    told = []
    for suspect in [s for s in suspects if s.kind in _GROUPS][:_SUSPECTS]:
        with contextlib.suppress(KubeError):
            item = session.object(suspect)
            judged = status.status(item)
            if judged.state != "Current":
                cause = explain.workload(session, item)
                said = f"{suspect}: {judged}" + (f" ({cause})" if cause else "")
                stuck = judged.state == "Failed" or bool(cause and not explain.starts(cause))
                told.append(Cause(suspect, suspects[suspect], said, stuck))
    return tuple(told)
