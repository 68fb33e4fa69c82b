# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until the Applications of Argo CD that bring files are synced at a commit and healthy; end at once where they fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.argocd import applications
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.argocd.applications import (
    Delivering,
    Verdict,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError, KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, Ref, ref
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Resource, Session

_LOOK = 0.5
_ASK_AGAIN = 5.0
_MERGE = "application/merge-patch+json"
_NAME_IT = "Name it by source: Application/NAMESPACE/NAME"


class NoApplication(KubeError):
    """The cluster has no Application that brings the files, or it cannot be told which one does."""


@dataclass(frozen=True)
class Goal:
    """What to wait for: files of a repository's branch at a commit ("" for any), or one Application by its name.

    `default` is the branch that HEAD means ("" for `branch` itself).
    """

    url: str
    branch: str
    files: tuple[str, ...]
    commit: str = ""
    application: tuple[str, str] | None = None
    default: str = ""


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

    One that is guessed, as no path of it has all of the files, is never synced: it may be another environment's.
    Raises ApiError for what is not passing, and NoApplication.
    """
    ends = time.monotonic() + timeout
    asked: dict[Ref, float] = {}
    started: set[Ref] = set()
    outcome = Outcome({}, {})
    while True:
        try:
            served, found, guessed = _found(session, goal)
            outcome = _judged(found, goal, comes_after, guessed=guessed)
            failed = any(one.state == "failed" for one in outcome.verdicts.values())
            # what one says that was not asked may be of long ago
            if (failed or outcome.ok) and (not ask or all(one in asked for one in found)):
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


def _found(session: Session, goal: Goal) -> tuple[Resource, dict[Ref, tuple[Object, int]], bool]:
    """Return the Applications with their sources' numbers, and whether they are guessed."""
    served = session.preferred(applications.GROUP, applications.KIND)
    if served is None:
        raise NoApplication("the API server knows no Application: is Argo CD installed? Or write gitops: flux")
    items = session.items(served.collection())
    brings = _named(items, goal) if goal.application is not None else _following(items, goal)
    return (
        served,
        {ref(one): (one, brings.numbers[ref(one)]) for one in items if ref(one) in brings.numbers},
        brings.guessed,
    )


def _named(items: Sequence[Object], goal: Goal) -> Delivering:
    """Return the Application that somebody has named; its repository may have another address there."""
    namespace, name = goal.application or ("", "")
    named = [one for one in items if ref(one).name == name and namespace in ("", ref(one).namespace)]
    if not named:
        raise NoApplication(f"the cluster has no Application {'/'.join(filter(None, (namespace, name)))}")
    known = applications.delivering(named, goal.url, goal.branch, goal.files, goal.default).numbers
    return Delivering({ref(one): known.get(ref(one), 0) for one in named})


def _following(items: Sequence[Object], goal: Goal) -> Delivering:
    """Return the Applications that bring the files; a guess counts only where there is one."""
    found = applications.delivering(items, goal.url, goal.branch, goal.files, goal.default)
    where = f"the branch {goal.branch} of {applications.repository(goal.url)}"
    if not found.numbers:
        raise NoApplication(
            f"no Application follows {where}. {_NAME_IT} of the environment, or look at its repoURL and targetRevision"
        )
    if found.guessed and len(found.numbers) > 1:
        several = ", ".join(sorted(map(str, found.numbers)))
        raise NoApplication(
            f"{len(found.numbers)} Applications follow {where}, and none by a path that has all of"
            f" {', '.join(goal.files) or 'it'}: {several}. {_NAME_IT} of the environment"
        )
    return found


def _judged(
    found: Mapping[Ref, tuple[Object, int]], goal: Goal, comes_after: Callable[[str, str], bool], *, guessed: bool
) -> Outcome:
    verdicts = {}
    for named, (item, number) in found.items():
        verdict = applications.judge(item, number, goal.commit, comes_after)
        if guessed and verdict.state == "out of sync" and not applications.automated(item):
            # It may be another environment's, so `_sync` must not begin; that nobody does says nothing about the commit.
            verdict = Verdict(
                "passing",
                f"{verdict.said}, and is not synced from here, as no path of it has all of the files. {_NAME_IT}",
            )
        verdicts[named] = verdict
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
            path = served.path(named.namespace, named.name)
            body = applications.refresh()
            session.call(
                lambda api, path=path, body=body: api.request("PATCH", path, body=body, content_type=_MERGE)  # type: ignore[misc]
            )
            asked[named] = now


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
