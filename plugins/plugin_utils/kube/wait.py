# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until objects are current (or gone), by watching them; end at once where waiting is of no use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import explain, status
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError, KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, Ref
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Resource, Session
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.watch import Follower, Picture, Scope

Until = Literal["current", "absent"]
#: How often the picture is judged without news: some rules depend on the time.
_TICK = 5.0
_FEW = 3


@dataclass(frozen=True)
class Wanted:
    """One object to wait for; `version` is its apiVersion, or "" for the version that its group prefers."""

    named: Ref
    version: str = ""


@dataclass(frozen=True)
class Verdict:
    """An object with its last status; `cause` is what a look at its pods added, or ""."""

    named: Ref
    status: status.Status
    cause: str = ""

    def __str__(self) -> str:
        """One sentence."""
        return f"{self.named}: {self.status}" + (f" ({self.cause})" if self.cause else "")


@dataclass(frozen=True)
class Outcome:
    """How a wait ended: all verdicts, what the API server's silence was, and how long it took in seconds."""

    verdicts: tuple[Verdict, ...]
    until: Until
    seconds: float
    trouble: tuple[str, ...] = ()

    @property
    def open(self) -> tuple[Verdict, ...]:
        """The objects that are not as waited for."""
        return tuple(v for v in self.verdicts if not holds(v.status, self.until))

    @property
    def ok(self) -> bool:
        """Say whether all are as waited for."""
        return not self.open and not self.trouble


def holds(found: status.Status, until: Until) -> bool:
    """Say whether a status is what is waited for."""
    return found.state == ("Current" if until == "current" else "NotFound")


def judge(wanted: Iterable[Wanted], picture: Picture, now: float) -> tuple[Verdict, ...]:
    """Judge all wanted objects by the picture. Pure; `now` is of the same clock as the picture's."""
    verdicts = []
    for one in wanted:
        item = picture.objects.get(one.named)
        uid = str((item or {}).get("metadata", {}).get("uid"))
        age = now - picture.since[uid] if uid in picture.since else None
        verdicts.append(Verdict(one.named, status.status(item, age)))
    return tuple(verdicts)


def over(verdicts: Sequence[Verdict], until: Until) -> bool:
    """Say whether there is nothing to wait for: all hold, or one has failed for good."""
    if until == "current" and any(v.status.state == "Failed" for v in verdicts):
        return True
    return all(holds(v.status, until) for v in verdicts)


def scopes(resources: Mapping[Wanted, Resource | None]) -> set[Scope]:
    """Return the lists to follow: single objects where they are few, else all of their kind in the namespace. Pure."""
    lists: dict[Scope, set[str]] = {}
    for one, served in resources.items():
        if served is not None:
            of = Scope(served, one.named.namespace if served.namespaced else "")
            lists.setdefault(of, set()).add(one.named.name)
    return {
        scope
        for of, names in lists.items()
        for scope in ([Scope(of.resource, of.namespace, n) for n in names] if len(names) <= _FEW else [of])
    }


def wait(
    session: Session,
    wanted: Sequence[Wanted],
    until: Until,
    timeout: float,
    progress: Callable[[str], None] | None = None,
) -> Outcome:
    """Watch until everything holds, one has failed, or `timeout` seconds are over; 0 is one look.

    An API server that does not answer is waited for. Raises KubeError for a kind that it does not have, and for
    credentials that it refuses.
    """
    start = time.monotonic()
    told: tuple[Verdict, ...] = ()
    resources = _resources(session, wanted, start + timeout)
    with Follower(session, scopes(resources)) as follower:
        while True:
            elapsed = time.monotonic() - start
            left = timeout - elapsed
            # One look takes as long as an answer takes, whatever the timeout.
            fresh = follower.update(min(left, _TICK) if left > 0 or not follower.picture.missing else _TICK)
            verdicts = judge(wanted, follower.picture, time.monotonic())
            trouble = tuple(dict.fromkeys(follower.picture.trouble.values()))
            if follower.picture.complete and over(verdicts, until):
                break
            if time.monotonic() - start >= timeout and (trouble or not follower.picture.missing or not fresh):
                break
            if progress is not None and verdicts != told and follower.picture.complete:
                told = verdicts
                progress("; ".join(str(v) for v in verdicts if not holds(v.status, until)))
    explained = tuple(
        Verdict(v.named, v.status, explain.workload(session, follower.picture.objects.get(v.named)))
        if not holds(v.status, until)
        else v
        for v in verdicts
    )
    return Outcome(explained, until, time.monotonic() - start, trouble)


def _resources(session: Session, wanted: Iterable[Wanted], deadline: float) -> Mapping[Wanted, Resource | None]:
    """Find out how each kind is served; an API server that does not answer yet is asked again until the deadline."""
    while True:
        try:
            found = {
                one: session.resource(one.version, one.named.kind)
                if one.version
                else session.preferred(one.named.group, one.named.kind)
                for one in wanted
            }
        except ApiError as error:
            if not error.transient or time.monotonic() >= deadline:
                raise
            time.sleep(min(0.2, max(deadline - time.monotonic(), 0.0)))
            continue
        unknown = sorted(
            {
                f"{one.named.kind} in {one.version or one.named.group or 'v1'}"
                for one, served in found.items()
                if not served
            }
        )
        if unknown:
            raise KubeError(
                f"the API server has no {', no '.join(unknown)}: check api_version and kind; a custom resource exists "
                "only after its CustomResourceDefinition."
            )
        return found


def summary(outcome: Outcome) -> str:
    """Say what does not hold, one line for each object."""
    lines = [*(str(v) for v in outcome.open), *outcome.trouble]
    failed = any(v.status.state == "Failed" for v in outcome.open) and outcome.until == "current"
    head = "waiting is of no use" if failed else "not as wanted"
    return f"{head} after {outcome.seconds:.0f} s:\n" + "\n".join(f"- {line}" for line in lines)


def current(item: Object | None) -> bool:
    """Say whether one object is current, without waiting."""
    return status.status(item).state == "Current"
