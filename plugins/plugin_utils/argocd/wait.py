# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until the Applications of Argo CD that bring files are synced at a commit and healthy; end at once where they fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.argocd import applications
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.argocd.applications import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError, KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, Ref, ref
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Resource, Session

_LOOK = 0.5
_ASK_AGAIN = 5.0
_MERGE = "application/merge-patch+json"


class NoApplication(KubeError):
    """The cluster has no Application that brings the files."""


@dataclass(frozen=True)
class Goal:
    """What to wait for: files of a repository's branch at a commit ("" for any), or one Application by its name."""

    url: str
    branch: str
    files: tuple[str, ...]
    commit: str = ""
    application: tuple[str, str] | None = None


@dataclass(frozen=True)
class Outcome:
    """How it ended. `revision` is the commit that the first of them was compared with; `trouble` is the API server's."""

    verdicts: Mapping[Ref, Verdict]
    items: Mapping[Ref, Object] = field(repr=False)
    revision: str = ""
    trouble: str = ""

    @property
    def ok(self) -> bool:
        return all(one.state == "ready" for one in self.verdicts.values())


def wait(
    session: Session,
    goal: Goal,
    timeout: float,
    comes_after: Callable[[str, str], bool],
    stop: Callable[[], bool] = lambda: False,
    *,
    ask: bool = True,
) -> Outcome:
    """Wait for `timeout` seconds at most. With `ask` they are asked to look at Git, and to sync where nobody else does.

    Raises ApiError for what is not passing, and NoApplication.
    """
    ends = time.monotonic() + timeout
    asked: dict[Ref, float] = {}
    started: set[Ref] = set()
    outcome = Outcome({}, {})
    while True:
        try:
            served, found = _found(session, goal)
            outcome = _judged(found, goal, comes_after)
            failed = any(one.state == "failed" for one in outcome.verdicts.values())
            if (failed or outcome.ok) and (asked or not ask):
                return outcome
            if ask:
                _ask(session, served, found, outcome, asked)
                _sync(session, served, found, outcome, started)
        except ApiError as error:
            if not error.transient:
                raise
            outcome = Outcome(outcome.verdicts, outcome.items, outcome.revision, str(error))
        if time.monotonic() >= ends or stop():
            return outcome
        time.sleep(_LOOK)


def _found(session: Session, goal: Goal) -> tuple[Resource, dict[Ref, tuple[Object, int]]]:
    served = session.preferred(applications.GROUP, applications.KIND)
    if served is None:
        raise NoApplication("the API server knows no Application: is Argo CD installed? Or write gitops: flux")
    items = session.items(served.collection())
    numbers = applications.delivering(items, goal.url, goal.branch, goal.files)
    if goal.application is not None:
        namespace, name = goal.application
        named = [ref(one) for one in items if ref(one).name == name and namespace in ("", ref(one).namespace)]
        if not named:
            raise NoApplication(f"the cluster has no Application {'/'.join(filter(None, goal.application))}")
        # its repository may have another address there
        numbers = {one: numbers.get(one, 0) for one in named}
    if not numbers:
        raise NoApplication(
            f"no Application follows the branch {goal.branch} of {applications.repository(goal.url)}. Name it by"
            " source: Application/NAMESPACE/NAME of the environment, or look at its repoURL and targetRevision"
        )
    return served, {ref(one): (one, numbers[ref(one)]) for one in items if ref(one) in numbers}


def _judged(found: Mapping[Ref, tuple[Object, int]], goal: Goal, comes_after: Callable[[str, str], bool]) -> Outcome:
    verdicts = {
        named: applications.judge(item, number, goal.commit, comes_after) for named, (item, number) in found.items()
    }
    first, number = next(iter(found.values()))
    return Outcome(
        verdicts, {named: item for named, (item, _number) in found.items()}, applications.at_revision(first, number)
    )


def _ask(
    session: Session,
    served: Resource,
    found: Mapping[Ref, tuple[Object, int]],
    outcome: Outcome,
    asked: dict[Ref, float],
) -> None:
    """Have each look at Git: all at first, and later those that are not done and have nothing under way."""
    now = time.monotonic()
    for named, (item, _number) in found.items():
        again = now - asked.get(named, now) >= _ASK_AGAIN and outcome.verdicts[named].state in ("waiting", "passing")
        if (named not in asked or again) and not item.get("operation"):
            asked[named] = now
            path = served.path(named.namespace, named.name)
            body = applications.refresh()
            session.call(
                lambda api, path=path, body=body: api.request("PATCH", path, body=body, content_type=_MERGE)  # type: ignore[misc]
            )


def _sync(
    session: Session,
    served: Resource,
    found: Mapping[Ref, tuple[Object, int]],
    outcome: Outcome,
    started: set[Ref],
) -> None:
    """Begin the sync of those that have seen the commit and do not sync by themselves, once each."""
    for named, (item, number) in found.items():
        if outcome.verdicts[named].state != "out of sync" or named in started or applications.automated(item):
            continue
        body = applications.with_sync(item, number, applications.at_revision(item, number))
        if body is None:
            continue
        path = served.path(named.namespace, named.name)
        try:
            session.call(lambda api, path=path, body=body: api.request("PUT", path, body=body))  # type: ignore[misc]
        except ApiError as error:
            # somebody has changed it since it was read; the next look sees what it has become
            if error.status != 409:
                raise
            continue
        started.add(named)
