# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which version a rollback goes back to: what `to` means in a history. Pure, but for questions to the repository."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import selectors
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.history import Entry, planned, verification
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.holds import Hold
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.state import Vector

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.repository import Repository

_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_PLAN = re.compile(r"[0-9a-f]{12}")
_SHORT = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]+")
_TIME = re.compile(r"@\{(.+)\}")


@dataclass(frozen=True)
class Target:
    """The commit whose versions are restored, and whether the environment ever had them."""

    commit: str
    known: bool = True


def find(to: str, entries: Sequence[Entry], hold: Hold | None, repository: Repository, tip: str, name: str) -> Target:
    """Return the target of a rollback of one component. Raises ReleaseError, listing what there is."""
    if not entries:
        raise ReleaseError(f"{name}: no version of it is found in the environment.")
    if to == "previous":
        return Target(_first(entries[1:], lambda one: _is_other(one, entries[0].vector, hold), name, to, entries))
    if to == "last_verified":
        notes = repository.notes()

        def verified(one: Entry) -> bool:
            said = [verification(repository.note(commit)) for commit in one.commits if commit in notes]
            return any(found and found["verified"] is True for found in said) and _is_other(
                one, entries[0].vector, hold
            )

        return Target(_first(entries[1:], verified, name, to, entries))
    at = _TIME.fullmatch(to)
    if at:
        moment = repository.moment(at[1])
        commit = None if moment is None else repository.at_time(tip, moment)
        if commit is None:
            raise ReleaseError(f"{name}: the history does not reach back to {at[1]}.")
        return Target(commit)
    for one in entries:
        if any(selectors.matches(version, to) for version in one.vector.values()):
            return Target(one.commits[0])
    return _commit(to, entries, repository, tip, name)


def _commit(to: str, entries: Sequence[Entry], repository: Repository, tip: str, name: str) -> Target:
    if _PLAN.fullmatch(to):
        found = planned(repository, tip, to)
        if found:
            return Target(found[0])
    commit = repository.commit_of(to) if _COMMIT.fullmatch(to) else repository.commit_of(f"refs/tags/{to}")
    if commit is not None:
        return Target(commit, repository.is_ancestor(commit, tip))
    raise ReleaseError(
        f"{name}: {to!r} is no version, commit, tag or plan of its history. It has had {_listed(entries)}."
    )


def _first(entries: Sequence[Entry], fits: Callable[[Entry], bool], name: str, to: str, every: Sequence[Entry]) -> str:
    for one in entries:
        if fits(one):
            return one.commits[0]
    raise ReleaseError(
        f"{name}: there is no {to.replace('_', ' ')} version to go back to. It has had {_listed(every)}."
    )


def _is_other(one: Entry, current: Mapping[str, selectors.Version], hold: Hold | None) -> bool:
    return bool(one.vector) and one.vector != current and not (hold is not None and hold.denies(one.vector))


def _listed(entries: Sequence[Entry]) -> str:
    said = [
        ", ".join(_SHORT.sub(r"\1", selectors.shown(one)) for one in entry.vector.values()) or "none"
        for entry in entries
    ]
    return "; ".join(list(dict.fromkeys(said))[:10])


def irreversible(boundaries: Sequence[str], old: Vector, new: Vector) -> list[str]:
    """Say which boundaries lie between two versions: what `old` is at or above, and `new` is below.

    A version that cannot be compared, such as `rc.5cf2d1e`, may be on either side, and counts as the wrong one. Raises
    ReleaseError for a boundary that is no version.
    """
    said = []
    for boundary in boundaries:
        limit = selectors.semver(boundary)
        if limit is None:
            raise ReleaseError(f"irreversible: {boundary!r} is no version; write 2.0.0.")
        for selector in old:
            if selector.startswith("file[") or old[selector] == new.get(selector, old[selector]):
                continue
            before, after = (selectors.semver_of(version) for version in (old[selector], new[selector]))
            if (before is not None and before < limit) or (after is not None and after >= limit):
                continue
            known = before is not None and after is not None
            why = "what runs has been past it" if known else f"{selector} cannot be compared with it"
            said.append(f"version {boundary} cannot be undone, as its description says; {why}")
    return list(dict.fromkeys(said))
