# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One Flux Kustomization: built, substituted, and every object of it checked."""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check import (
    clear_secrets,
    program,
    removed_apis,
    substitution,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.documents import named_path, position
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import BuildError, UnsupportedError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.findings import Finding
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.flux_objects import (
    SOURCE_GROUPS,
    Unit,
    is_kustomization,
    is_release,
    source_of,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.kustomize import (
    Builder,
    Place,
    find_file,
    not_an_object,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.resources import (
    DEFAULT_NAMESPACE,
    Object,
    Resource,
    copied,
    label,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.schemas import Schemas
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.tree import Tree, normal

#: Key of values that come from where only the cluster can look: every name has a value.
ANY = "*"
_NOT_SCANNED = frozenset({
    ".sops.yaml", ".flux.yaml", ".goreleaser.yml", ".travis.yml", ".gitlab-ci.yml", "appveyor.yml", ".drone.yml",
    "cloudbuild.yaml", "codeship-services.yml", "codeship-steps.yml",
})  # fmt: skip
_NOT_DESCENDED = (".git/", ".github/", ".circleci/")
_SHARED_OWNERSHIP = {"kustomize.toolkit.fluxcd.io/ssa": ("merge", "ifnotpresent", "ignore")}
_CLUSTER_WIDE = frozenset({
    "APIService", "CSIDriver", "CSINode", "CertificateSigningRequest", "ClusterRole", "ClusterRoleBinding",
    "CustomResourceDefinition", "FlowSchema", "IngressClass", "MutatingWebhookConfiguration", "Namespace", "Node",
    "PersistentVolume", "PriorityClass", "PriorityLevelConfiguration", "RuntimeClass", "StorageClass",
    "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration", "VolumeAttachment",
    "ClusterIssuer", "ClusterSecretStore", "ClusterExternalSecret", "GatewayClass",
})  # fmt: skip


@dataclass
class UnitResult:
    """What became of a unit, in plain values that can be stored."""

    findings: list[Finding] = field(default_factory=list)
    #: [cluster, group, kind, namespace, name, file, line, owner]
    objects: list[list[Any]] = field(default_factory=list)
    children: list[dict[str, Any]] = field(default_factory=list)
    #: [kind, namespace, name, file, line, source, [[namespace, name, line], ...]]
    nodes: list[list[Any]] = field(default_factory=list)
    #: [kind, namespace, name] of sources that the objects are.
    sources: list[list[str]] = field(default_factory=list)
    #: [kind, namespace, name, file, line, who wants it]
    wanted_sources: list[list[Any]] = field(default_factory=list)
    #: "Kind namespace/name" of ConfigMaps and Secrets, with what their keys hold; of Secrets only the keys.
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    unchecked_kinds: list[str] = field(default_factory=list)
    #: What the result was made from, by path; None when that is not known.
    notes: dict[str, str] | None = field(default_factory=dict)


class OpenValues(dict[str, str]):
    """Values of which some come from where only the cluster can look: every other name has a value, too."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value, or the stand-in for one that is not known here."""
        return super().get(key, substitution.UNKNOWN)


class UnitBuild:
    """Reads what units of one repository build, one after the other; what is wrong is in the builder's findings."""

    def __init__(self, tree: Tree) -> None:
        """Take the files."""
        self.tree = tree
        self.builder = Builder(tree)

    def place(self, unit: Unit) -> Place | None:
        """Return what a unit builds: its directory's kustomization, or the one made in its place, with what it adds itself."""
        if not self.tree.is_directory(unit.path):
            written = unit.spec.get("path") or "./"
            message = (
                f"{unit.label} is to build {written}, and there is no such directory. Correct spec.path, or add it"
            )
            self.builder.findings.append(self._at_unit(unit, ("spec", "path"), "path-not-found", message))
            return None
        file = find_file(self.tree, unit.path)
        place = self.builder.load(unit.path) if file else self._generated(unit)
        if place is not None:
            self._merge_spec(unit, place)
        return place

    def _at_unit(self, unit: Unit, path: Sequence[str | int], rule: str, message: str) -> Finding:
        data = self.tree.read(unit.file)
        line = unit.line if data is None else position(data, unit.index, path)[0]
        return Finding(unit.file, line, "error", rule, message)

    def _generated(self, unit: Unit) -> Place:
        """Return the kustomization that the controller makes where there is none: of every YAML file below."""
        ignored = _Ignored(self.tree, unit.path)
        paths = list(self._scan(unit.path, ignored))
        if not paths and ignored.rules and any(self._scan(unit.path, None)):
            message = (
                f"{unit.label} builds {unit.path}, and .sourceignore leaves out every YAML file in it, so nothing of it is applied."
                " Take it in again by a line that begins with !, or remove the Kustomization"
            )
            found = self._at_unit(unit, ("spec", "path"), "path-ignored", message)
            self.builder.findings.append(found._replace(severity="warning"))
        content: Object = {"resources": [posixpath.relpath(path, unit.path) for path in paths]}
        return Place(unit.path, posixpath.join(unit.path, "kustomization.yaml"), content, generated=True)

    def _scan(self, directory: str, ignored: _Ignored | None) -> Iterator[str]:
        for name in self.tree.names(directory):
            path = normal(posixpath.join(directory, name))
            if name.endswith("/"):
                if name in _NOT_DESCENDED:
                    continue
                file = find_file(self.tree, path)
                if file and not (ignored and ignored.matches(file)):
                    yield path
                else:
                    yield from self._scan(path, ignored)
            elif (
                name.endswith((".yaml", ".yml"))
                and name not in _NOT_SCANNED
                and not (ignored and ignored.matches(path))
            ):
                yield path

    def _merge_spec(self, unit: Unit, place: Place) -> None:
        """Write into a kustomization what the Flux Kustomization adds to it, as the controller does."""
        spec, content = unit.spec, place.content
        for key, theirs in (
            ("targetNamespace", "namespace"),
            ("namePrefix", "namePrefix"),
            ("nameSuffix", "nameSuffix"),
        ):
            if spec.get(key):
                content[theirs] = spec[key]
        if spec.get("targetNamespace"):
            found = self._at_unit(unit, ("spec", "targetNamespace"), "", "")
            place.foreign["namespace", 0] = (found.file, found.line)
        for key in ("patches", "patchesStrategicMerge", "patchesJson6902"):
            self._append(unit, place, key, spec.get(key) or [])
        self._append(unit, place, "components", self._components(unit))
        images = content.get("images")
        content["images"] = _images(images if isinstance(images, list) else [], spec.get("images") or [])
        if spec.get("buildMetadata"):
            content["buildMetadata"] = spec["buildMetadata"]

    def _append(self, unit: Unit, place: Place, key: str, entries: Any) -> None:
        if not isinstance(entries, list) or not entries:
            return
        there = place.content.get(key)
        merged = list(there) if isinstance(there, list) else []
        for number, entry in enumerate(entries):
            found = self._at_unit(unit, ("spec", key, number), "", "")
            place.foreign[key, len(merged)] = (found.file, found.line)
            merged.append(copied(entry))
        place.content[key] = merged

    def _components(self, unit: Unit) -> list[Any]:
        found = unit.spec.get("components")
        paths = found if isinstance(found, list) else []
        if unit.spec.get("ignoreMissingComponents") is True:
            paths = [path for path in paths if self.tree.is_directory(normal(posixpath.join(unit.path, str(path))))]
        return paths

    def common_metadata(self, unit: Unit, resources: list[Resource]) -> None:
        """Write a unit's commonMetadata into what was built."""
        common = unit.spec.get("commonMetadata")
        for field_name in ("labels", "annotations"):
            pairs = common.get(field_name) if isinstance(common, dict) else None
            if isinstance(pairs, dict):
                for resource in resources:
                    there = resource.metadata.get(field_name)
                    resource.metadata[field_name] = {**(there if isinstance(there, dict) else {}), **pairs}


class UnitCheck(UnitBuild):
    """Checks units of one repository, one after the other."""

    def __init__(self, tree: Tree, schemas: Schemas) -> None:
        """Take the files and the schemas."""
        super().__init__(tree)
        self.schemas = schemas

    def run(self, unit: Unit, values: Mapping[str, str] | None, missing: Sequence[str]) -> UnitResult:
        """Check a unit. `values` are for its variables, None when there is no substitution at all."""
        result = UnitResult()
        self.builder.findings = []
        with self.tree.noting() as notes:
            resources, by_program = self._build(unit)
            result.findings += self.builder.findings
            self.common_metadata(unit, resources)
            if values is not None:
                self._substitute(unit, resources, values, missing, result)
            for resource in resources:
                self._check(unit, resource, result)
        result.notes = None if by_program else notes
        result.findings = sorted(set(result.findings))
        return result

    # -- where ---------------------------------------------------------------------------------------------------------

    def _line(self, resource: Resource, path: Sequence[str | int]) -> tuple[str, int]:
        """Return file and line of a value: where the object is written, or the patch that brought it."""
        data = self.tree.read(resource.file)
        steps = named_path(resource.content, path)
        if data is None or resource.file.rsplit("/", 1)[-1].startswith(("kustomization.y", "Kustomization")):
            return resource.file, resource.line
        line, depth = position(data, resource.index, steps)
        if depth < len(steps):
            for file, patch_line, text in reversed(resource.patched_by):
                found = self._line_in_patch(file, patch_line, text, steps, depth)
                if found:
                    return file, found
        return resource.file, line

    def _line_in_patch(self, file: str, line: int, text: str, steps: Sequence[str | int], depth: int) -> int:
        """Return the line of a value in a patch, or 0 when the patch did not bring it."""
        word = str(steps[depth])
        if text:
            return line if word in text else 0
        data = self.tree.read(file) or b""
        found, deep = position(data, 0, steps)
        if deep > depth:
            return found
        before, there, _unused = data.partition(word.encode())
        return before.count(b"\n") + 1 if there else 0

    # -- build ---------------------------------------------------------------------------------------------------------

    def _build(self, unit: Unit) -> tuple[list[Resource], bool]:
        place = self.place(unit)
        if place is None:
            return [], False
        try:
            return self.builder.build(place), False
        except UnsupportedError as reason:
            return self._build_by_program(unit, place, str(reason)), True
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # Shapes that nobody thought of: kustomize panics at some of them, and its callers recover as we do.
            message = f"{unit.path} cannot be built: a value in it has a shape that no such field can have ({error})"
            self.builder.report(place.file, (), "build-failed", message)
            return [], False

    def _build_by_program(self, unit: Unit, place: Place, reason: str) -> list[Resource]:
        try:
            built = program.build(self.tree.root, unit.path, place.content, reason)
        except BuildError as error:
            self.builder.report(place.file, (), "build-failed", f"{unit.path} cannot be built: {error}")
            return []
        return [Resource(content, place.file) for content in built if not not_an_object(content)]

    # -- substitution --------------------------------------------------------------------------------------------------

    def _substitute(
        self,
        unit: Unit,
        resources: list[Resource],
        values: Mapping[str, str],
        missing: Sequence[str],
        result: UnitResult,
    ) -> None:
        for number, reference in enumerate(_references(unit.spec)):
            name = f"{reference.get('kind')} {unit.namespace}/{reference.get('name')}"
            if name in missing and reference.get("optional") is not True:
                message = (
                    f"{unit.label} takes variables from {name}, which no overlay of this cluster brings."
                    " Add it, correct the name, or set optional: true"
                )
                path = ("spec", "postBuild", "substituteFrom", number)
                result.findings.append(self._at_unit(unit, path, "substitute-from-missing", message))
        for name in values:
            if name != ANY and not substitution.NAME.match(name):
                message = (
                    f"{name!r} is no name of a variable: only letters, digits and _, no digit first. Rename the key"
                )
                result.findings.append(self._at_unit(unit, ("spec", "postBuild"), "variable-name", message))
        known = OpenValues(values) if ANY in values else values
        always = _post_build(unit.spec).get("substituteStrategy") == "Always"
        if not values and not always:
            return
        for resource in resources:
            if not substitution.is_disabled(resource.content):
                content, unset = substitution.substitute(resource.content, known)
                for one in unset:
                    result.findings.append(self._unset(unit, resource, one))
                resource.content = content

    def _unset(self, unit: Unit, resource: Resource, unset: substitution.Unset) -> Finding:
        file, line = self._line(resource, unset.path)
        if unset.message:
            if resource.kind == "Secret":  # what it holds must not be told
                message = (
                    f"{label(resource.content)}: the variables in it cannot be replaced. Write $${{ for the text ${{"
                )
                return Finding(file, line, "error", "substitution-invalid", message)
            return Finding(file, line, "error", "substitution-invalid", f"{label(resource.content)}: {unset.message}")
        sources = [f"{reference.get('kind')} {reference.get('name')}" for reference in _references(unit.spec)]
        tried = ", ".join(["spec.postBuild.substitute", *sources])
        message = (
            f"{label(resource.content)}: the variable {unset.name} has no value in {tried} of {unit.label}. Set it there, give a"
            f" default (${{{unset.name}:-default}}), or write $${{{unset.name}}} if the text is meant (whole object:"
            " annotation kustomize.toolkit.fluxcd.io/substitute: disabled)"
        )
        return Finding(file, line, "error", "variable-unset", message)

    # -- objects -------------------------------------------------------------------------------------------------------

    def _check(self, unit: Unit, resource: Resource, result: UnitResult) -> None:
        content = resource.content
        for path, rule, message in clear_secrets.in_object(content):
            file, line = self._line(resource, path)
            severity = "error" if rule == "secret-in-clear" else "warning"
            result.findings.append(Finding(file, line, severity, rule, message))  # type: ignore[arg-type]
        if clear_secrets.is_encrypted(content):
            if not unit.spec.get("decryption") and unit.name:
                message = f"{label(content)} is encrypted by SOPS, and {unit.label} has no spec.decryption. Add it"
                result.findings.append(Finding(resource.file, resource.line, "error", "decryption-missing", message))
        else:
            self._check_kind(resource, result)
        self._own(unit, resource, result)
        self._flux_object(unit, resource, result)
        self._keep_values(content, resource.namespace or DEFAULT_NAMESPACE, result)

    def _check_kind(self, resource: Resource, result: UnitResult) -> None:
        content = resource.content

        def add(path: Sequence[str | int], rule: str, message: str) -> None:
            file, line = self._line(resource, path)
            result.findings.append(Finding(file, line, "error", rule, f"{label(content)}: {message}"))

        gone = removed_apis.removed(content, self.schemas.version)
        if gone is not None:
            since = f" since Kubernetes {gone.since}" if gone.since else ""
            add(
                ("apiVersion",),
                "removed-api",
                f"{gone.api_version} is not served any more{since}. Write {gone.instead}",
            )
        fields = dict(removed_apis.removed_fields(content))
        for path, instead in fields.items():
            add(path, "removed-field", f"the field {'.'.join(path)} does not exist in this version. Write {instead}")
        gvk = resource.gvk
        errors = self.schemas.check(gvk, content)
        if errors is None:
            if gone is None:
                self._without_schema(resource, gvk, add, result)
            return
        for step, message in errors:
            hidden = content.get("kind") == "Secret" and step[:1] in (("data",), ("stringData",))
            told = "the value is not text. Quote it" if hidden else message
            if not any(step[: len(path)] == path for path in fields):
                where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in step).lstrip(".")
                add(step, "schema", f"{where}: {told}" if where else told)

    def _without_schema(self, resource: Resource, gvk: tuple[str, str, str], add: Any, result: UnitResult) -> None:
        group, version, kind = gvk
        versions = self.schemas.versions(group, kind)
        api_version = f"{group}/{version}" if group else version
        if versions:
            message = f"{api_version} is not served for this kind. Write {group + '/' if group else ''}{versions[-1]}"
            add(("apiVersion",), "unknown-kind", message)
        elif self.schemas.is_built_in(group):
            add(
                ("kind",),
                "unknown-kind",
                f"Kubernetes {self.schemas.version} has no {kind} in {api_version}. Correct it",
            )
        else:
            result.unchecked_kinds.append(f"{api_version} {kind}")

    def _own(self, unit: Unit, resource: Resource, result: UnitResult) -> None:
        group, _unused, kind = resource.gvk
        annotations = resource.metadata.get("annotations")
        annotations = annotations if isinstance(annotations, dict) else {}
        if any(str(annotations.get(key, "")).lower() in values for key, values in _SHARED_OWNERSHIP.items()):
            return
        namespace = "" if kind in _CLUSTER_WIDE else resource.namespace or DEFAULT_NAMESPACE
        result.objects.append([
            unit.cluster, group, kind, namespace, resource.name, resource.file, resource.line, unit.label,
        ])  # fmt: skip
        own = kind == "Namespace" and resource.name == unit.namespace and not unit.is_root and not unit.cluster
        if own and unit.name and unit.spec.get("prune") is True:
            message = (
                f"{unit.label} prunes, and holds the namespace {unit.namespace} that it lives in: removing it deletes"
                " this Kustomization and all beside it. Leave the namespace to the bootstrap"
            )
            result.findings.append(Finding(resource.file, resource.line, "warning", "prunes-own-namespace", message))

    def _flux_object(self, unit: Unit, resource: Resource, result: UnitResult) -> None:
        content = resource.content
        group, _unused, kind = resource.gvk
        spec = content.get("spec")
        spec = spec if isinstance(spec, dict) else {}
        if group in SOURCE_GROUPS:
            result.sources.append([kind, resource.namespace or DEFAULT_NAMESPACE, resource.name])
        if unit.cluster or not (is_kustomization(content) or is_release(content)):
            return
        namespace = resource.namespace or DEFAULT_NAMESPACE
        file, line = self._line(resource, ())
        depends_on = []
        entries = spec.get("dependsOn")
        for number, entry in enumerate(entries if isinstance(entries, list) else ()):
            if isinstance(entry, dict) and entry.get("name"):
                at = self._line(resource, ("spec", "dependsOn", number))[1]
                depends_on.append([str(entry.get("namespace") or namespace), str(entry["name"]), at])
        reference, path = _source_reference(kind, spec)
        source = source_of(reference, namespace)
        at_file, at_line = self._line(resource, path)
        if reference:
            result.wanted_sources.append([*source, at_file, at_line, f"{kind} {namespace}/{resource.name}"])
        source_text = f"{source[0]} {source[1]}/{source[2]}"
        result.nodes.append([kind, namespace, resource.name, file, line, source_text, depends_on])
        if kind == "Kustomization":
            written = str(spec.get("path") or "./")
            child = Unit(namespace, resource.name, normal(written), spec, resource.file, line, resource.index)
            result.children.append(child.plain())

    def _keep_values(self, content: Object, namespace: str, result: UnitResult) -> None:
        kind = str(content.get("kind"))
        metadata = content["metadata"]
        found = _values(content)
        if found is not None:
            kind, name, values = found
            result.values[f"{kind} {namespace}/{name or metadata.get('name')}"] = values


def _values(content: Object) -> tuple[str, str, dict[str, str]] | None:
    """Return kind, name (empty for its own) and the values that an object gives to substituteFrom."""
    kind = content.get("kind")
    spec = content.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    if kind == "ConfigMap":
        data = content.get("data")
        return "ConfigMap", "", {key: str(value) for key, value in data.items()} if isinstance(data, dict) else {}
    if kind == "Secret":
        fields = [content.get(name) for name in ("data", "stringData")]
        keys = [key for values in fields if isinstance(values, dict) for key in values]
    elif kind == "SealedSecret":
        encrypted = spec.get("encryptedData")
        keys = list(encrypted) if isinstance(encrypted, dict) else []
    elif kind == "ExternalSecret":
        target = spec.get("target")
        target = target if isinstance(target, dict) else {}
        keys = [str(item.get("secretKey")) for item in spec.get("data") or () if isinstance(item, dict)]
        keys += [ANY] if spec.get("dataFrom") or target.get("template") else []
        return "Secret", str(target.get("name") or ""), dict.fromkeys(keys, substitution.UNKNOWN)
    else:
        return None
    return "Secret", "", dict.fromkeys(keys, substitution.UNKNOWN)


def _source_reference(kind: str, spec: Object) -> tuple[Any, tuple[str, ...]]:
    if kind == "Kustomization":
        return spec.get("sourceRef"), ("spec", "sourceRef")
    if spec.get("chartRef"):
        return spec["chartRef"], ("spec", "chartRef")
    chart = spec.get("chart")
    chart_spec = chart.get("spec") if isinstance(chart, dict) else None
    reference = chart_spec.get("sourceRef") if isinstance(chart_spec, dict) else None
    return reference, ("spec", "chart", "spec", "sourceRef")


def _post_build(spec: Object) -> Object:
    found = spec.get("postBuild")
    return found if isinstance(found, dict) else {}


def _references(spec: Object) -> list[Object]:
    found = _post_build(spec).get("substituteFrom")
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def variables(unit: Unit, known: Mapping[str, Mapping[str, str]]) -> tuple[dict[str, str] | None, list[str]]:
    """Return the values of a unit's variables (None without substitution) and the sources that are not known."""
    if not unit.spec.get("postBuild"):
        return None, []
    values: dict[str, str] = {}
    missing: list[str] = []
    for reference in _references(unit.spec):
        name = f"{reference.get('kind')} {unit.namespace}/{reference.get('name')}"
        if name in known:
            values.update({key: value.replace("\n", "") for key, value in known[name].items()})
        else:
            missing.append(name)
    inline = _post_build(unit.spec).get("substitute")
    if isinstance(inline, dict):
        values.update({key: str(value).replace("\n", "") for key, value in inline.items() if value is not None})
    return values, missing


def _images(there: list[Any], wanted: Any) -> list[Any]:
    """Merge a Flux Kustomization's images into a kustomization's, by name."""
    merged = [dict(image) for image in there if isinstance(image, dict)]
    for image in wanted if isinstance(wanted, list) else ():
        found = next((one for one in merged if one.get("name") == image.get("name")), None)
        if found is None:
            merged.append(dict(image))
            continue
        if image.get("newName"):
            found["newName"] = image["newName"]
        if image.get("newTag") or image.get("digest"):
            found.pop("newTag", None)
            found.pop("digest", None)
            found.update({key: image[key] for key in ("newTag", "digest") if image.get(key)})
    return merged


class _Ignored:
    """The patterns of .sourceignore files above and in a directory (those of .gitignore, without character classes).

    As in Flux (fluxcd/pkg, sourceignore/gitignore), only files are asked for, a pattern that fits a directory fits all below
    it, and the last that fits decides: unlike in Git, a file can be taken in again below a directory that is left out.
    A `**` at an end of a pattern, with which Flux has ways of its own, is read as in Git.
    """

    def __init__(self, tree: Tree, directory: str) -> None:
        #: Directory, segments, whether it takes in again, whether the last segment has to be a directory.
        self.rules: list[tuple[list[str], list[str], bool, bool]] = []
        parts = [] if directory == "." else directory.split("/")
        for count in range(len(parts) + 1):
            base = parts[:count]
            data = tree.read(normal(posixpath.join(*base, ".sourceignore")))
            for line in (data or b"").decode(errors="replace").splitlines():
                pattern = line.rstrip()
                if not pattern or pattern.startswith("#"):
                    continue
                negated = pattern.startswith("!")
                pattern = pattern.removeprefix("!")
                only_directories = pattern.endswith("/")
                pattern = pattern.removesuffix("/")
                segments = pattern.removeprefix("/").split("/") if "/" in pattern else ["**", pattern]
                self.rules.append((base, segments, negated, only_directories))

    def matches(self, path: str) -> bool:
        """Say whether a file is left out."""
        parts = path.split("/")
        ignored = False
        for base, segments, negated, only_directories in self.rules:
            inside = parts[len(base) :]
            if parts[: len(base)] == base and _fits(segments, inside, only_directories=only_directories):
                ignored = not negated
        return ignored


def _fits(segments: Sequence[str], parts: Sequence[str], *, only_directories: bool) -> bool:
    """Say whether segments of a pattern fit a file's path, or a directory that it lies in; `**` is any number of them."""
    if not segments:
        return bool(parts) or not only_directories
    first, rest = segments[0], segments[1:]
    if first == "**":
        return any(_fits(rest, parts[skipped:], only_directories=only_directories) for skipped in range(len(parts)))
    if not parts or not fnmatch.fnmatchcase(parts[0], first):
        return False
    return _fits(rest, parts[1:], only_directories=only_directories)
