# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan as a pull request: one branch for a component and an environment, updated and never doubled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import BranchMovedError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.pull_requests import Forge
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import message
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.plan import Plan

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.repository import Repository
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.operation import Job, Observation

_LONGEST_DIFF = 50_000


@dataclass(frozen=True)
class Proposed:
    """What became of a pull request. `url` is "" where there is no forge to open one at.

    The forge has `merged` it, or it is `scheduled` to do so when its conditions are met.
    """

    changed: bool
    branch: str
    commit: str
    url: str = ""
    merged: bool = False
    scheduled: bool = False
    warnings: tuple[str, ...] = ()


def branch_name(action: str, environment: str, components: Sequence[str]) -> str:
    """Return the branch of a plan: the same for the next version of the same components."""
    return f"gitops/{action}/{environment}/{message.names(components)}"


def propose(
    job: Job,
    seen: Observation,
    made: Plan,
    text: str,
    plan_id: str,
    gates: Sequence[Mapping[str, str]],
    forge: Forge | None,
    *,
    auto_merge: bool,
) -> Proposed:
    """Push the plan to its branch and open, or update, the pull request. Raises GitError, ReleaseError."""
    components = tuple(dict.fromkeys(change.component for change in made.changes)) or seen.components
    action = message.trailer(text, "Gitops-Action") or "promote"
    branch = branch_name(action, seen.environment.name, components)
    pushed = False
    with job.place.open() as repository:
        if repository.commit_of(seen.base) is None:
            repository.fetch([seen.branch])
        tip = repository.fetch_commit(branch)
        commit = tip or ""
        if tip is None or not _is_current(repository, tip, seen, made, plan_id):
            commit = repository.commit(
                seen.base, dict(made.files), text, job.place.author, seen.modes(), sign=job.place.sign
            )
            try:
                repository.push(commit, branch, tip)
            except BranchMovedError as error:
                raise ReleaseError(f"somebody else pushes to {branch} at the same time. Run it again.") from error
            pushed = True
    if forge is None:
        said = f"the branch {branch} was pushed; no forge is named, so open the pull request by hand"
        return Proposed(pushed, branch, commit, warnings=(said,))
    found = None if pushed else forge.find(branch, seen.branch)
    if found is not None and f"Gitops-Plan: {plan_id}" in found.body:
        one, touched = found, False
    else:
        one, touched = forge.ensure(branch, seen.branch, text.partition("\n")[0], body(made, text, gates))
    if not auto_merge:
        return Proposed(pushed or touched, branch, commit, one.url)
    # also of one that was there: the run that opened it may have been killed before this, or not have been asked for it
    done = forge.auto_merge(one, commit, text, renew=pushed and tip is not None)
    changed = pushed or touched or (done.new and not done.refused)
    refused = (done.refused,) if done.refused else ()
    return Proposed(changed, branch, commit, one.url, done.merged, done.scheduled, refused)


def _is_current(repository: Repository, tip: str, seen: Observation, made: Plan, plan_id: str) -> bool:
    """Say whether a branch has this plan, not yet merged, on the plan's files as they are in the target's branch now."""
    parent = repository.parent(tip)
    said = repository.log(tip, limit=1)[0].message
    if parent is None or message.trailer(said, "Gitops-Plan") != plan_id or repository.is_ancestor(tip, seen.base):
        return False
    reader = seen.reader.on(repository)
    then, now = reader.files(parent), reader.files(seen.base)
    return all(then.get(path) == now.get(path) for path in made.files)


def body(made: Plan, text: str, gates: Sequence[Mapping[str, str]]) -> str:
    """Return the text of a pull request: versions, gates, difference, and the trailers, which a squash may drop."""
    rows = "".join(
        f"| {c.component} | `{c.selector}` | `{c.as_dict()['before']}` | `{c.as_dict()['after']}` |\n"
        for c in made.changes
    )
    parts = [f"| component | selector | before | after |\n|---|---|---|---|\n{rows}" if rows else ""]
    if gates:
        answers = "".join(f"| {one['name']} | {one['status']} | {_cell(one['detail'])} |\n" for one in gates)
        parts.append(f"| gate | answer | detail |\n|---|---|---|\n{answers}")
    diff = made.unified()
    if len(diff) > _LONGEST_DIFF:
        diff = f"{diff[:_LONGEST_DIFF]}\n(cut)\n"
    fence = "`" * 4
    parts.append(f"<details><summary>difference</summary>\n\n{fence}diff\n{diff}{fence}\n\n</details>\n")
    trailers = "".join(f"{line}\n" for line in text.splitlines() if line.startswith("Gitops-"))
    return "\n".join([*filter(None, parts), trailers])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
