# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds: versions that an environment does not take again, and automation that leaves them alone meanwhile.

They stand in ``gitops-holds.yaml`` in the environment's directory. The file is a Kubernetes object that no cluster gets:
Flux reads every YAML file of a directory without a kustomization, and leaves out what has the annotation
``config.kubernetes.io/local-config``; Argo CD leaves out files with the comment ``+argocd:skip-file-rendering``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.selectors import Occurrence, shown
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.state import Vector
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit import edit

FILE = "gitops-holds.yaml"
_HEAD = (
    "# Written by stagecraft.gitops: versions that are not promoted to here. Remove one with release_hold.\n"
    # Argo CD does not know local-config, and would send the object to the cluster where it reads a directory.
    "# +argocd:skip-file-rendering\n"
)
_MARKER = re.compile(r'# \{"\$imagepolicy": "([^"\s]+)"\}')
_HELD = re.compile(r"# gitops-held (\S+)")
#: A marker that is written in another way than Flux's own documentation does has to come back as it was.
_TOKEN, _PARKED = "$imagepolicy", "gitops-held-imagepolicy"


@dataclass(frozen=True)
class Hold:
    """What is held: the vectors `denied` of a component in an environment. Times are ISO 8601, in UTC."""

    environment: str
    component: str
    denied: tuple[Vector, ...]
    since: str
    until: str = ""
    reason: str = ""
    by: str = ""

    def active(self, now: datetime) -> bool:
        """Say whether it has not run out."""
        return not self.until or moment(self.until) > now

    def denies(self, vector: Mapping[str, Any]) -> bool:
        """Say whether a vector is one of those that are denied."""
        return any(denied and all(vector.get(key) == value for key, value in denied.items()) for denied in self.denied)

    def __str__(self) -> str:
        """As messages name it."""
        versions = "; ".join(
            ", ".join(f"{key} {shown(value)}" for key, value in vector.items()) for vector in self.denied
        )
        until = f" until {self.until}" if self.until else ""
        why = f": {self.reason}" if self.reason else ""
        return f"{self.component} is held in {self.environment}{until} since {self.since} by {self.by or '?'}{why} ({versions})"


def path_of(directory: str) -> str:
    """Return where the holds of an environment stand."""
    return f"{directory}/{FILE}" if directory else FILE


def moment(text: str) -> datetime:
    """Read a point in time. Raises ReleaseError."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise ReleaseError(f"{text!r} is no point in time; write 2026-12-24T18:00:00Z.") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def parse(content: bytes | None, path: str) -> list[Hold]:
    """Read the holds of an environment. Raises ReleaseError."""
    if content is None:
        return []
    try:
        body = yaml.safe_load(content)
        found = [_hold(entry) for entry in body["spec"]["holds"]]
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReleaseError(
            f"{path}: the holds cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]}). Restore the"
            " file from Git's history, or remove it with all its holds."
        ) from error
    return found


def render(held: Sequence[Hold]) -> bytes | None:
    """Return the file for these holds; None where there are none."""
    if not held:
        return None
    entries = []
    for hold in sorted(held, key=lambda one: (one.environment, one.component)):
        denied = [{key: dict(version) for key, version in vector.items()} for vector in hold.denied]
        entry: dict[str, Any] = {"environment": hold.environment, "component": hold.component, "denied": denied}
        entry |= {key: value for key in ("since", "until", "reason", "by") if (value := getattr(hold, key))}
        entries.append(entry)
    body = {
        "apiVersion": "release.stagecraft.gitops/v1",
        "kind": "Holds",
        "metadata": {"name": "holds", "annotations": {"config.kubernetes.io/local-config": "true"}},
        "spec": {"holds": entries},
    }
    return (_HEAD + yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=1000)).encode()


def of(held: Iterable[Hold], environment: str, component: str, now: datetime) -> Hold | None:
    """Return the hold on a component, if one is in force."""
    for hold in held:
        if hold.environment == environment and hold.component == component and hold.active(now):
            return hold
    return None


def ran_out(held: Iterable[Hold], environment: str, component: str, now: datetime) -> Hold | None:
    """Return the hold on a component that stands there still, but is in force no more."""
    for hold in held:
        if hold.environment == environment and hold.component == component and not hold.active(now):
            return hold
    return None


def with_hold(held: Iterable[Hold], new: Hold, now: datetime) -> list[Hold]:
    """Return the holds with a new one; what was denied to the component before stays denied."""
    others = [one for one in held if (one.environment, one.component) != (new.environment, new.component)]
    before = of(held, new.environment, new.component, now)
    denied = list(new.denied)
    for vector in before.denied if before else ():
        if vector not in denied:
            denied.append(vector)
    return [
        *others,
        Hold(new.environment, new.component, tuple(denied), new.since, new.until, new.reason, new.by),
    ]


def without(held: Iterable[Hold], environment: str, components: Iterable[str]) -> list[Hold]:
    """Return the holds without those on some components of an environment."""
    gone = set(components)
    return [one for one in held if one.environment != environment or one.component not in gone]


# -- markers ---------------------------------------------------------------------------------------------------------------


def park(occurrences: Iterable[Occurrence], contents: Mapping[str, bytes]) -> dict[str, list[edit.Edit]]:
    """Return the edits that hide markers of Flux's image automation behind versions from it."""
    return _comments(occurrences, contents, parked)


def unpark(occurrences: Iterable[Occurrence], contents: Mapping[str, bytes]) -> dict[str, list[edit.Edit]]:
    """Return the edits that give markers back to Flux's image automation."""
    return _comments(occurrences, contents, unparked)


def parked(comment: str) -> str:
    """Return a comment without the token by which image automation finds the files that it may change."""
    found = _MARKER.fullmatch(comment)
    return f"# gitops-held {found[1]}" if found else comment.replace(_TOKEN, _PARKED)


def unparked(comment: str) -> str:
    """Undo `parked`."""
    found = _HELD.fullmatch(comment)
    return f'# {{"$imagepolicy": "{found[1]}"}}' if found else comment.replace(_PARKED, _TOKEN)


def _comments(
    occurrences: Iterable[Occurrence], contents: Mapping[str, bytes], change: Any
) -> dict[str, list[edit.Edit]]:
    found: dict[str, list[edit.Edit]] = {}
    for one in occurrences:
        content = contents[one.file]
        if _TOKEN.encode() not in content and b"gitops-held" not in content:
            continue
        for path in one.places():
            comment = edit.comment(content, one.document, path)
            after = change(comment)
            wanted = edit.SetComment(one.document, path, comment, after)
            known = found.setdefault(one.file, [])
            if after != comment and not any(_same_line(content, wanted, other) for other in known):
                known.append(wanted)
    return {path: edits for path, edits in found.items() if edits}


def _same_line(content: bytes, one: edit.SetComment, other: edit.Edit) -> bool:
    """Say whether two edits are of the same comment: several scalars of a flow mapping share one."""
    text = edit.decode(content)[1]
    return isinstance(other, edit.SetComment) and edit.comment_place(text, one) == edit.comment_place(text, other)


def _hold(entry: Mapping[str, Any]) -> Hold:
    denied = tuple(
        {str(key): tuple((str(k), str(v)) for k, v in version.items()) for key, version in vector.items()}
        for vector in entry["denied"]
    )
    times = {key: _written(entry.get(key)) for key in ("since", "until")}
    for text in filter(None, times.values()):
        moment(text)
    rest = {key: str(entry.get(key) or "") for key in ("reason", "by")}
    return Hold(str(entry["environment"]), str(entry["component"]), denied, times["since"], times["until"], **rest)


def _written(value: Any) -> str:
    """Return a time as text; YAML reads unquoted ones as times."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value or "")
