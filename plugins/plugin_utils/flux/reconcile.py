# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let Flux reconcile, suspend and resume objects: plans are pure, carrying them out is a patch each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import kinds, readiness, requests
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.readiness import Asked, Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, Ref
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.watch import Follower, Scope

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session


@dataclass(frozen=True)
class Request:
    """An object to ask, and what for."""

    named: Ref
    force: bool = False
    reset: bool = False


def plan_requests(
    objects: Mapping[Ref, Object], wanted: Sequence[Ref], *, with_source: bool, force: bool, reset: bool
) -> list[list[Request]]:
    """Return whom to ask, in steps: each step has to be done before the next. Pure.

    Raises FluxError with everything that cannot be asked: missing, suspended, without a status.
    """
    sources = (
        [s for n in wanted if n in objects and (s := kinds.source_of(objects[n])) is not None] if with_source else []
    )
    problems = []
    for named in dict.fromkeys((*sources, *wanted)):
        item = objects.get(named)
        if item is None:
            problems.append(f"{named} is not in the cluster")
        elif readiness.suspended(item):
            problems.append(f"{named} is suspended: resume it by flux_suspend first")
        elif not kinds.BY_NAME[named.kind].status:
            problems.append(f"{named} cannot be reconciled: its kind has no status")
        elif (force or reset) and named in wanted and named.kind != "HelmRelease":
            problems.append(f"{named}: force and reset are for HelmReleases only")
    if problems:
        raise FluxError("nothing was asked:\n" + "\n".join(f"- {problem}" for problem in problems))
    steps = [
        [Request(named) for named in dict.fromkeys(sources)],
        [Request(named, force=force, reset=reset) for named in dict.fromkeys(wanted)],
    ]
    return [step for step in steps if step]


def plan_suspend(objects: Mapping[Ref, Object], wanted: Sequence[Ref], *, suspend: bool) -> list[Ref]:
    """Return whom to change: on suspending sources last, on resuming sources first. Pure.

    Raises FluxError with everything that is not there or cannot be suspended.
    """
    problems = [f"{named} is not in the cluster" for named in wanted if named not in objects]
    problems += [
        f"{named} cannot be suspended: what depends on its kind is"
        for named in wanted
        if named.kind in _NEVER_SUSPENDED
    ]
    if problems:
        raise FluxError("nothing was changed:\n" + "\n".join(f"- {problem}" for problem in problems))
    changes = [named for named in wanted if readiness.suspended(objects[named]) != suspend]
    return sorted(
        dict.fromkeys(changes), key=lambda named: (kinds.BY_NAME[named.kind].group == kinds.SOURCE) == suspend
    )


_NEVER_SUSPENDED = ("ExternalArtifact",)


def suspendable(named: Ref) -> bool:
    """Say whether an object of this kind can be suspended."""
    return kinds.is_flux(named) and named.kind not in _NEVER_SUSPENDED


def suspend(session: Session, wanted: Sequence[Ref], *, suspend: bool) -> None:
    """Suspend or resume objects. Raises ApiError, and FluxError where the change did not hold."""
    for named in wanted:
        after = requests.patch(session, named, requests.suspend_patch(suspend=suspend))
        if readiness.suspended(after) != suspend:
            raise FluxError(f"{named}: the API server took the change, but spec.suspend is not {suspend} after it")


def ask(session: Session, step: Sequence[Request]) -> dict[Ref, str]:
    """Send requests and return their tokens. Raises ApiError."""
    tokens = {}
    for request in step:
        tokens[request.named] = requests.new_token()
        body = requests.request_patch(tokens[request.named], force=request.force, reset=request.reset)
        requests.patch(session, request.named, body)
    return tokens


def await_handled(
    session: Session,
    tokens: Mapping[Ref, str],
    timeout: float,
    progress: Callable[[str], None] | None = None,
) -> dict[Ref, Verdict]:
    """Watch until each request has come to an end, good or bad, or `timeout` seconds are over."""
    start = time.monotonic()
    scopes = []
    for named in tokens:
        served = session.preferred(named.group, named.kind)
        if served is None:
            raise FluxError(f"the API server has no {named.kind}: is Flux installed?")
        scopes.append(Scope(served, named.namespace, named.name))
    told: dict[Ref, Verdict] = {}
    with Follower(session, scopes) as follower:
        while True:
            left = timeout - (time.monotonic() - start)
            follower.update(min(max(left, 0.05), 1.0))
            verdicts = {
                named: readiness.judge(follower.picture.objects[named], Asked("", token))
                if named in follower.picture.objects
                else Verdict("failed", "NotFound", "it is not in the cluster")
                for named, token in tokens.items()
            }
            done = follower.picture.complete and all(v.state != "waiting" for v in verdicts.values())
            if done or left <= 0:
                return verdicts
            if progress is not None and verdicts != told:
                told = verdicts
                progress("; ".join(f"{n}: {v}" for n, v in verdicts.items() if v.state == "waiting"))
