# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge all that follows a source at a commit, together: what is ready, what blocks it, and whether waiting is of use.

Pure. One object's words are not enough: a child is applied by its parent, so what it says before the parent is done is
about the commit before; and who waits for a dependency that is missing, suspended, failed, or waits for it in turn,
waits for ever without any controller saying so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import graph, kinds, readiness, revision
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.readiness import Asked, Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import (
    Object,
    Ref,
    condition,
    is_false,
    is_true,
    text,
)

Decision = Literal["done", "failed", "wait"]
MISSING = "NotFound"
#: How a HelmRelease says that it waits for its chart.
SOURCE_NOT_READY = "SourceNotReady"
#: How a Kustomization fails within moments of having been told of a commit.
_HASTY = ("ArtifactFailed", "BuildFailed", "ReconciliationFailed")
#: After how many seconds a follower should have been told of a new commit.
_PROPAGATION = 2.0
#: After how many seconds without a word a reconciliation must have been lost, and is left to growing pauses otherwise.
STUCK = 10.0


@dataclass(frozen=True)
class Goal:
    """What is waited for: `source` at the digest `target` ("": its newest), and with it `objects`.

    Without `objects` all that follow the source are meant. With `recurse` also what these have applied. `grace` is for
    how many seconds a failure may last that time may heal.
    """

    source: Ref
    target: str = ""
    objects: tuple[Ref, ...] = ()
    recurse: bool = True
    grace: float = 30.0


@dataclass(frozen=True)
class Requests:
    """Which objects we asked to reconcile: the newest token of each. `asking` says whether we ask at all.

    `settled` are those that were asked after whoever applies them was ready.
    """

    tokens: Mapping[Ref, str] = field(default_factory=dict)
    asking: bool = False
    settled: frozenset[Ref] = frozenset()

    def of(self, named: Ref) -> str:
        """The token of the newest request, or ""."""
        return self.tokens.get(named, "")


@dataclass(frozen=True)
class Survey:
    """The verdicts on all members; `target` is the digest they were judged by, "" where the source has none yet.

    `hasty` are failures that count once their objects have been asked again.
    """

    target: str
    verdicts: Mapping[Ref, Verdict]
    hasty: frozenset[Ref] = frozenset()

    def having(self, *states: readiness.State) -> dict[Ref, Verdict]:
        """Those in one of the states."""
        return {named: verdict for named, verdict in self.verdicts.items() if verdict.state in states}


def survey(goal: Goal, objects: graph.Objects, requests: Requests) -> Survey:
    """Judge the source and every member."""
    item = objects.get(goal.source)
    if item is None:
        return Survey("", {goal.source: _missing_source(goal.source, objects)})
    seen = readiness.source(item, Asked(goal.target, requests.of(goal.source)))
    if seen.state != "ready":
        return Survey("", {goal.source: seen})
    found = text(item, "status", "artifact", "revision")
    target = revision.digest(found)
    since = text(item, "status", "artifact", "lastUpdateTime")
    verdicts = {goal.source: seen}
    parents = graph.appliers(objects)
    for named in sorted(members(goal, objects)):
        member = objects.get(named)
        if member is None:
            verdicts[named] = _missing(named, goal, objects)
            continue
        own = target if kinds.source_of(member) == goal.source else ""
        verdicts[named] = _with_chart(
            readiness.judge(member, Asked(own, requests.of(named), since)), kinds.charts(member), objects
        )
    early, hasty = _held_back(verdicts, parents, requests)
    return Survey(target, _blocked(early, objects), hasty)


def _with_chart(verdict: Verdict, charts: Iterable[Ref], objects: graph.Objects) -> Verdict:
    """Say of a HelmRelease that waits for its chart what keeps that from coming.

    Helm's controller waits for ever, and its word may be of the moment before: it is a failure that time may heal.
    """
    if verdict.reason != SOURCE_NOT_READY or verdict.state != "waiting":
        return verdict
    for named in charts:
        item = objects.get(named)
        found = readiness.judge(item, Asked()) if item is not None else None
        if found is not None and found.state in ("failed", "passing"):
            said = f"{named}: {found.reason}: {found.message}".rstrip(": ")
            return Verdict("passing", SOURCE_NOT_READY, said, found.advice)
    return verdict


def members(goal: Goal, objects: graph.Objects) -> set[Ref]:
    """Return who must be ready: the named ones or all followers, what they applied, and what all of these depend on."""
    start = set(goal.objects) or graph.followers(goal.source, objects)
    if goal.recurse:
        start |= graph.descendants(start, objects)
    return graph.closure(start, objects)


def decide(goal: Goal, found: Survey, lasting: Mapping[Ref, float]) -> Decision:
    """Say whether to go on. `lasting` says for how many seconds a failure of the kind `passing` has been seen."""
    unready = found.having("waiting", "passing", "failed")
    if not unready:
        return "done"
    if found.having("failed"):
        return "failed"
    if found.having("waiting"):
        return "wait"
    return "failed" if all(lasting.get(named, 0.0) >= goal.grace for named in unready) else "wait"


def requests(
    goal: Goal,
    found: Survey,
    objects: graph.Objects,
    asked: Requests,
    arrived: float,
    silent: Mapping[Ref, float] | None = None,
) -> list[Ref]:
    """Return whom to ask for a reconciliation now: who would only come to it by a timer.

    That is who failed before the source had the commit, who was not told of it (one dependency cycle keeps all
    followers of a source from being told), who waits for dependencies that have become ready since, and who lost its
    way in the middle, by a restart of the API server. `arrived` is for how many seconds the source has had the commit,
    `silent` for how many each object has not changed.
    """
    wanted = []
    unchanged = silent or {}
    for named, verdict in found.having("waiting", "passing").items():
        item = objects.get(named)
        token = asked.of(named)
        if item is None or named == goal.source:
            continue
        if unchanged.get(named, 0.0) >= STUCK and _in_progress(item):
            wanted.append(named)
            continue
        if token and not readiness.handled(item, token):
            continue
        ready = condition(item, "Ready")
        needs = graph.dependencies(item)
        if text(ready, "reason") == "DependencyNotReady":
            due = bool(needs) and all(found.verdicts.get(need, verdict).state == "ready" for need in needs)
            # an expression may be false of what is ready: asking at each look would only make its controller busy
            due = due and (graph.unmet(item) is None or not token or unchanged.get(named, 0.0) >= STUCK)
        else:
            late = is_true(ready) and arrived >= _PROPAGATION
            due = named in found.hasty or (not token and (is_false(ready) or late))
        wanted += [named] if due else []
    return wanted


def _in_progress(item: Object) -> bool:
    """Say whether an object is being worked on; health checks are quiet for as long as they take."""
    said = text(condition(item, "Reconciling"), "message") + text(condition(item, "Ready"), "message")
    unknown = not is_true(condition(item, "Ready")) and not is_false(condition(item, "Ready"))
    return unknown and text(item, "kind") == "Kustomization" and "health check" not in said.lower()


def sentences(found: Survey) -> list[str]:
    """Say of each member that is not ready why, failures first."""
    order = {"failed": 0, "passing": 1, "waiting": 2}
    unready = sorted(found.having("failed", "passing", "waiting").items(), key=lambda i: (order[i[1].state], i[0]))
    return [f"{named}: {verdict}" for named, verdict in unready]


def _held_back(
    verdicts: dict[Ref, Verdict], parents: Mapping[Ref, Ref], requests: Requests
) -> tuple[dict[Ref, Verdict], frozenset[Ref]]:
    """Let failures wait whose parent is about to apply something newer, or has just done so; return the latter too.

    A Kustomization that its parent changes while it fails by its former version writes the new generation beside the
    old failure: where we ask, only what it says after a request that came later counts.
    """
    result = dict(verdicts)
    hasty = set()
    for named, verdict in verdicts.items():
        parent = parents.get(named)
        if verdict.state != "failed" or parent not in verdicts:
            continue
        if verdicts[parent].state in ("waiting", "passing"):
            result[named] = replace(verdict, state="waiting")
        elif (
            requests.asking
            and named not in requests.settled
            and named.kind == "Kustomization"
            and verdict.reason in _HASTY
        ):
            hasty.add(named)
            result[named] = replace(verdict, state="waiting")
    return result, frozenset(hasty)


def _blocked(verdicts: dict[Ref, Verdict], objects: graph.Objects) -> dict[Ref, Verdict]:
    """Turn waiting into failing where it cannot end, once nothing else is in progress."""
    concerned = {named: objects[named] for named in verdicts if named in objects}
    around = {named: cycle for cycle in graph.cycles(concerned) for named in cycle}
    dead = {
        named: replace(v, state="failed")
        for named, v in verdicts.items()
        if v.reason == MISSING and v.state == "waiting"
    }
    for named, cycle in around.items():
        if verdicts[named].state != "ready":
            dead[named] = Verdict(
                "failed",
                "DependencyCycle",
                f"dependsOn goes in a circle, {graph.way(cycle)}, so none of these starts, and a new commit is told to "
                "no Kustomization of the source",
                "Take one of the dependencies out.",
            )
    grown = True
    while grown:
        grown = False
        for named, verdict in verdicts.items():
            if named in dead or verdict.state not in ("waiting",) or named not in concerned:
                continue
            if text(condition(concerned[named], "Ready"), "reason") != "DependencyNotReady":
                continue
            # where an expression decides, the dependency need not be ready, only there
            decided = {expression.need for expression in graph.expressions(concerned[named])}
            for need in graph.dependencies(concerned[named]):
                if need in decided and need in objects:
                    continue
                lost = dead.get(need) or (verdicts[need] if verdicts[need].state == "failed" else None)
                if lost is not None:
                    dead[named] = Verdict("failed", "DependencyNotReady", f"it waits for {need}, which {_why(lost)}")
                    grown = True
                    break
    live = [n for n, v in verdicts.items() if v.state == "waiting" and n not in dead]
    return verdicts if live or not dead else {**verdicts, **dead}


def _why(lost: Verdict) -> str:
    return {
        MISSING: "is not in the cluster",
        "Suspended": "is suspended",
        "DependencyCycle": "waits in a circle",
        "DependencyNotReady": "waits for another one itself",
    }.get(lost.reason, f"has failed ({lost.reason})")


def _missing(named: Ref, goal: Goal, objects: graph.Objects) -> Verdict:
    needed = sorted(str(other) for other, item in objects.items() if named in graph.dependencies(item))
    by = f", though {', '.join(needed)} depends on it" if needed else ""
    asked_for = named in goal.objects
    return Verdict(
        "passing" if asked_for else "waiting", MISSING, f"it is not in the cluster{by}", "Add it, or correct the name."
    )


def _missing_source(named: Ref, objects: graph.Objects) -> Verdict:
    known = ", ".join(f"{n.namespace}/{n.name}" for n in sorted(objects) if n.kind == named.kind) or "none"
    return Verdict("failed", MISSING, f"it is not in the cluster, which has {known}")


def applied_before(target: str, objects: Mapping[Ref, Object]) -> bool:
    """Say whether some Kustomization has reached this commit already and gone on from it."""
    return any(
        revision.same(text(entry, "metadata", "revision") or text(entry, "revision"), target)
        for item in objects.values()
        for entry in (item.get("status") or {}).get("history") or []
        if isinstance(entry, Mapping)
    )
