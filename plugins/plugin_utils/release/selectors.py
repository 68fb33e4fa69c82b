# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where versions stand in manifests: the allowlist of what a release may change. Pure.

A selector is named the same in every environment, such as ``images[ghcr.io/x/podinfo]``; an occurrence is where one stands
in a file. Everything else in a file belongs to its environment.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.model import Declared
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit import edit, nodes
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit.errors import YamlEditError

Kind = Literal["image", "chart", "ref", "value"]
#: A version: the fields of a selector that have a value, in the order of the selector's fields.
Version = tuple[tuple[str, str], ...]

IMAGE_FIELDS = ("newName", "newTag", "digest")
_OCI_FIELDS = ("tag", "semver", "digest")
_GIT_FIELDS = ("tag", "semver", "commit")
_INPUT_KEYS = ("version", "tag", "digest", "semver", "revision", "chartVersion", "imageTag")
_ELEMENT_KEYS = ("version", "targetRevision", "tag", "digest")
_FILTER_KEYS = ("semver", "includeTag")
_HINT = re.compile(
    rb"images:|\bHelmRelease\b|\bHelmChart\b|\bOCIRepository\b|\bGitRepository\b|[?&]ref=|\bResourceSet|\bApplicationSet\b|\bApplication\b"
)
#: Names the rule by which contents are told to have none: what was learnt by another rule counts no more.
SIGNS = hashlib.sha256(_HINT.pattern).hexdigest()[:12]
_REMOTE_REF = re.compile(r"(?P<before>.*[?&]ref=)(?P<ref>[^&]+)(?P<after>.*)")
_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")


@dataclass(frozen=True)
class Occurrence:
    """One place of a selector. `base` leads to the mapping that holds its fields (or, where embedded, to the text)."""

    selector: str
    label: str
    kind: Kind
    file: str
    document: int
    base: edit.Path
    fields: tuple[str, ...]
    version: Version
    #: The text around a reference that is part of a longer one.
    around: tuple[str, str] | None = None

    def edits(self, version: Version) -> list[edit.Edit]:
        """Return what brings `version` to this place."""
        wanted, there = dict(version), dict(self.version)
        if self.around is not None:
            if wanted == there:
                return []
            before, after = self.around
            return [edit.SetValue(self.document, self.base, f"{before}{wanted['ref']}{after}")]
        found: list[edit.Edit] = []
        last = "name" if self.kind == "image" else ""
        for field in self.fields:
            path = (*self.base, field)
            if field in wanted and wanted[field] != there.get(field):
                found.append(edit.SetValue(self.document, path, wanted[field], after=last))
            elif field in there and field not in wanted:
                found.append(edit.RemoveKey(self.document, path))
            if field in there:
                last = field
        return found

    def places(self) -> list[edit.Path]:
        """Return the paths of the scalars that hold the version now."""
        return [self.base] if self.around is not None else [(*self.base, field) for field, _value in self.version]


def may_have(path: str, content: bytes, declared: Iterable[Declared] = ()) -> bool:
    """Say whether a file is worth reading: most have no selector."""
    if not path.endswith((".yaml", ".yml")) and path.rsplit("/", 1)[-1] != "Kustomization":
        return False
    return has_sign(content) or any(one.kind.encode() in content for one in declared)


def has_sign(content: bytes) -> bool:
    """Say whether a content may have a selector that nobody has declared."""
    return _HINT.search(content) is not None


def occurrences(path: str, content: bytes, declared: Sequence[Declared] = ()) -> list[Occurrence]:
    """Return all selectors of a file. Raises YamlEditError, naming the file, where it cannot be read."""
    try:
        roots = nodes.parse(edit.decode(content)[1])
    except YamlEditError as error:
        raise YamlEditError(f"{path}: {error}") from error
    found: list[Occurrence] = []
    for number, root in enumerate(roots):
        value = nodes.value(root)
        if isinstance(value, dict) and value.get("kind") != "Secret" and "sops" not in value:
            found += _document(path, number, value, declared)
    return found


def shown(version: Version) -> str:
    """Return a version as people write it: ``6.6.0@sha256:…``."""
    fields = dict(version)
    if not fields:
        return "(none)"
    text = fields.get("newTag") or fields.get("tag") or ""
    if not text and len(fields) == 1 and "digest" not in fields:
        return next(iter(fields.values()))
    others = [value for key, value in fields.items() if key not in ("newName", "newTag", "tag", "digest")]
    text = " ".join(filter(None, [text, *others]))
    text += f"@{fields['digest']}" if fields.get("digest") else ""
    return f"{fields['newName']}:{text}" if fields.get("newName") else text


def matches(version: Version, wanted: str) -> bool:
    """Say whether a version is the one that somebody means by a version, tag, digest, or both."""
    fields = dict(version)
    values = [value for key, value in version if key != "newName"]
    return wanted in (*values, shown(version), shown(tuple((k, v) for k, v in version if k != "newName"))) or (
        wanted.startswith("sha256:") and len(wanted) >= 14 and fields.get("digest", "").startswith(wanted)
    )


#: A version that can be compared: numbers, and what orders a pre-release before its release.
Order = tuple[tuple[int, ...], int, tuple[tuple[int, int, str], ...]]
_SEMVER = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")


def semver(text: str) -> Order | None:
    """Return what orders a version by the rules of Semantic Versioning 2 (fewer numbers are filled up), or None."""
    found = _SEMVER.fullmatch(text)
    if found is None:
        return None
    numbers = tuple(int(part or 0) for part in found.groups()[:4])
    pre = found[5]
    parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".")) if pre else ()
    return numbers, 0 if pre else 1, parts


def semver_of(version: Version) -> Order | None:
    """Return what orders a version by its tag, or None where it cannot be compared."""
    fields = dict(version)
    for key in ("newTag", "tag", "version", "chartVersion", "imageTag", "targetRevision", "ref"):
        if key in fields:
            return semver(fields[key])
    return semver(version[0][1]) if len(version) == 1 else None


# -- the kinds -------------------------------------------------------------------------------------------------------------


def _document(path: str, number: int, value: Mapping[str, Any], declared: Sequence[Declared]) -> Iterator[Occurrence]:
    kind, name = str(value.get("kind") or ""), _text(_at(value, "metadata"), "name")
    group = str(value.get("apiVersion") or "").partition("/")[0]
    here = _Place(path, number, kind, name)
    if path.rsplit("/", 1)[-1] in _NAMES and group in ("", "kustomize.config.k8s.io"):
        yield from _images(here, value.get("images"), ("images",), "")
        yield from _remotes(here, value)
    elif kind == "Kustomization" and group == "kustomize.toolkit.fluxcd.io":
        yield from _images(here, _at(value, "spec").get("images"), ("spec", "images"), f"Kustomization/{name} ")
    elif kind == "HelmRelease":
        yield from here.fields(
            "chart", "chart", _at(value, "spec", "chart", "spec"), ("spec", "chart", "spec"), ("version",)
        )
    elif kind == "HelmChart":  # Flux's own, which a chartRef may name, and that of K3s
        yield from here.fields("chart", "chart", _at(value, "spec"), ("spec",), ("version",))
    elif kind == "OCIRepository":
        yield from here.fields("ref", "ref", _at(value, "spec", "ref"), ("spec", "ref"), _OCI_FIELDS)
    elif kind == "GitRepository":
        yield from here.fields("ref", "ref", _at(value, "spec", "ref"), ("spec", "ref"), _GIT_FIELDS)
    elif kind == "Application":
        yield from here.fields("source", "ref", _at(value, "spec", "source"), ("spec", "source"), ("targetRevision",))
    elif kind in ("ResourceSet", "ResourceSetInputProvider", "ApplicationSet"):
        yield from _inputs(here, value)
    for one in declared:
        if one.kind == kind and one.name in ("", name):
            holder = _at(value, *one.path[:-1])
            yield from here.fields(".".join(one.path), "value", holder, one.path[:-1], one.path[-1:])


@dataclass(frozen=True)
class _Place:
    file: str
    document: int
    kind: str
    name: str

    def fields(
        self, what: str, kind: Kind, holder: Mapping[str, Any], base: edit.Path, fields: tuple[str, ...]
    ) -> Iterator[Occurrence]:
        """Yield an occurrence where one of the fields is there."""
        version = _version(holder, fields)
        if version:
            yield Occurrence(
                f"{self.kind}/{self.name} {what}", self.name, kind, self.file, self.document, base, fields, version
            )


def _images(here: _Place, entries: Any, base: edit.Path, prefix: str) -> Iterator[Occurrence]:
    for entry in entries if isinstance(entries, list) else []:
        name = _text(entry, "name") if isinstance(entry, dict) else ""
        version = _version(entry, IMAGE_FIELDS) if name else ()
        if dict(version).keys() & {"newTag", "digest"}:
            selector, label = f"{prefix}images[{name}]", name.rsplit("/", 1)[-1].partition(":")[0]
            path = (*base, edit.Item("name", name))
            yield Occurrence(selector, label, "image", here.file, here.document, path, IMAGE_FIELDS, version)


def _remotes(here: _Place, value: Mapping[str, Any]) -> Iterator[Occurrence]:
    for key in ("resources", "bases", "components"):
        entries = value.get(key)
        for number, entry in enumerate(entries if isinstance(entries, list) else []):
            found = _REMOTE_REF.fullmatch(entry) if isinstance(entry, str) else None
            if found is None:
                continue
            rest = found["after"].replace("&", "?", 1) if found["before"].endswith("?ref=") else found["after"]
            address = f"{found['before'][: -len('?ref=')]}{rest}"
            label = address.partition("?")[0].rstrip("/").rsplit("/", 1)[-1].removesuffix(".git")
            yield Occurrence(
                f"{key}[{address}]", label, "ref", here.file, here.document, (key, number), ("ref",),
                (("ref", found["ref"]),), (found["before"], found["after"]),
            )  # fmt: skip


def _inputs(here: _Place, value: Mapping[str, Any]) -> Iterator[Occurrence]:
    spec = _at(value, "spec")
    if here.kind == "ResourceSet":
        yield from _elements(here, spec.get("inputs"), ("spec", "inputs"), "inputs", _INPUT_KEYS)
    elif here.kind == "ResourceSetInputProvider":
        yield from here.fields("filter", "ref", _at(spec, "filter"), ("spec", "filter"), _FILTER_KEYS)
        yield from here.fields(
            "defaultValues", "ref", _at(spec, "defaultValues"), ("spec", "defaultValues"), _INPUT_KEYS
        )
    else:
        generators = spec.get("generators")
        for number, generator in enumerate(generators if isinstance(generators, list) else []):
            found = _at(generator, "list") if isinstance(generator, dict) else {}
            base = ("spec", "generators", number, "list", "elements")
            yield from _elements(here, found.get("elements"), base, "elements", _ELEMENT_KEYS)


def _elements(here: _Place, entries: Any, base: edit.Path, what: str, keys: tuple[str, ...]) -> Iterator[Occurrence]:
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        if isinstance(entry, dict):
            called = next((str(entry[key]) for key in ("name", "app", "id", "cluster") if entry.get(key)), str(number))
            yield from here.fields(f"{what}[{called}]", "ref", entry, (*base, number), keys)


def _version(holder: Any, fields: Iterable[str]) -> Version:
    """Return the fields that have a text; empty ones count as missing, encrypted ones are nobody's business."""
    found = []
    for field in fields:
        value = holder.get(field) if isinstance(holder, Mapping) else None
        if isinstance(value, str) and value and not value.startswith("ENC["):
            found.append((field, value))
    return tuple(found)


def _at(value: Any, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _text(value: Any, key: str) -> str:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, str) else ""
