# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say in a sentence each what keeps Flux from bringing the newest commits into the cluster.

`diagnose` is pure: it needs the objects of Flux, and what `causes` found. Roots are told, not what follows from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import (
    graph,
    kinds,
    readiness,
    revision,
    survey,
    wait,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.readiness import Asked, Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, Ref, listed, text

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session

Severity = Literal["blocked", "waiting", "slow"]

#: From how many seconds on an interval counts as slow: of a source, and between tries of what failed.
_SLOW_SOURCE = 600.0
_SLOW_RETRY = 300.0
#: From how many seconds on a fetch is told that has not ended; one that goes well takes one or two.
_LONG_FETCH = 10.0
#: How many of the objects that two have in common are named.
_NAMED = 3
_LOOK = "Look at what it runs: correct it by a commit, or give it more spec.timeout where it is only slow."
_DURATION = re.compile(r"([0-9.]+)(ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; `sentence` names the object, what is the matter, and what to do."""

    named: Ref
    severity: Severity
    reason: str
    sentence: str


def diagnose(
    objects: graph.Objects, namespace: str = "", stuck: Iterable[wait.Cause] = (), now: float = 0.0
) -> list[Finding]:
    """Return what is wrong, what blocks first; of one namespace, or ("") of all. `now` is in seconds since the epoch.

    What is tried again counts as failed as long as it is about the commit that failed before, or a workload of it is
    `stuck`: such an object is at work nearly always, and would be told as waiting for ever. What keeps an object waiting
    from another namespace is not told with one, so the object itself is.
    """
    verdicts: dict[Ref, Verdict] = {}
    for named in sorted(objects):
        kind = kinds.BY_NAME[named.kind]
        if kind.source:
            judged = survey.survey(survey.Goal(named), objects, survey.Requests()).verdicts
            verdicts |= {n: v for n, v in judged.items() if n not in verdicts or v.state == "failed"}
    for named, item in objects.items():
        source = kinds.source_of(item)
        if source is not None and source not in objects and kinds.BY_NAME[named.kind].follows:
            verdicts[source] = Verdict("failed", survey.MISSING, f"it is not in the cluster, though {named} needs it")
            verdicts.setdefault(named, readiness.judge(item, Asked()))
        elif named not in verdicts:
            verdicts[named] = readiness.judge(item, Asked())
    lasting = {cause.of: cause for cause in reversed([*stuck]) if cause.stuck}
    verdicts = {n: _again(n, v, objects, lasting.get(n)) for n, v in verdicts.items()}
    told = {n: v for n, v in verdicts.items() if namespace in ("", n.namespace)}
    roots = {n: v for n, v in told.items() if v.state != "ready" and not _follows_from(n, told, objects)}
    found = [_finding(named, verdict, objects.get(named)) for named, verdict in roots.items()]
    found += [
        finding for named in told if named in objects and (finding := _slow_source(named, objects[named])) is not None
    ]
    found += [_finding(n, v, None) for n in told if n in objects and (v := _silent(objects[n], verdicts[n], now))]
    found += _conflicts(verdicts, objects, namespace)
    order = ("blocked", "waiting", "slow")
    return sorted(found, key=lambda f: (order.index(f.severity), f.named))


def causes(session: Session, objects: graph.Objects) -> tuple[wait.Cause, ...]:
    """Look into the pods of workloads that health checks wait for."""
    judged = {named: readiness.judge(item, Asked()) for named, item in objects.items()}
    return wait.causes(session, survey.Survey("", judged), objects)


def seconds(duration: str) -> float:
    """Read a duration as Go writes it, such as 1h0m0s."""
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(duration))


def _again(named: Ref, verdict: Verdict, objects: graph.Objects, cause: wait.Cause | None) -> Verdict:
    """Judge what is being tried anew by what became of it before, and by its workloads."""
    item = objects.get(named)
    if item is None or verdict.state != "waiting" or verdict.reason != "Progressing":
        return verdict
    failed = _failed_before(item, objects)
    if failed:
        at = revision.short(text(item, "status", "lastAttemptedRevision"))
        why = f"; {cause.said}" if cause else ""
        said = f"{at} failed before and is being tried again ({verdict.message}){why}"
        return replace(verdict, state="failed", reason=failed, message=said, advice=_LOOK)
    if cause is not None:
        return replace(verdict, state="failed", reason="HealthCheck", message=cause.said, advice=_LOOK)
    return verdict


def _failed_before(item: Object, objects: graph.Objects) -> str:
    """Return how the newest attempt ended, if it was about the commit of now and failed; else ""."""
    newest = next((entry for entry in listed(item, "status", "history") if isinstance(entry, Mapping)), {})
    ended, at = text(newest, "lastReconciledStatus"), revision.digest(text(newest, "metadata", "revision"))
    source = objects.get(kinds.source_of(item) or Ref("", "", "", ""))
    found = text(source or {}, "status", "artifact", "revision")
    same = revision.same(text(item, "status", "lastAttemptedRevision"), at) and (not found or revision.same(found, at))
    return ended if same and ended.endswith("Failed") else ""


def _follows_from(named: Ref, verdicts: Mapping[Ref, Verdict], objects: graph.Objects) -> bool:
    """Say whether an object only waits for another one, or for its source, that is told itself."""
    item = objects.get(named)
    if item is None or verdicts[named].reason == "DependencyCycle":
        return False
    if verdicts[named].reason == "Suspended":
        return False
    expression = graph.unmet(item)
    needs = graph.dependencies(item) if expression is None else [expression.need]
    source = kinds.source_of(item)
    if verdicts[named].reason == "DependencyNotReady":
        return any(need in verdicts and verdicts[need].state != "ready" for need in needs)
    return (
        (verdicts[named].state == "waiting" or verdicts[named].reason in ("ArtifactFailed", survey.SOURCE_NOT_READY))
        and source is not None
        and source in verdicts
        and verdicts[source].state != "ready"
    )


def _finding(named: Ref, verdict: Verdict, item: Object | None) -> Finding:
    severity: Severity = "waiting" if verdict.state == "waiting" else "blocked"
    sentence = f"{named}: {verdict}"
    if item is not None and verdict.state != "waiting" and verdict.reason not in ("Suspended", "DependencyCycle"):
        retry = text(item, "spec", "retryInterval") or text(item, "spec", "interval")
        # a source that failed is tried again in growing pauses, whatever its interval
        if seconds(retry) > _SLOW_RETRY and not kinds.BY_NAME[named.kind].source:
            sentence += f" It is tried again only every {retry}: set spec.retryInterval, or ask by flux_reconcile."
    return Finding(named, severity, verdict.reason, sentence)


def _conflicts(verdicts: Mapping[Ref, Verdict], objects: graph.Objects, namespace: str) -> list[Finding]:
    """Tell which objects stand in several live inventories.

    Flux says nothing of it: each controller applies with force, so each undoes the other's work as if it were drift.
    While one of the owners is at work the object may just be moving from one to the other.
    """
    shared: dict[tuple[Ref, ...], list[Ref]] = {}
    for applied, owners in graph.owners(objects).items():
        active = tuple(sorted(owner for owner in owners if not readiness.suspended(objects[owner])))
        if len(active) > 1 and namespace in ("", *(owner.namespace for owner in active)):
            shared.setdefault(active, []).append(applied)
    found = []
    for active, both in shared.items():
        names = ", ".join(map(str, sorted(both)[:_NAMED])) + (f" and {len(both) - _NAMED} more" * (len(both) > _NAMED))
        moving = any(verdicts[owner].state == "waiting" for owner in active if owner in verdicts)
        said = (
            f"{names}: applied by {' and by '.join(map(str, active))}: each undoes the other's changes, and removing "
            "it from the one that applied it last deletes it. Take it out of one by a commit, and annotate it with "
            f"{kinds.KUSTOMIZE}/prune: disabled before, so that it is not deleted on the way."
        )
        found.append(Finding(min(both), "waiting" if moving else "blocked", "OwnedTwice", said))
    return found


def _silent(item: Object, verdict: Verdict, now: float) -> Verdict | None:
    """Judge a source by a fetch that takes long; until that is given up, it is ready at the commit before."""
    began = readiness.fetching_since(item)
    if verdict.state != "ready" or not kinds.BY_NAME[text(item, "kind")].source or not began:
        return None
    try:
        lasts = now - datetime.fromisoformat(began).timestamp()
    except ValueError:
        return None
    return readiness.fetching(item) if lasts > _LONG_FETCH else None


def _slow_source(named: Ref, item: Object) -> Finding | None:
    interval = text(item, "spec", "interval")
    if not kinds.BY_NAME[named.kind].source or seconds(interval) <= _SLOW_SOURCE:
        return None
    said = (
        f"{named}: a push is noticed only every {interval}. Lower spec.interval, or let the Git host call a Receiver."
    )
    return Finding(named, "slow", "SlowInterval", said)
