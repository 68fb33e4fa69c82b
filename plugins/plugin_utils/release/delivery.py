# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a commit comes into a cluster: by Flux or by Argo CD, as the environment says. What they tell is brought to one form."""

from __future__ import annotations

import contextlib
import posixpath
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.argocd import applications
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.argocd import wait as argocd
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import kinds, revision, survey, wait
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.files import innermost
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, Ref, ref, text
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import live, model

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.operation import Place

_LOOK = 0.5
_MOST = 10


@dataclass(frozen=True)
class Subject:
    """What is looked at: a commit ("" for any) of a repository's branch, and the files of it that count.

    `images` are to run, in `namespaces` (all without). `default` is the repository's own branch.
    """

    commit: str
    files: tuple[str, ...]
    images: tuple[live.Image, ...] = ()
    namespaces: tuple[str, ...] = ()
    url: str = ""
    branch: str = ""
    default: str = ""


@dataclass(frozen=True)
class Delivery:
    """How a commit came, with the objects that it brought. `failures` and `unknown` are sentences."""

    revision: str
    objects: tuple[Ref, ...] = ()
    failures: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Clone:
    """A clone that can tell whether a commit comes after another; it is fetched when it is first needed."""

    place: Place

    def directory(self, branch: str = "", commit: str = "") -> Path | None:
        """Return it up to date, with a further branch, or as it is where it has `commit`; None without the Git host."""
        with contextlib.suppress(GitError), self.place.open() as repository:
            if not commit or repository.commit_of(commit) is None:
                repository.fetch([self.place.remote.branch, *([branch] if branch else [])])
            return repository.directory
        return None


def deliver(
    cluster: live.Cluster, subject: Subject, timeout: float, clone: Clone | None, stop: Callable[[], bool]
) -> Delivery:
    """Wait until a commit is in a cluster, or is known not to come. Raises KubeError."""
    if cluster.environment.gitops == "argocd":
        return _by_argocd(cluster, subject, timeout, clone, stop)
    source = kinds.parse(cluster.environment.source)
    followers = _followers(cluster, time.monotonic() + timeout)
    goal = survey.Goal(source, revision.wanted(subject.commit), tuple(deliverers(followers, source, subject.files)))
    options = wait.Options(timeout=timeout, clone=None if clone is None else clone.directory(subject.branch))
    return by_flux(wait.Wait(cluster.session, goal, options, stop=stop).run(), subject.commit)


def troubles(cluster: live.Cluster, subject: Subject, timeout: float) -> list[str]:
    """Say what brings files into a cluster and is not well now; what is in the middle of something is waited for."""
    if cluster.environment.gitops == "argocd":
        found = argocd.wait(cluster.session, _goal(cluster, subject), timeout, _never, ask=False)
        said = [f"{named}: {one.said}" for named, one in found.verdicts.items() if one.state != "ready"]
        if found.trouble and not said:
            said = [found.trouble]
        return said[:_MOST]
    source = kinds.parse(cluster.environment.source)
    followers = _followers(cluster, time.monotonic())
    goal = survey.Goal(source, "", tuple(deliverers(followers, source, subject.files)))
    flux = wait.Wait(cluster.session, goal, wait.Options(timeout=timeout, poke=False)).run()
    return flux.sentences()[:_MOST]


# -- Flux ----------------------------------------------------------------------------------------------------------------------


def _followers(cluster: live.Cluster, ends: float) -> list[Object]:
    """Return all Kustomizations; an API server that does not answer yet is asked again until `ends`."""
    while True:
        try:
            served = cluster.session.preferred(kinds.KUSTOMIZE, "Kustomization")
            return [] if served is None else list(cluster.session.items(served.collection()))
        except ApiError as error:
            if not error.transient or time.monotonic() >= ends:
                raise
            time.sleep(_LOOK)


def deliverers(followers: Sequence[Object], source: Ref, files: Sequence[str]) -> list[Ref]:
    """Return the Kustomizations that bring these files: of each the one with the innermost path. Pure.

    None is found where a file is brought by way of another one; all that follow the source count then.
    """
    followed = {
        ref(item): [posixpath.normpath(text(item, "spec", "path") or ".").lstrip("/")]
        for item in followers
        if kinds.source_of(item) == source
    }
    found: dict[Ref, None] = {}
    for file in files:
        inner = innermost(file, followed)
        if not inner:
            return []
        found |= dict.fromkeys(inner)
    return list(found)


def by_flux(outcome: wait.Outcome, commit: str) -> Delivery:
    """Tell failures of the release from those of the way to it. Pure."""
    objects = tuple(dict.fromkeys(named for item in outcome.objects.values() for named in kinds.inventory(item)))
    failures: list[str] = []
    unknown: list[str] = []
    warnings = (_superseded(commit, outcome.superseded),) if outcome.superseded else ()
    for named, verdict in outcome.found.verdicts.items() if not outcome.ok else ():
        if verdict.state == "ready":
            continue
        its_source = kinds.BY_NAME.get(named.kind)
        passing = (
            (its_source is not None and its_source.source)
            or verdict.state == "passing"
            or verdict.reason == "Suspended"
            # who waits may have been done long ago where the API server has not told us since
            or (outcome.trouble and verdict.state == "waiting")
        )
        (unknown if passing else failures).append(f"{named}: {verdict}")
    if failures:
        failures += outcome.causes
    elif not outcome.ok:
        unknown += outcome.trouble
    return Delivery(outcome.revision, objects, tuple(failures), tuple(unknown), warnings)


def _superseded(commit: str, by: str) -> str:
    return f"{commit[:12]} was superseded by {revision.short(by)}, which was looked at"


# -- Argo CD -------------------------------------------------------------------------------------------------------------------


class Order:
    """Says whether a commit comes after another. One that somebody pushed since the clone was fetched is fetched once."""

    def __init__(self, clone: Clone | None, branch: str) -> None:
        self._clone, self._branch = clone, branch
        self._directory = None if clone is None else clone.directory(branch)
        self._looked_for: set[str] = set()

    def __call__(self, found: str, commit: str) -> bool:
        if self._clone is not None and found not in self._looked_for:
            self._looked_for.add(found)
            self._directory = self._clone.directory(self._branch, found) or self._directory
        return wait.descends(self._directory, found, commit)


def _by_argocd(
    cluster: live.Cluster, subject: Subject, timeout: float, clone: Clone | None, stop: Callable[[], bool]
) -> Delivery:
    comes_after = Order(clone, subject.branch)
    found = argocd.wait(cluster.session, _goal(cluster, subject), timeout, comes_after, stop)
    return by_argocd(found, subject.commit)


def _goal(cluster: live.Cluster, subject: Subject) -> argocd.Goal:
    named = model.application(cluster.environment)
    return argocd.Goal(subject.url, subject.branch, subject.files, subject.commit, named, subject.default)


def _never(_found: str, _commit: str) -> bool:
    return False


def by_argocd(outcome: argocd.Outcome, commit: str) -> Delivery:
    """Tell failures of the release from those of the way to it. Pure."""
    objects = tuple(dict.fromkeys(one for item in outcome.items.values() for one in applications.workloads(item)))
    failures: list[str] = []
    unknown: list[str] = []
    for named, verdict in outcome.verdicts.items():
        # who waits may have been done long ago where the API server has not told us since
        passing = verdict.state == "passing" or (outcome.trouble and verdict.state != "failed")
        if verdict.state != "ready":
            (unknown if passing else failures).append(f"{named}: {verdict.said}")
    unknown += [outcome.trouble] if outcome.trouble and not failures else []
    newer = outcome.ok and outcome.revision and not outcome.revision.startswith(commit)
    warnings = (_superseded(commit, outcome.revision),) if newer else ()
    return Delivery(outcome.revision, objects, tuple(failures), tuple(unknown), warnings)
