# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds overlays as `kustomize build` does, in memory and many times faster.

What it does not do it says by UnsupportedError; the program is asked then. Tests hold the two to the same results.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check import (
    field_specs,
    generators,
    json_patch,
    name_references,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.documents import line_of, parse
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import BuildError, UnsupportedError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.findings import Finding
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.resources import (
    Id,
    Object,
    Resource,
    copied,
    group_version,
    label,
    named,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.strategic_merge import KNOWN_GROUPS, merge
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.tree import Tree, normal

FILE_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_LISTS = (
    "resources", "bases", "components", "labels", "images", "replicas", "patches", "patchesStrategicMerge",
    "patchesJson6902", "configMapGenerator", "secretGenerator",
)  # fmt: skip
_MAPPINGS = ("commonLabels", "commonAnnotations", "generatorOptions", "metadata")
_TEXTS = ("apiVersion", "kind", "namespace", "namePrefix", "nameSuffix")
_DONE = frozenset((*_LISTS, *_MAPPINGS, *_TEXTS))
#: Fields that exist, and that only the program knows how to do.
_PROGRAM = frozenset({
    "buildMetadata", "configurations", "crds", "generators", "helmChartInflationGenerator", "helmCharts", "helmGlobals",
    "imageTags", "openapi", "replacements", "sortOptions", "transformers", "validators", "vars",
})  # fmt: skip
#: kustomize does not tell capitals from small letters in the names of fields.
_FIELDS = {name.lower(): name for name in _DONE | _PROGRAM}
_NO_PREFIX = ("CustomResourceDefinition", "Namespace")
_REMOTE = re.compile(r"(git::|gh:|ssh://|https?://|git@|github\.com[:/]|file://|oci://)", re.IGNORECASE)
_LOCAL = "config.kubernetes.io/local-config"
#: What an object of a List kind is taken apart into.
_ITEMS = "List"

Kustomization = Object


@dataclass
class Place:
    """A kustomization: its directory, its file (which need not be there), and what it says."""

    directory: str
    file: str
    content: Kustomization
    generated: bool = False
    #: Paths that an including Flux Kustomization added, with the file and line to name for them.
    foreign: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)


@dataclass
class _Built:
    resources: list[Resource]
    findings: list[Finding]
    notes: dict[str, str]
    there: bool


def is_remote(path: str) -> bool:
    """Say whether a resource is somewhere else than in the repository."""
    return bool(_REMOTE.match(path)) or posixpath.isabs(path)


def find_file(tree: Tree, directory: str) -> str | None:
    """Return the kustomization file of a directory."""
    for name in FILE_NAMES:
        path = normal(posixpath.join(directory, name))
        if tree.read(path) is not None:
            return path
    return None


class Builder:
    """Builds the overlays of one repository; what several overlays share is built once."""

    def __init__(self, tree: Tree) -> None:
        """Take the files."""
        self.tree = tree
        self.findings: list[Finding] = []
        self._shared: dict[str, _Built] = {}
        self._under_way: list[str] = []

    # -- reading -------------------------------------------------------------------------------------------------------

    def line(self, file: str, path: Sequence[str | int], index: int = 0) -> int:
        """Return the line of a value in a file."""
        data = self.tree.read(file)
        return 1 if data is None else line_of(data, index, path)

    def report(self, file: str, path: Sequence[str | int], rule: str, message: str, index: int = 0) -> None:
        """Take note of something that is wrong."""
        self.findings.append(Finding(file, self.line(file, path, index), "error", rule, message))

    def load(self, directory: str) -> Place | None:
        """Return the kustomization of a directory, or None when it has none that can be read."""
        file = find_file(self.tree, directory)
        if file is None:
            return None
        documents, problems = self.tree.documents(file) or ([], [])
        self.findings += [Finding(file, one.line, "error", one.rule, one.message) for one in problems]
        if any(one.rule != "duplicate-key" for one in problems):
            return None
        content = documents[0].value if documents else {}
        if len(documents) > 1 or not isinstance(content, dict):
            self.report(file, (), "kustomization-invalid", "this is not one mapping. Write one kustomization per file")
            return None
        content = {_FIELDS.get(key.lower(), key): value for key, value in copied(content).items()}
        self._check_fields(file, content)
        return Place(directory, file, content)

    def _check_fields(self, file: str, content: Kustomization) -> None:
        """Report fields that are not kustomize's, and empty those that have the wrong shape."""
        wrong = []
        for key, value in content.items():
            if key not in _DONE and key not in _PROGRAM:
                fix = _similar(key, sorted(_DONE | _PROGRAM))
                self.report(file, (key,), "kustomization-invalid", f"kustomize has no field {key}. {fix}")
            wanted = list if key in _LISTS else dict if key in _MAPPINGS else str if key in _TEXTS else None
            if wanted is not None and value is not None and not isinstance(value, wanted):
                noun = {list: "a list", dict: "a mapping", str: "text"}[wanted]
                self.report(file, (key,), "kustomization-invalid", f"{key} is not {noun}, as kustomize wants it")
                wrong.append(key)
        for key in wrong:
            content[key] = None

    # -- building ------------------------------------------------------------------------------------------------------

    def build(self, place: Place) -> list[Resource]:
        """Return the objects that `kustomize build` prints, in its order."""
        resources = self._accumulate(place, [])
        for resource in resources:
            if resource.hashed:
                resource.remember()
                resource.metadata["name"] = f"{resource.name}-{generators.suffix(resource.content)}"
        try:
            name_references.follow(resources)
        except BuildError as error:
            self.report(place.file, (), "build-failed", str(error))
        return [resource for resource in resources if not _is_local(resource.content)]

    def _accumulate(self, place: Place, resources: list[Resource]) -> list[Resource]:
        for key in place.content:
            if key in _PROGRAM and place.content[key]:
                raise UnsupportedError(f"{key} in {place.file}")
        for key in ("resources", "bases"):
            for number, path in enumerate(_list(place.content, key)):
                resources += self._resource(place, (key, number), path)
        resources = _without_twins(self, place, resources)
        for key, kind in (("configMapGenerator", "ConfigMap"), ("secretGenerator", "Secret")):
            for number, arguments in enumerate(_list(place.content, key)):
                self._generate(place, (key, number), kind, arguments, resources)
        for number, path in enumerate(_list(place.content, "components")):
            resources = self._component(place, ("components", number), path, resources)
        return self._transform(place, resources)

    def _where(self, place: Place, step: tuple[str, int], more: Sequence[str | int] = ()) -> tuple[str, int]:
        foreign = place.foreign.get(step)
        return foreign or (place.file, self.line(place.file, (*step, *more)))

    def _fail(
        self, place: Place, step: tuple[str, int], rule: str, message: str, more: Sequence[str | int] = ()
    ) -> None:
        file, line = self._where(place, step, more)
        self.findings.append(Finding(file, line, "error", rule, message))

    def _resource(self, place: Place, step: tuple[str, int], path: Any) -> list[Resource]:
        if not isinstance(path, str) or not path:
            self._fail(place, step, "kustomization-invalid", "the entry is no path. Write a file or directory")
            return []
        if is_remote(path):
            message = f"{path} is not in the repository, so what it brings can change at any time. Copy it into the repository"
            self._fail(place, step, "remote-resource", message)
            return []
        full = normal(posixpath.join(place.directory, path))
        if full.startswith(".."):
            self._fail(place, step, "file-not-found", f"{path} is outside of the repository. Correct the path")
            return []
        if self.tree.is_directory(full):
            return self._directory(place, step, path, full)
        return self._file(place, step, path, full)

    def _file(self, place: Place, step: tuple[str, int], path: str, full: str) -> list[Resource]:
        found = self.tree.documents(full)
        if found is None:
            message = f"there is no file or directory {full}. Correct the path {path}, or add the file"
            self._fail(place, step, "file-not-found", message)
            return []
        documents, problems = found
        self.findings += [Finding(full, one.line, "error", one.rule, one.message) for one in problems]
        resources = []
        for document in documents:
            for content in _items(document.value):
                wrong = not_an_object(content)
                if wrong:
                    self.findings.append(Finding(full, document.line, "error", "not-an-object", wrong))
                else:
                    resources.append(Resource(copied(content), full, document.index, document.line))
        return resources

    def _directory(self, place: Place, step: tuple[str, int], path: str, full: str) -> list[Resource]:
        if full in self._under_way or full == place.directory:
            self._fail(place, step, "build-failed", f"{path} includes this kustomization again. Remove one of the two")
            return []
        if full not in self._shared:
            self._shared[full] = self._share(full)
        built = self._shared[full]
        self.tree.note(built.notes)
        self.findings += built.findings
        if not built.there:
            self._fail(place, step, "file-not-found", f"the directory {full} has no kustomization.yaml. Add one")
        return [resource.copy() for resource in built.resources]

    def _share(self, full: str) -> _Built:
        before, self.findings = self.findings, []
        self._under_way.append(full)
        try:
            with self.tree.noting() as notes:
                place = self.load(full)
                resources = [] if place is None else self._sub(place, "Kustomization", [])
            return _Built(resources, self.findings, notes, find_file(self.tree, full) is not None)
        finally:
            self._under_way.pop()
            self.findings = before

    def _sub(self, place: Place, kind: str, resources: list[Resource]) -> list[Resource]:
        found = place.content.get("kind") or "Kustomization"
        if found != kind:
            where = "components" if found == "Component" else "resources"
            self.report(place.file, ("kind",), "kustomization-invalid", f"a {found} is included. List it under {where}")
        if not any(value for key, value in place.content.items() if key not in ("apiVersion", "kind")):
            self.report(place.file, (), "kustomization-invalid", "the kustomization is empty. List its resources")
        return self._accumulate(place, resources)

    def _component(self, place: Place, step: tuple[str, int], path: Any, resources: list[Resource]) -> list[Resource]:
        full = normal(posixpath.join(place.directory, str(path)))
        if is_remote(str(path)) or not self.tree.is_directory(full):
            self._fail(place, step, "file-not-found", f"there is no directory {full}. Correct the component's path")
            return resources
        component = self.load(full)
        if component is None:
            self._fail(place, step, "file-not-found", f"the directory {full} has no kustomization.yaml. Add one")
            return resources
        if full in self._under_way:
            self._fail(place, step, "build-failed", f"{path} includes itself. Remove it")
            return resources
        self._under_way.append(full)
        try:
            return self._sub(component, "Component", resources)
        finally:
            self._under_way.pop()

    # -- generators ----------------------------------------------------------------------------------------------------

    def _generate(
        self, place: Place, step: tuple[str, int], kind: str, arguments: Any, resources: list[Resource]
    ) -> None:
        def read(path: str) -> bytes:
            full = normal(posixpath.join(place.directory, path))
            data = None if full.startswith("..") else self.tree.read(full)
            if data is None:
                raise BuildError(f"there is no file {full}. Correct the path, or add the file")
            return data

        try:
            if not isinstance(arguments, dict):
                raise BuildError("the entry is no mapping")
            options = place.content.get("generatorOptions") or {}
            made = generators.generate(kind, arguments, options, read, place.file)
        except BuildError as error:
            self._fail(place, step, "generator-failed", f"{kind} generator: {error}", error.path)
            return
        made.line = self._where(place, step)[1]
        there = named(resources, made.id)
        if made.behavior in ("merge", "replace"):
            if len(there) != 1:
                self._fail(
                    place, step, "generator-failed", f"there is no {kind} {made.name} to {made.behavior}. Use create"
                )
            else:
                resources[resources.index(there[0])] = generators.merged(made, there[0])
        elif there:
            message = f"{kind} {made.name} is there already, from {there[0].file}. Use behavior: merge or replace"
            self._fail(place, step, "generator-failed", message)
        else:
            resources.append(made)

    # -- transformers --------------------------------------------------------------------------------------------------

    def _transform(self, place: Place, resources: list[Resource]) -> list[Resource]:
        content = place.content
        for number, patch in enumerate(_list(content, "patchesStrategicMerge")):
            entry = {"path": patch} if isinstance(patch, str) and "\n" not in patch.strip() else {"patch": patch}
            resources = self._patch(place, ("patchesStrategicMerge", number), entry, resources)
        for number, entry in enumerate(_list(content, "patches")):
            resources = self._patch(place, ("patches", number), entry, resources)
        if content.get("namespace"):
            self._renamed_namespaces(place, resources)
            field_specs.set_namespace(resources, str(content["namespace"]))
            resources = _without_twins(self, place, resources)
        self._affixes(content, resources)
        self._attempt(place, "labels", lambda: _labels(content, resources))
        pairs = content.get("commonAnnotations") or {}
        self._attempt(
            place, "commonAnnotations", lambda: field_specs.set_pairs(resources, field_specs.ANNOTATIONS, pairs)
        )
        for number, entry in enumerate(_list(content, "patchesJson6902")):
            resources = self._patch(place, ("patchesJson6902", number), entry, resources)
        for number, entry in enumerate(_list(content, "replicas")):
            self._replicas(place, ("replicas", number), entry, resources)
        for entry in _list(content, "images"):
            if isinstance(entry, dict):
                self._attempt(place, "images", partial(field_specs.set_image, resources, entry))
        return resources

    def _renamed_namespaces(self, place: Place, resources: list[Resource]) -> None:
        """Report the Namespaces that a Flux Kustomization's targetNamespace renames."""
        if ("namespace", 0) not in place.foreign:
            return
        target = str(place.content["namespace"])
        for resource in resources:
            if resource.gvk == ("", "v1", "Namespace") and resource.name != target:
                message = (
                    f"targetNamespace {target} also renames {label(resource.content)} ({resource.file}:{resource.line})."
                    " Move the Namespace to another Kustomization, or remove targetNamespace"
                )
                self._fail(place, ("namespace", 0), "namespace-renamed", message)

    def _attempt(self, place: Place, key: str, change: Callable[[], None]) -> None:
        try:
            change()
        except BuildError as error:
            self.report(place.file, (key,), "build-failed", f"{key}: {error}")

    def _affixes(self, content: Kustomization, resources: list[Resource]) -> None:
        for prefix, suffix in ((content.get("namePrefix"), None), (None, content.get("nameSuffix"))):
            if not prefix and not suffix:
                continue
            for resource in resources:
                group, _unused, kind = resource.gvk
                original = resource.previous[0][0] if resource.previous else kind
                if original in _NO_PREFIX or (group, original) == ("apiregistration.k8s.io", "APIService"):
                    continue
                resource.remember()
                resource.prefixes += [str(prefix)] if prefix else []
                resource.suffixes += [str(suffix)] if suffix else []
                resource.metadata["name"] = f"{prefix or ''}{resource.name}{suffix or ''}"

    def _replicas(self, place: Place, step: tuple[str, int], entry: Any, resources: list[Resource]) -> None:
        name, count = (entry.get("name"), entry.get("count")) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str) or isinstance(count, bool) or not isinstance(count, int):
            self._fail(place, step, "kustomization-invalid", "the entry has no name and count")
        elif not field_specs.set_replicas(resources, name, count):
            self._fail(place, step, "patch-failed", f"there is no workload {name} to set replicas of. Correct the name")

    # -- patches -------------------------------------------------------------------------------------------------------

    def _patch(self, place: Place, step: tuple[str, int], entry: Any, resources: list[Resource]) -> list[Resource]:
        try:
            if not isinstance(entry, dict):
                raise BuildError("the entry is no mapping")
            parts, file = self._patch_parts(place, step, entry)
            source = (*self._where(place, step), str(entry.get("patch"))) if file is None else (file, 1, "")
            return apply_patch(resources, parts, entry, source)
        except BuildError as error:
            self._fail(place, step, "patch-failed", f"the patch cannot be applied: {error}", error.path)
            return resources

    def _patch_parts(
        self, place: Place, step: tuple[str, int], entry: Mapping[str, Any]
    ) -> tuple[list[Any], str | None]:
        text = entry.get("patch")
        if isinstance(text, (dict, list)):
            return [copied(text)], None
        if text and str(text).strip():
            documents, problems = parse(str(text).strip().encode())
            if problems:
                raise BuildError(problems[0].message, ("patch",))
            return [copied(document.value) for document in documents], None
        if not entry.get("path"):
            raise BuildError("it has neither patch nor path. Give one of them")
        full = normal(posixpath.join(place.directory, str(entry["path"])))
        found = None if full.startswith("..") else self.tree.documents(full)
        if found is None:
            self._fail(place, step, "file-not-found", f"there is no file {full}. Correct the patch's path", ("path",))
            return [], full
        documents, problems = found
        self.findings += [Finding(full, one.line, "error", one.rule, one.message) for one in problems]
        return [copied(document.value) for document in documents], full


def _list(content: Kustomization, key: str) -> list[Any]:
    found = content.get(key)
    return found if isinstance(found, list) else []


def _is_local(content: Object) -> bool:
    metadata = content.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    found = annotations.get(_LOCAL) if isinstance(annotations, dict) else None
    return found is not None and str(found).lower() != "false"


def _items(value: Any) -> list[Any]:
    if not isinstance(value, dict) or not str(value.get("kind", "")).endswith(_ITEMS) or "items" not in value:
        return [value]
    items = value["items"] or []
    return [item for inner in items for item in _items(inner)] if isinstance(items, list) else [value]


def not_an_object(content: Any) -> str:
    """Return why a YAML document is no Kubernetes object, or nothing."""
    if not isinstance(content, dict):
        return "this is no Kubernetes object: it is no mapping. Remove the file from the resources"
    metadata = content.get("metadata")
    missing = [key for key in ("apiVersion", "kind") if not isinstance(content.get(key), str) or not content[key]]
    has_name = isinstance(metadata, dict) and (metadata.get("name") or metadata.get("generateName"))
    if not has_name and not str(content.get("kind", "")).endswith(_ITEMS):
        missing.append("metadata.name")
    if missing:
        return (
            f"this is no Kubernetes object, it lacks {', '.join(missing)}. Add what is missing, or leave the file out"
        )
    return ""


def _similar(word: str, words: Sequence[str]) -> str:
    close = [one for one in words if one.lower() == word.lower() or one.rstrip("s") == word.rstrip("s")]
    return f"Write {close[0]}" if close else "Remove it, or correct its name"


def _labels(content: Kustomization, resources: list[Resource]) -> None:
    for entry in _list(content, "labels"):
        if not isinstance(entry, dict):
            raise BuildError("an entry is no mapping")
        if entry.get("fields"):
            raise UnsupportedError("labels with fields")
        specs: tuple[field_specs.FieldSpec, ...] = field_specs.TEMPLATE_LABELS[:1]
        if entry.get("includeSelectors"):
            specs = field_specs.SELECTOR_LABELS
        elif entry.get("includeTemplates"):
            specs = field_specs.TEMPLATE_LABELS
        field_specs.set_pairs(resources, specs, entry.get("pairs") or {})
    common = content.get("commonLabels") or {}
    if common:
        field_specs.set_pairs(resources, field_specs.SELECTOR_LABELS, common)


def _without_twins(builder: Builder, place: Place, resources: list[Resource]) -> list[Resource]:
    """Leave out all but the first of objects with the same name, and report them: kustomize refuses those."""
    found: dict[Id, Resource] = {}
    for resource in resources:
        there = found.setdefault(resource.id, resource)
        if there is not resource:
            message = (
                f"{label(resource.content)} is there twice in the build of {place.directory}: also at"
                f" {there.file}:{there.line}. Remove one of them"
            )
            builder.findings.append(Finding(resource.file, resource.line, "error", "object-twice", message))
    return list(found.values())


# -- patches -------------------------------------------------------------------------------------------------------------


def apply_patch(
    resources: list[Resource], parts: list[Any], entry: Mapping[str, Any], source: tuple[str, int, str]
) -> list[Resource]:
    """Return the resources with a patch applied: strategic merge patches, or one list of JSON patch operations."""
    operations = [part for part in parts if isinstance(part, list)]
    target = entry.get("target")
    if operations:
        if not isinstance(target, dict):
            raise BuildError("a JSON patch needs a target. Add one")
        for resource in select(resources, target):
            resource.remember()
            json_patch.apply(resource.content, operations[0])
            resource.patched_by.append(source)
        return resources
    options = entry.get("options") or {}
    if len(parts) > 1 and isinstance(target, dict):
        raise BuildError("it has several documents and a target. Write an entry for each document")
    for part in parts:
        if not isinstance(part, dict):
            raise BuildError("it is neither a mapping nor a list of operations")
        if isinstance(target, dict) and _has_odd_pairs(part):
            raise UnsupportedError("a patch with a target, and with labels or annotations that are not text")
        chosen = select(resources, target) if isinstance(target, dict) else [_only(resources, part)]
        for resource in chosen:
            _merge_patch(resource, part, options)
            resource.patched_by.append(source)
    return [resource for resource in resources if resource.content]


def _has_odd_pairs(patch: Object) -> bool:
    metadata = patch.get("metadata")
    pairs = [metadata.get(field) for field in ("labels", "annotations")] if isinstance(metadata, dict) else []
    return any(not isinstance(value, str) for one in pairs if isinstance(one, dict) for value in one.values())


def _only(resources: list[Resource], patch: Object) -> Resource:
    metadata = patch.get("metadata")
    if not isinstance(metadata, dict) or not patch.get("kind") or not metadata.get("name"):
        raise BuildError("it has neither a target nor apiVersion, kind and metadata.name. Add a target")
    wanted = Resource(patch, "").id
    found = named(resources, wanted)
    if len(found) != 1:
        many = "no object is" if not found else f"{len(found)} objects are"
        raise BuildError(f"{many} called {label(patch)} ({patch.get('apiVersion')}). Correct its name, or add a target")
    return found[0]


def _merge_patch(resource: Resource, patch: Object, options: Mapping[str, Any]) -> None:
    group, version = group_version(str(resource.content.get("apiVersion") or ""))
    if group in KNOWN_GROUPS and version not in ("v1", "v2", "v1beta1", "v2beta1", "v2beta2"):
        raise UnsupportedError(f"a patch of {group}/{version}")
    name, namespace, kind = resource.name, resource.namespace, resource.kind
    rename, retype = bool(options.get("allowNameChange")), bool(options.get("allowKindChange"))
    if rename or retype:
        resource.remember()
    merged = merge(resource.content, patch, group, kind)
    if merged is None or not merged:
        resource.content = {}
        return
    if not retype:
        merged["kind"] = kind
    metadata = merged.setdefault("metadata", {})
    if not rename:
        metadata["name"] = name
    metadata.pop("namespace", None)
    if namespace:
        metadata["namespace"] = namespace


def select(resources: list[Resource], target: Mapping[str, Any]) -> list[Resource]:
    """Return the resources that a patch's target means; names are regular expressions of the whole name."""
    patterns = {}
    for key in ("group", "version", "kind", "name", "namespace"):
        if target.get(key):
            try:
                patterns[key] = re.compile(f"(?:{target[key]})\\Z")
            except re.error as error:
                raise BuildError(
                    f"the target's {key} {target[key]} is no regular expression: {error}", ("target", key)
                ) from None

    def fits(key: str, *values: str) -> bool:
        return key not in patterns or any(patterns[key].match(value) for value in values)

    selectors = [
        (field, _selector(str(target[key])))
        for field, key in (("labels", "labelSelector"), ("annotations", "annotationSelector"))
        if target.get(key)
    ]
    found = []
    for resource in resources:
        group, version, kind = resource.gvk
        original, current = resource.ids[0], resource.id
        if (
            fits("group", group)
            and fits("version", version)
            and fits("kind", kind)
            and fits("name", original.name, current.name)
            and fits("namespace", _effective(original), _effective(current))
            and all(_matches(resource.metadata.get(field) or {}, wanted) for field, wanted in selectors)
        ):
            found.append(resource)
    return found


def _effective(one: Id) -> str:
    return one.namespace or "_non_namespaceable_"


Requirement = tuple[str, str, frozenset[str]]
_REQUIREMENT = re.compile(
    r"\s*(?:(?P<not>!)\s*(?P<absent>[^\s,=!()]+)"
    r"|(?P<set>[^\s,=!()]+)\s+(?P<in>in|notin)\s*\((?P<values>[^)]*)\)"
    r"|(?P<key>[^\s,=!()]+)\s*(?P<operator>==|=|!=)\s*(?P<value>[^\s,=!()]*)"
    r"|(?P<present>[^\s,=!()]+))\s*(?:,|\Z)"
)


def _selector(text: str) -> list[Requirement]:
    requirements: list[Requirement] = []
    position = 0
    while position < len(text):
        found = _REQUIREMENT.match(text, position)
        if found is None:
            raise BuildError(
                f"the selector {text} cannot be read. Write KEY=VALUE, KEY in (A, B), KEY or !KEY", ("target",)
            )
        position = found.end()
        if found["absent"]:
            requirements.append((found["absent"], "absent", frozenset()))
        elif found["set"]:
            values = frozenset(value.strip() for value in found["values"].split(","))
            requirements.append((found["set"], found["in"], values))
        elif found["key"]:
            operator = "notin" if found["operator"] == "!=" else "in"
            requirements.append((found["key"], operator, frozenset({found["value"]})))
        else:
            requirements.append((found["present"], "present", frozenset()))
    return requirements


def _matches(pairs: Mapping[str, Any], requirements: list[Requirement]) -> bool:
    for key, operator, values in requirements:
        value = pairs.get(key)
        if operator == "present":
            held = key in pairs
        elif operator == "absent":
            held = key not in pairs
        elif operator == "in":
            held = key in pairs and str(value) in values
        else:
            held = key not in pairs or str(value) not in values
        if not held:
            return False
    return True
