# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions that a component has had in an environment, out of Git's history."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import message
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.model import Component, Environment
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.state import (
    Reader,
    Vector,
    belongs,
    is_candidate,
    relative,
    vector,
)

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.repository import Commit, Repository


@dataclass(frozen=True)
class Entry:
    """A version that a component had: `commit` brought it, the commits of `commits` (newest first) left it as it was."""

    vector: Vector
    commit: Commit
    commits: tuple[str, ...]

    @property
    def action(self) -> str:
        return message.trailer(self.commit.message, "Gitops-Action") or "commit"

    @property
    def actor(self) -> str:
        return message.trailer(self.commit.message, "Gitops-Actor") or self.commit.author


def versions(
    repository: Repository, reader: Reader, tip: str, environment: Environment, component: Component, limit: int = 0
) -> list[Entry]:
    """Return all versions of a component in an environment, newest first; the first one is the current one.

    Looked at are the files that hold its versions now, and those of its subtree. With `limit` only the newest commits
    that touch these.
    """
    state = reader.state(tip, environment, component)
    root = f"{environment.path}/" if environment.path else ""
    patterns = [*state.files, *(root + pattern for pattern in component.subtree)]
    if not patterns:
        return []
    commits = repository.log(tip, patterns, limit=limit)
    blobs: dict[str, str] = {}
    seen: list[tuple[Commit, Vector]] = []
    reader.contents({blob for one in commits for path, blob in one.blobs.items() if blob and path in state.files})
    for one in reversed(commits):
        for path, blob in one.blobs.items():
            if blob is None:
                blobs.pop(path, None)
            else:
                blobs[path] = blob
        seen.append((one, _vector(blobs, reader, environment, component, set(state.files))))
    entries: list[Entry] = []
    for one, found in seen:
        if entries and entries[-1].vector == found:
            entries[-1] = Entry(found, entries[-1].commit, (one.id, *entries[-1].commits))
        else:
            entries.append(Entry(found, one, (one.id,)))
    return entries[::-1]


def _vector(
    blobs: dict[str, str], reader: Reader, environment: Environment, component: Component, files: set[str]
) -> Vector:
    found, copied = [], {}
    for path, blob in blobs.items():
        if path in files and is_candidate(path, environment, component):
            try:
                occurrences = reader.occurrences(path, blob, component)
            except ReleaseError:  # a commit that broke the file is no version
                continue
            found += [one for one in occurrences if belongs(one, environment, component)]
        else:
            copied[f"file[{relative(path, environment.path)}]"] = (("blob", blob),)
    return vector(found, environment.path) | copied


# -- what was said ------------------------------------------------------------------------------------------------------------


def said(repository: Repository, commit: Commit, environment: str, components: Sequence[str]) -> str:
    """Return the message that tells of a change of components in an environment.

    A merge is told by the newest commit that it brought for them: what forges write themselves has no trailers, and what
    a forge was told to write may be of an earlier state of the pull request.
    """
    for one in repository.brought_by(commit):
        where = message.trailer(one.message, "Gitops-Env").rpartition(" ")[2]
        named = message.trailer(one.message, "Gitops-Component").split(", ")
        if where == environment and set(components) <= set(named):
            return one.message
    return commit.message


def planned(repository: Repository, tip: str, plan: str) -> list[str]:
    """Return the commits of the first-parent history that carried out a plan, newest first; for a pull request its merge."""
    found = repository.log(tip, grep=f"Gitops-Plan: {plan}", merged=True)
    exact = [one.id for one in found if message.trailer(one.message, "Gitops-Plan") == plan]
    return repository.bringing(exact, tip) if exact else []


# -- notes -------------------------------------------------------------------------------------------------------------------


def verification(note: str) -> dict[str, Any] | None:
    """Return the newest verification that a note tells of, or None."""
    for line in reversed(note.splitlines()):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and "verified" in found:
            return found
    return None
