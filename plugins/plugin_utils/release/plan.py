# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One planner for promotion and rollback: which version goes to which place, and the bytes that come of it. Pure."""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.selectors import (
    IMAGE_FIELDS,
    Occurrence,
    Version,
    shown,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.state import State, relative
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit import edit, nodes
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit.errors import YamlEditError

What = Literal["images", "charts", "refs", "subtree", "all"]
_KINDS: Mapping[str, tuple[str, ...]] = {
    "images": ("image",),
    "charts": ("chart",),
    "refs": ("ref",),
    "subtree": (),
    "all": ("image", "chart", "ref", "value"),
}
_ENCRYPTED = re.compile(r"ENC\[[^\]]*\]")
_SECRET_KEY = re.compile(r"passw|passphrase|secret|token|credential|private|api_?key|dsn", re.IGNORECASE)
_MOST_DIFFERENCES = 100
#: Finds the digest of an image that Git names by its tag alone: (name, tag) → digest, or None where nobody knows.
Digests = Callable[[str, str], str | None]


@dataclass(frozen=True)
class Change:
    """One version that goes to one place."""

    component: str
    environment: str
    file: str
    selector: str
    before: Version
    after: Version

    def line(self) -> str:
        """`podinfo images[x] 6.5.4 -> 6.6.0`."""
        return f"{self.component} {self.selector} {shown(self.before)} -> {shown(self.after)}"

    def as_dict(self) -> dict[str, str]:
        """Return the change as a module's result has it."""
        return {
            "component": self.component,
            "environment": self.environment,
            "file": self.file,
            "selector": self.selector,
            "before": shown(self.before),
            "after": shown(self.after),
        }


@dataclass(frozen=True)
class Plan:
    """What is to be done to one environment. `files` maps paths to their new bytes (None: removed).

    `problems` are reasons why nothing can be done; `skipped` are sentences about what is left as it is.
    """

    changes: tuple[Change, ...] = ()
    before: Mapping[str, bytes | None] = field(default_factory=dict, repr=False)
    files: Mapping[str, bytes | None] = field(default_factory=dict, repr=False)
    problems: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def identity(self, to: str, gates: Mapping[str, Any]) -> str:
        """Return the plan's id: of each edit's selector, old and new version, of the gates, and of the environment.

        Commits that have nothing to do with the plan do not change it.
        """
        edits = sorted(
            [c.component, c.environment, c.file, c.selector, list(map(list, c.before)), list(map(list, c.after))]
            for c in self.changes
        )
        text = json.dumps([edits, dict(gates), to], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def diffs(self) -> list[dict[str, str]]:
        """Return the files' difference as Ansible shows it; what is encrypted or a Secret's is not shown."""
        return [
            {
                "before_header": path,
                "after_header": path,
                "before": presentable(self.before.get(path)),
                "after": presentable(after),
            }
            for path, after in sorted(self.files.items())
        ]

    def unified(self) -> str:
        """Return the files' difference as one unified diff."""
        parts = []
        for entry in self.diffs():
            one, other = (entry[side].splitlines(keepends=True) for side in ("before", "after"))
            path = entry["after_header"]
            parts += [
                line if line.endswith("\n") else f"{line}\n"
                for line in difflib.unified_diff(one, other, f"a/{path}", f"b/{path}")
            ]
        return "".join(parts)


@dataclass(frozen=True)
class Wish:
    """One component: its versions come from `source`, its places are those of `target`."""

    source: State
    target: State
    what: What = "all"


def make(
    wishes: Iterable[Wish],
    digests: Digests,
    read: Callable[[str], bytes],
    comments: Mapping[str, Sequence[edit.Edit]] | None = None,
) -> Plan:
    """Return the plan for several components of one environment, all or nothing.

    `digests` completes images that Git names without a digest. `read` gives a content by its id, for subtrees.
    `comments` are edits of comments that are made together with the versions.
    """
    changes: list[Change] = []
    problems: list[str] = []
    skipped: list[str] = []
    edits: dict[str, list[edit.Edit]] = {}
    before: dict[str, bytes | None] = {}
    files: dict[str, bytes | None] = {}
    for wish in wishes:
        before |= wish.target.contents
        for one, version in _pairs(wish, digests, problems, skipped):
            own = one.edits(version)
            if own:
                known = edits.setdefault(one.file, [])
                known += [item for item in own if item not in known]
                name = wish.target.component.name
                changes.append(Change(name, wish.target.environment.name, one.file, one.selector, one.version, version))
        _copy(wish, read, changes, before, files, problems)
    for path, others in (comments or {}).items():
        edits.setdefault(path, []).extend(others)
    for path, own in edits.items():
        try:
            content = before[path]
            files[path] = edit.apply(content if content is not None else b"", own)
        except YamlEditError as error:
            problems.append(f"{path}: {error}.")
    changes = list(dict.fromkeys(changes))
    return Plan(
        tuple(changes),
        {path: before.get(path) for path in files},
        files,
        tuple(dict.fromkeys(problems)),
        tuple(dict.fromkeys(skipped)),
    )


def _pairs(wish: Wish, digests: Digests, problems: list[str], skipped: list[str]) -> list[tuple[Occurrence, Version]]:
    """Pair each place of the target with the version of the source that it is to have."""
    name, kinds = wish.target.component.name, _KINDS[wish.what]
    sources: dict[str, dict[str, Occurrence]] = {}
    for one in wish.source.occurrences:
        if one.kind in kinds:
            sources.setdefault(one.selector, {})[relative(one.file, wish.source.environment.path)] = one
    pairs = []
    for place in wish.target.occurrences:
        if place.kind not in kinds:
            continue
        found = sources.get(place.selector)
        if not found:
            skipped.append(f"{name}: {place.selector} is in {wish.target.environment.name} only; it stays as it is.")
            continue
        versions = {one.version for one in found.values()}
        if len(versions) == 1:
            version = versions.pop()
        else:
            here = relative(place.file, wish.target.environment.path)
            if here not in found:
                said = ", ".join(f"{shown(one.version)} in {path}" for path, one in sorted(found.items()))
                problems.append(
                    f"{name}: {place.selector} has several versions in {wish.source.environment.name}: {said}. Make them"
                    f" one, or describe the component's paths."
                )
                continue
            version = found[here].version
        pairs.append((place, _chosen(place, version, wish, digests)))
    there = {place.selector for place in wish.target.occurrences}
    for selector in sources.keys() - there:
        said = f"{name}: {selector} is in {wish.source.environment.name} only"
        (skipped if pairs else problems).append(
            f"{said}. Add it to {wish.target.environment.path or 'the target'} by hand once; then it is promoted."
        )
    if not sources and wish.what != "subtree" and not wish.source.copied:
        problems.append(
            f"{name}: no version of it is found in {wish.source.environment.path or wish.source.environment.name}. Wanted an"
            " image in a kustomization, a chart of a HelmRelease, or a declared selector."
        )
    return pairs


def _chosen(place: Occurrence, version: Version, wish: Wish, digests: Digests) -> Version:
    """Return the version for a place: with a digest where it is known, without the fields that are excluded."""
    fields, old = dict(version), dict(place.version)
    excluded = [
        key
        for key in place.fields
        if any(
            fnmatch.fnmatchcase(f"{place.selector}.{key}", pattern) or _literal(pattern, f"{place.selector}.{key}")
            for pattern in wish.target.component.exclude
        )
    ]
    for key in excluded:
        fields.pop(key, None)
        if key in old:
            fields[key] = old[key]
    if place.kind == "image" and "digest" not in fields and "digest" not in excluded and "newTag" in fields:
        image = fields.get("newName") or place.selector.partition("images[")[2].rstrip("]")
        found = digests(image, fields["newTag"])
        same = {key: value for key, value in fields.items() if key != "digest"} == {
            key: value for key, value in old.items() if key != "digest"
        }
        if found:
            fields["digest"] = found
        elif same and "digest" in old:
            # nobody can tell the digest now; the one of the same tag that stands there is right
            fields["digest"] = old["digest"]
    order = IMAGE_FIELDS if place.kind == "image" else place.fields
    return tuple((key, fields[key]) for key in order if key in fields)


def _literal(pattern: str, text: str) -> bool:
    """Compare with brackets meant literally, as they stand in selectors; ``*`` is any text."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), text) is not None


def _copy(
    wish: Wish,
    read: Callable[[str], bytes],
    changes: list[Change],
    before: dict[str, bytes | None],
    files: dict[str, bytes | None],
    problems: list[str],
) -> None:
    """Copy the files of a subtree, and take away those that the source has no more."""
    if wish.what not in ("subtree", "all"):
        return
    source, target = wish.source.copied, wish.target.copied
    root, name = wish.target.environment.path, wish.target.component.name
    for path in sorted(source.keys() | target.keys()):
        old, new = target.get(path), source.get(path)
        if old == new:
            continue
        content = None if new is None else read(new)
        if any(is_secret(text) for text in (content, None if old is None else read(old)) if text is not None):
            problems.append(f"{name}: {path} holds a Secret, which is never promoted. Leave it out of the subtree.")
            continue
        full = f"{root}/{path}" if root else path
        before[full] = None if old is None else read(old)
        files[full] = content
        versions = [() if blob is None else (("blob", blob),) for blob in (old, new)]
        changes.append(Change(name, wish.target.environment.name, full, f"file[{path}]", versions[0], versions[1]))


# -- what is shown -----------------------------------------------------------------------------------------------------------


def is_secret(content: bytes) -> bool:
    """Say whether a file holds a Secret or something encrypted by SOPS."""
    return bool(re.search(rb"^\s*[\"']?kind[\"']?\s*:\s*[\"']?Secret[\"']?\s*(#.*)?$|^sops:", content, re.MULTILINE))


def presentable(content: bytes | None) -> str:
    """Return a file as it may be shown: nothing of Secrets, and nothing that is encrypted."""
    if content is None:
        return ""
    if is_secret(content):
        return f"(a Secret: not shown, sha256 {hashlib.sha256(content).hexdigest()[:12]})\n"
    return _ENCRYPTED.sub("ENC[…]", content.decode("utf-8", "replace"))


def differences(wish: Wish) -> list[str]:
    """Say what differs between the component's files of the two environments and is no version: it is not promoted."""
    from_root, to_root = wish.source.environment.path, wish.target.environment.path
    other = {relative(path, from_root): content for path, content in wish.source.contents.items()}
    said = []
    for path, content in wish.target.contents.items():
        inside = relative(path, to_root)
        if inside not in other or is_secret(content) or is_secret(other[inside]):
            continue
        selected = {
            (one.document, *(_plain(step) for step in place))
            for state in (wish.source, wish.target)
            for one in state.occurrences
            if relative(one.file, state.environment.path) == inside
            for place in one.places()
        }
        one, two = (_flat(edit.decode(text)[1]) for text in (other[inside], content))
        for key in sorted(one.keys() | two.keys(), key=str):
            if one.get(key) != two.get(key) and key not in selected:
                hidden = any(_SECRET_KEY.search(str(step)) for step in key[1:])
                values = " and ".join(
                    f"{'(not shown)' if hidden else _short(side.get(key))} in {name}"
                    for side, name in ((one, wish.source.environment.name), (two, wish.target.environment.name))
                )
                said.append(f"{inside}: {'.'.join(map(str, key[1:]))}: {values}")
    return said[:_MOST_DIFFERENCES]


def _plain(step: edit.Step) -> str:
    return step.value if isinstance(step, edit.Item) else str(step)


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    text = _ENCRYPTED.sub("ENC[…]", text)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _flat(text: str) -> dict[tuple[Any, ...], str]:
    """Return the scalars of a file by their paths; items of lists go by their name, where they have one."""
    found: dict[tuple[Any, ...], str] = {}

    def walk(value: Any, path: tuple[Any, ...]) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, (*path, key))
        elif isinstance(value, list):
            for number, item in enumerate(value):
                name = item.get("name") if isinstance(item, dict) else None
                walk(item, (*path, name if isinstance(name, str) else str(number)))
        else:
            found[path] = str(value)

    for number, root in enumerate(nodes.parse(text)):
        walk(nodes.value(root), (number,))
    return found


def summary(changes: Sequence[Change]) -> str:
    """Return the versions of a plan in few words: `6.5.4 -> 6.6.0`, or how many there are."""
    steps = list(dict.fromkeys((_tag(change.before), _tag(change.after)) for change in changes))
    if len(steps) == 1:
        return f"{steps[0][0]} -> {steps[0][1]}"
    return f"{len(steps)} versions"


def _tag(version: Version) -> str:
    fields = {key: value for key, value in version if key not in ("digest", "newName")}
    return shown(tuple(fields.items())) if fields else shown(version)[:19]
