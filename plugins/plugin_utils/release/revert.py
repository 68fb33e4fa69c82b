# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two other ways back: undo all changes of a plan's commits, files that came and went included; or move an environment's branch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import holds
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.history import planned
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.holds import Hold
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.operation import (
    Observation,
    Rollback,
    with_file,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.plan import Change, Plan, Wish
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.state import Reader, State, belongs
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit import edit

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.repository import Repository


class Revert(Rollback):
    """Undo the commits of a plan. Where others have changed the same lines since, nothing is done, and all are listed."""

    def observe(self, repository: Repository) -> Observation:
        """Fetch, and merge the contrary of each commit into what is there. Raises GitError, ReleaseError."""
        settings, reader, tip = self.settings(repository)
        environment = settings.environment(self.environment, reader.files(tip))
        (base,) = self.tips(repository, tip, environment)
        files, before = _undone(repository, reader, base, _commits(self.to, repository, base))
        self._files, self._before = files, before
        path = holds.path_of(environment.path)
        held = holds.parse(reader.content(base, path), path)
        wishes = []
        for name in self.components:
            component = settings.component(name)
            now = reader.state(base, environment, component)
            contents = {
                **now.contents,
                **{p: text for p, text in files.items() if p in now.contents and text is not None},
            }
            found = tuple(
                one
                for file, text in contents.items()
                for one in reader.occurrences_in(file, text, component)
                if belongs(one, environment, component)
            )
            wishes.append(Wish(State(environment, component, base, found, contents), now, "all"))
        branch = environment.branch or self.place.remote.branch
        return Observation(settings, environment, branch, base, "", tuple(wishes), tuple(held), reader)

    def plan(self, seen: Observation) -> Plan:
        """Return the merged files, with the hold on the versions that go."""
        files: dict[str, bytes | None] = {
            path: text for path, text in self._files.items() if text != self._before[path] and path != seen.holds_path
        }
        changes = []
        held: list[Hold] = list(seen.held)
        for path in sorted(files):
            sides = [() if text is None else (("blob", _short(text)),) for text in (self._before[path], files[path])]
            changes.append(Change(self.components[0], seen.environment.name, path, f"file[{path}]", sides[0], sides[1]))
        for wish in seen.wishes if self.hold and files else ():
            old, new = wish.target.vector, wish.source.vector
            denied = {key: value for key, value in old.items() if new.get(key) != value}
            if denied:
                by = self.place.actor or self.place.author.name
                name, since = wish.target.component.name, self.now.date().isoformat()
                own = Hold(seen.environment.name, name, (denied,), since, self.until, self.reason, by)
                held = holds.with_hold(held, own, self.now)
                for path, edits in holds.park(wish.source.occurrences, wish.source.contents).items():
                    files[path] = edit.apply(wish.source.contents[path], edits)
        made = Plan(tuple(changes), {path: self._before.get(path) for path in files}, files)
        return with_file(made, seen, holds.render(held)) if held != list(seen.held) else made


def _commits(to: str, repository: Repository, base: str) -> list[str]:
    """Return the commits of a plan, or one commit, newest first."""
    found = planned(repository, base, to)
    if found:
        return found
    commit = repository.commit_of(to)
    if commit is None or not repository.is_ancestor(commit, base):
        raise ReleaseError(f"method revert: {to!r} is neither the id of a plan nor a commit of the branch.")
    return [commit]


def _undone(
    repository: Repository, reader: Reader, base: str, commits: list[str]
) -> tuple[dict[str, bytes | None], Mapping[str, bytes | None]]:
    """Return the files without the commits' changes, and as they are. Raises ReleaseError with all conflicts."""
    now: dict[str, bytes | None] = {}
    conflicts = []
    before: dict[str, bytes | None] = {}
    for commit in commits:
        parent = repository.parent(commit)
        if parent is None:
            raise ReleaseError(f"method revert: {commit[:12]} is the first commit and cannot be undone.")
        for path, (old, new) in repository.changed(parent, commit).items():
            if path not in now:
                now[path] = before[path] = reader.content(base, path)
            theirs, mine = (None if blob is None else reader.contents([blob])[blob] for blob in (old, new))
            ours = now[path]
            if ours in (mine, theirs):
                now[path] = theirs
            elif ours is None or mine is None or theirs is None:
                conflicts.append(path)
            else:
                merged = repository.merge_file(ours, mine, theirs)
                if merged is None:
                    conflicts.append(path)
                else:
                    now[path] = merged
    if conflicts:
        raise ReleaseError(
            f"method revert: others have changed the same lines since of {', '.join(sorted(set(conflicts)))}. Nothing was"
            " pushed. Use the method restore, which takes versions back only."
        )
    return now, before


def _short(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:12]


def look_back(job: Rollback) -> Observation:
    """Look at the branch of an environment, and at the older commit that it is to point to: the observation's source.

    Moving it takes everything back, so the wishes are of all components that declare what cannot be undone. Raises
    ReleaseError where the environment has no branch of its own.
    """
    with job.place.open() as repository:
        settings, reader, tip = job.settings(repository)
        environment = settings.environment(job.environment, reader.files(tip))
        own = job.place.remote.branch
        if not environment.branch or environment.branch == own:
            raise ReleaseError(
                f"method ref: {environment.name} has no branch of its own, and moving {own} would take back what others have"
                " pushed. Use the method restore."
            )
        (now,) = job.tips(repository, tip, environment)
        commit = repository.commit_of(job.to) or repository.commit_of(f"refs/tags/{job.to}")
        if commit is None or not repository.is_ancestor(commit, now):
            raise ReleaseError(f"method ref: {job.to!r} is no commit or tag of the history of {environment.branch}.")
        wishes = tuple(
            Wish(reader.state(commit, environment, one), reader.state(now, environment, one), "all")
            for one in settings.components.values()
            if one.irreversible
        )
        return Observation(settings, environment, environment.branch, now, commit, wishes, (), reader)


def move_branch(job: Rollback, seen: Observation) -> None:
    """Let the branch that was looked at point to the older commit. Raises GitError."""
    with job.place.open() as repository:
        repository.push(seen.source_commit, seen.branch, seen.base)
