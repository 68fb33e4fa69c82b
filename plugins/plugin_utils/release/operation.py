# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A promotion or a rollback as a job on a repository: look, plan, land. The same plan serves check mode and the real run."""

from __future__ import annotations

import contextlib
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import BranchMovedError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Author, Remote
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.repository import Repository
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import history, holds, model, plan, target
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import PlanChangedError, ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.holds import Hold
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.model import Environment, Settings
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.plan import Digests, Plan, What, Wish
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.state import Reader, Vector
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit import edit
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit.errors import YamlEditError

_MOST_SECONDS_BETWEEN = 3.0


@dataclass(frozen=True)
class Place:
    """Where the work is done: the repository, how commits are made, and the description that variables gave.

    `environments` and `components` are as `model.load` takes them. `actor` is who runs it, as a commit tells it.
    """

    remote: Remote
    author: Author
    actor: str = ""
    sign: str = ""
    cache: Path | None = None
    environments: Any = None
    components: Any = None

    def open(self) -> Repository:
        """Return the repository, to be used in a `with` statement."""
        return Repository(self.remote, self.cache)


@dataclass(frozen=True)
class Observation:
    """What the repository has: `base` is the commit of `branch` that a commit would be made on."""

    settings: Settings
    environment: Environment
    branch: str
    base: str
    source_commit: str
    wishes: tuple[Wish, ...]
    held: tuple[Hold, ...]
    reader: Reader = field(repr=False)
    #: Components whose source the environment never had.
    foreign: tuple[str, ...] = ()

    @property
    def components(self) -> tuple[str, ...]:
        return tuple(wish.target.component.name for wish in self.wishes)

    @property
    def holds_path(self) -> str:
        return holds.path_of(self.environment.path)

    def modes(self) -> dict[str, str]:
        """Return the modes of all files of the base."""
        return {path: file.mode for path, file in self.reader.files(self.base).items()}


@dataclass(frozen=True)
class Landed:
    """What became of a plan: `commit` is None where somebody else had done the same meanwhile."""

    commit: str | None
    observation: Observation
    plan: Plan
    attempts: int


class Job(ABC):
    """Something that is to be done to one environment."""

    def __init__(self, place: Place, now: datetime) -> None:
        self.place = place
        self.now = now

    @abstractmethod
    def observe(self, repository: Repository) -> Observation:
        """Fetch and read what the plan needs. Raises GitError, ReleaseError."""

    @abstractmethod
    def plan(self, seen: Observation) -> Plan:
        """Return what is to be done; asks nobody."""

    def settings(self, repository: Repository) -> tuple[Settings, Reader, str]:
        """Fetch the repository's own branch and read the description there."""
        tip = repository.fetch([self.place.remote.branch], tags=True)[self.place.remote.branch]
        reader = Reader(repository)
        found = model.load(reader.content(tip, model.SETTINGS_FILE), self.place.environments, self.place.components)
        return found, reader, tip

    def tips(self, repository: Repository, tip: str, *environments: Environment) -> list[str]:
        """Return the commit of each environment's branch."""
        own = self.place.remote.branch
        others = [one.branch for one in environments if one.branch and one.branch != own]
        commits = {own: tip, **(repository.fetch(others) if others else {})}
        return [commits[one.branch or own] for one in environments]


class Promotion(Job):
    """Bring what one environment has to the next one. Without `components` all that both have."""

    def __init__(
        self,
        place: Place,
        now: datetime,
        source: str,
        environment: str,
        components: Sequence[str],
        what: What,
        digests: Digests,
    ) -> None:
        super().__init__(place, now)
        self.source, self.environment, self.components = source, environment, tuple(components)
        self.what, self.digests = what, digests

    def observe(self, repository: Repository) -> Observation:
        """Fetch and read both environments. Raises GitError, ReleaseError."""
        settings, reader, tip = self.settings(repository)
        known = reader.files(tip)
        source, environment = (settings.environment(name, known) for name in (self.source, self.environment))
        if source.name == environment.name:
            raise ReleaseError(f"from and to are both {source.name}.")
        if source.order > environment.order and settings.environments:
            raise ReleaseError(f"{environment.name} comes before {source.name}; releases go the other way.")
        source_commit, base = self.tips(repository, tip, source, environment)
        components = self.components or _every(settings, reader, source_commit, source, base, environment)
        wishes = []
        for name in components:
            component = settings.component(name)
            states = [
                reader.state(commit, one, component) for commit, one in ((source_commit, source), (base, environment))
            ]
            wishes.append(Wish(states[0], states[1], self.what))
        path = holds.path_of(environment.path)
        held = holds.parse(reader.content(base, path), path)
        branch = environment.branch or self.place.remote.branch
        _preload(reader, wishes)
        return Observation(settings, environment, branch, base, source_commit, tuple(wishes), tuple(held), reader)

    def plan(self, seen: Observation) -> Plan:
        """Return the edits; a hold on a component that gets another version ends with that."""
        made = self._make(seen, {})
        changed = {change.component for change in made.changes}
        ending = {one.component for one in seen.held if one.environment == seen.environment.name} & changed
        if not ending:
            return made
        comments: dict[str, list[edit.Edit]] = {}
        for wish in seen.wishes:
            if wish.target.component.name in ending:
                comments |= holds.unpark(wish.target.occurrences, wish.target.contents)
        rest = holds.without(seen.held, seen.environment.name, ending)
        return with_file(self._make(seen, comments), seen, holds.render(rest))

    def _make(self, seen: Observation, comments: Mapping[str, Sequence[edit.Edit]]) -> Plan:
        made = plan.make(seen.wishes, self.digests, lambda blob: seen.reader.contents([blob])[blob], comments)
        return refuse_own_source(made, self.place.remote.url, seen)


class Rollback(Job):
    """Give components of an environment a version that they had, or any commit's. `to` is as `target.find` takes it."""

    def __init__(
        self,
        place: Place,
        now: datetime,
        environment: str,
        components: Sequence[str],
        to: str,
        *,
        hold: bool = True,
        until: str = "",
        reason: str = "",
    ) -> None:
        super().__init__(place, now)
        self.environment, self.components, self.to = environment, tuple(components), to
        self.hold, self.until, self.reason = hold, until, reason

    def observe(self, repository: Repository) -> Observation:
        """Fetch, and find the versions to go back to. Raises GitError, ReleaseError."""
        settings, reader, tip = self.settings(repository)
        environment = settings.environment(self.environment, reader.files(tip))
        (base,) = self.tips(repository, tip, environment)
        path = holds.path_of(environment.path)
        held = holds.parse(reader.content(base, path), path)
        wishes, foreign = [], []
        for name in self.components:
            component = settings.component(name)
            entries = history.versions(repository, reader, base, environment, component)
            now = reader.state(base, environment, component)
            hold = holds.of(held, environment.name, name, self.now)
            found = target.find(self.to, entries, hold, repository, base, name)
            then = reader.state(found.commit, environment, component)
            if not any(then.vector == one.vector for one in entries):
                foreign.append(name)
            wishes.append(Wish(then, now, "all"))
        branch = environment.branch or self.place.remote.branch
        _preload(reader, wishes)
        return Observation(settings, environment, branch, base, "", tuple(wishes), tuple(held), reader, tuple(foreign))

    def plan(self, seen: Observation) -> Plan:
        """Return the edits that restore the versions, with the hold that keeps automation from undoing them."""
        made = self._make(seen, {})
        changed = {change.component for change in made.changes}
        if not self.hold or not changed:
            return made
        comments: dict[str, list[edit.Edit]] = {}
        held: list[Hold] = list(seen.held)
        for wish in seen.wishes:
            name = wish.target.component.name
            if name in changed:
                denied: Vector = {
                    key: value for key, value in wish.target.vector.items() if wish.source.vector.get(key) != value
                }
                own = Hold(
                    seen.environment.name,
                    name,
                    (denied,),
                    self.now.date().isoformat(),
                    self.until,
                    self.reason,
                    self.place.actor or self.place.author.name,
                )
                held = holds.with_hold(held, own, self.now)
                comments |= holds.park(wish.target.occurrences, wish.target.contents)
        return with_file(self._make(seen, comments), seen, holds.render(held))

    def _make(self, seen: Observation, comments: Mapping[str, Sequence[edit.Edit]]) -> Plan:
        made = plan.make(
            seen.wishes, lambda _image, _tag: None, lambda blob: seen.reader.contents([blob])[blob], comments
        )
        return refuse_own_source(made, self.place.remote.url, seen)


class Holding(Job):
    """Hold the versions that components have, or lift holds: `state` is present or absent."""

    def __init__(
        self,
        place: Place,
        now: datetime,
        environment: str,
        components: Sequence[str],
        state: str,
        *,
        deny: str = "",
        until: str = "",
        reason: str = "",
    ) -> None:
        super().__init__(place, now)
        self.environment, self.components, self.state = environment, tuple(components), state
        self.deny, self.until, self.reason = deny, until, reason

    def observe(self, repository: Repository) -> Observation:
        """Fetch and read the environment. Raises GitError, ReleaseError."""
        settings, reader, tip = self.settings(repository)
        environment = settings.environment(self.environment, reader.files(tip))
        (base,) = self.tips(repository, tip, environment)
        path = holds.path_of(environment.path)
        held = holds.parse(reader.content(base, path), path)
        wishes = []
        for name in self.components or tuple(one.component for one in held if one.environment == environment.name):
            component = settings.component(name)
            state = reader.state(base, environment, component)
            other = state
            if self.deny and self.state == "present":
                entries = history.versions(repository, reader, base, environment, component)
                found = target.find(self.deny, entries, None, repository, base, name)
                other = reader.state(found.commit, environment, component)
            if not state.occurrences and not state.copied:
                raise ReleaseError(f"{name}: no version of it is found in {environment.name}.")
            wishes.append(Wish(other, state, "all"))
        branch = environment.branch or self.place.remote.branch
        _preload(reader, wishes)
        return Observation(settings, environment, branch, base, "", tuple(wishes), tuple(held), reader)

    def plan(self, seen: Observation) -> Plan:
        """Return the new file of holds, and the comments that go with it."""
        held: list[Hold] = list(seen.held)
        comments: dict[str, list[edit.Edit]] = {}
        name = seen.environment.name
        for wish in seen.wishes:
            component, state = wish.target.component.name, wish.target
            before = holds.of(held, name, component, self.now)
            if self.state == "present":
                denied = (wish.source.vector,)
                if before is None or not before.denies(denied[0]) or (self.until and before.until != self.until):
                    by = self.place.actor or self.place.author.name
                    own = Hold(name, component, denied, self.now.date().isoformat(), self.until, self.reason, by)
                    held = holds.with_hold(held, own, self.now)
                comments |= holds.park(state.occurrences, state.contents)
            else:
                held = holds.without(held, name, [component])
                comments |= holds.unpark(state.occurrences, state.contents)
        contents = {path: content for wish in seen.wishes for path, content in wish.target.contents.items()}
        files: dict[str, bytes | None] = {}
        problems = []
        for path, edits in comments.items():
            try:
                files[path] = edit.apply(contents[path], edits)
            except YamlEditError as error:
                problems.append(f"{path}: {error}.")
        made = Plan((), {path: contents[path] for path in files}, files, tuple(problems))
        return with_file(made, seen, holds.render(held)) if held != list(seen.held) else made


def with_file(made: Plan, seen: Observation, content: bytes | None) -> Plan:
    """Return a plan that also writes the file of holds."""
    path = seen.holds_path
    old = seen.reader.content(seen.base, path)
    if old == content:
        return made
    return Plan(made.changes, {**made.before, path: old}, {**made.files, path: content}, made.problems, made.skipped)


def refuse_own_source(made: Plan, url: str, seen: Observation) -> Plan:
    """Refuse to pin the source that delivers the pin: at the older commit the pin is not there, or never goes again."""
    problems = list(made.problems)
    own = seen.environment.source.rpartition("/")[2]
    for change in made.changes:
        if not change.selector.startswith("GitRepository/"):
            continue
        name = change.selector.removeprefix("GitRepository/").partition(" ")[0]
        content = made.before.get(change.file) or b""
        same = url.removesuffix(".git").encode() in content
        if name == own or same:
            problems.append(
                f"{change.component}: GitRepository {name} is the source that brings {change.file} into the cluster. Pinned"
                " by a file of its own it would go back to a commit without the pin, or never see the next one. Let"
                " versions in manifests be promoted instead."
            )
    return Plan(made.changes, made.before, made.files, tuple(problems), made.skipped)


def land(
    job: Job,
    seen: Observation,
    made: Plan,
    message: Callable[[Observation, Plan], str],
    identity: Callable[[Plan], str],
    retries: int,
    check: Callable[[Observation, Plan], None] | None = None,
) -> Landed:
    """Commit and push the plan; where the branch has moved, plan anew and go on only if that is the same plan.

    `check` is called for each new plan and raises where it must not be carried out. Raises ReleaseError, GitError;
    nothing was pushed then.
    """
    wanted = identity(made)
    for attempt in range(1, retries + 1):
        with job.place.open() as repository:
            newest = repository.known(seen.branch)
            if attempt > 1 or newest != seen.base:
                # Another run on this machine has pushed since we looked: what it pushed is known without asking.
                trust = attempt == 1 and newest is not None
                with repository.trusted() if trust else contextlib.nullcontext():
                    seen = job.observe(repository)
                made = job.plan(seen)
                if not made.files:
                    return Landed(None, seen, made, attempt)
                found = identity(made)
                if made.problems or found != wanted:
                    said = "; ".join(made.problems) or f"the plan is {found} now, and was {wanted}"
                    raise PlanChangedError(
                        f"somebody else has pushed to {seen.branch} meanwhile, and what would be done is not the same any"
                        f" more: {said}. Nothing was pushed. Look at it again."
                    )
                if check is not None:
                    check(seen, made)
            commit = repository.commit(
                seen.base, dict(made.files), message(seen, made), job.place.author, seen.modes(), sign=job.place.sign
            )
            try:
                repository.push(commit, seen.branch, seen.base)
                return Landed(commit, seen, made, attempt)
            except BranchMovedError:
                if attempt == retries:
                    raise
        # many writers must not come back together; chance is enough for that
        time.sleep(random.uniform(0, min(0.05 * 1.5**attempt, _MOST_SECONDS_BETWEEN)))  # noqa: S311
    raise ReleaseError("retries: wanted at least 1")


def look(job: Job) -> Observation:
    """Open the repository and observe."""
    with job.place.open() as repository:
        return job.observe(repository)


def _every(
    settings: Settings, reader: Reader, source_commit: str, source: Environment, base: str, environment: Environment
) -> list[str]:
    """Return all components: those that are described, else all that both environments have."""
    if settings.components:
        return list(settings.components)
    both = set(reader.labels(source_commit, source)) & set(reader.labels(base, environment))
    if not both:
        raise ReleaseError(f"{source.name} and {environment.name} have no component in common.")
    return sorted(both)


def _preload(reader: Reader, wishes: Sequence[Wish]) -> None:
    """Read what a plan may copy, while the repository is open."""
    reader.contents({blob for wish in wishes for state in (wish.source, wish.target) for blob in state.copied.values()})
    for wish in wishes:
        environment = wish.target.environment
        for path in (holds.path_of(environment.path), model.freeze_file(environment)):
            reader.content(wish.target.commit, path)
