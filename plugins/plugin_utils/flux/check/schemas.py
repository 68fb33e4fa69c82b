# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects against the schemas of their kinds: Kubernetes' own, and those of CustomResourceDefinitions.

Kubernetes' schemas are the data of the Python package kubernetes-validate. They are compiled to functions, since its
own entry reads and resolves a megabyte for each object. Rules in CEL need an API server and are left to it.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import CheckError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.resources import Object
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.substitution import UNKNOWN

Step = tuple[str | int, ...]
#: (path, message) of what does not fit.
Errors = list[tuple[Step, str]]
Validate = Callable[[Any, Step, Errors], None]
Schema = Mapping[str, Any]
Gvk = tuple[str, str, str]

_NOUNS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}
_PACKAGE = "kubernetes_validate"
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"
#: Groups that belong to Kubernetes itself: a kind or version of theirs without a schema does not exist.
_BUILT_IN = re.compile(r"(apps|batch|autoscaling|policy|extensions||[a-z.]+\.k8s\.io)\Z")
_NOT_BUILT_IN = ("gateway.networking.k8s.io", "metrics.k8s.io", "snapshot.storage.k8s.io", "x-k8s.io")


class Kubernetes(NamedTuple):
    """Kubernetes' own schemas, of one minor version."""

    version: str
    definitions: dict[str, Schema]
    kinds: dict[Gvk, str]
    #: What has been compiled of the definitions so far.
    compiled: dict[str, Validate]


def installed_versions() -> list[str]:
    """Return the minor versions that there are schemas of."""
    return [name.name.removeprefix("v").removesuffix(".0-local-strict") for name in _folders()]


def _folders() -> list[Path]:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise CheckError(
            "wanted the Python library kubernetes-validate, which holds Kubernetes' schemas, found none."
            " Install it for the Python that runs this: pip install kubernetes-validate"
        )
    base = Path(found.submodule_search_locations[0]) / "kubernetes-json-schema"
    folders = [path for path in base.glob("v*-local-strict") if path.is_dir()]
    return sorted(folders, key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)])


@lru_cache(maxsize=2)
def kubernetes(version: str) -> Kubernetes:
    """Return the schemas of a version such as 1.36.3, of which the patch does not matter."""
    minor = re.match(r"v?(\d+)\.(\d+)", version)
    if minor is None:
        raise CheckError(f"kubernetes_version: wanted a version such as 1.36.3, found {version!r}")
    wanted = f"{minor[1]}.{minor[2]}"
    folder = next((path for path in _folders() if path.name == f"v{wanted}.0-local-strict"), None)
    if folder is None:
        known = ", ".join(installed_versions())
        raise CheckError(
            f"kubernetes_version: wanted schemas of Kubernetes {wanted}, kubernetes-validate here has {known}."
            " Install a newer kubernetes-validate, or name one of these versions"
        )
    definitions = json.loads((folder / "_definitions.json").read_bytes())["$defs"]
    kinds: dict[Gvk, str] = {}
    for name, schema in definitions.items():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            if len(schema["x-kubernetes-group-version-kind"]) == 1:
                kinds[kind["group"], kind["version"], kind["kind"]] = name
    return Kubernetes(wanted, definitions, kinds, {})


def crd_schemas(content: Object) -> dict[Gvk, Schema]:
    """Return the schemas that a CustomResourceDefinition brings, by kind; of served versions only."""
    spec = content.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("names"), dict):
        return {}
    found: dict[Gvk, Schema] = {}
    for version in spec.get("versions") or ():
        if not isinstance(version, dict) or not version.get("served", True):
            continue
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if isinstance(schema, dict):
            found[str(spec.get("group")), str(version.get("name")), str(spec["names"].get("kind"))] = schema
    return found


class Schemas:
    """Every schema that there is for a run."""

    def __init__(self, version: str, custom: Mapping[Gvk, Schema]) -> None:
        """Take the Kubernetes version and the schemas of custom resources."""
        self._kubernetes = kubernetes(version)
        self._custom = custom
        self._compiled: dict[Gvk, Validate] = {}

    @property
    def version(self) -> str:
        return self._kubernetes.version

    def versions(self, group: str, kind: str) -> list[str]:
        """Return the versions of a kind that there are schemas of."""
        known = [*self._kubernetes.kinds, *self._custom]
        return sorted(version for found, version, name in known if (found, name) == (group, kind))

    def is_built_in(self, group: str) -> bool:
        """Say whether an API group is Kubernetes' own."""
        if group.endswith(_NOT_BUILT_IN):
            return False
        return group == "" or any(found == group for found, _unused, _unused in self._kubernetes.kinds)

    def find(self, gvk: Gvk) -> Validate | None:
        """Return the check of a kind, or None when there is no schema of it."""
        if gvk in self._compiled:
            return self._compiled[gvk]
        if gvk in self._custom:
            found = _compile(_with_metadata(self._custom[gvk]), self._by_name)
        elif gvk in self._kubernetes.kinds:
            found = self._by_name(self._kubernetes.kinds[gvk])
        else:
            return None
        self._compiled[gvk] = found
        return found

    def check(self, gvk: Gvk, content: Object) -> Errors | None:
        """Return what does not fit the kind's schema, or None when there is none."""
        validate = self.find(gvk)
        if validate is None:
            return None
        errors: Errors = []
        validate(content, (), errors)
        return errors

    def _by_name(self, name: str) -> Validate:
        """Compile a definition once; definitions may contain themselves, so it is looked up when it is needed."""
        if name not in self._kubernetes.compiled:

            def later(value: Any, path: Step, errors: Errors) -> None:
                self._kubernetes.compiled[name](value, path, errors)

            self._kubernetes.compiled[name] = later
            self._kubernetes.compiled[name] = _compile(self._kubernetes.definitions[name], self._by_name)
        return self._kubernetes.compiled[name]


_METADATA: Schema = {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}


def _with_metadata(schema: Schema) -> Schema:
    properties = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, **schema.get("properties", {})}
    return {**schema, "properties": {**properties, "metadata": _METADATA}}


# -- compiling -----------------------------------------------------------------------------------------------------------


def _compile(schema: Schema, by_name: Callable[[str], Validate]) -> Validate:
    reference = schema.get("$ref")
    if reference is not None:
        name = str(reference).rsplit("/", 1)[-1]
        return by_name(name)
    if _is_int_or_string(schema):
        return _int_or_string
    types = schema.get("type")
    names = {types} if isinstance(types, str) else set(types or ())
    kind = next(iter(sorted(names - {"null"})), "")
    checks = _value_checks(schema, by_name)
    if kind == "object" or "properties" in schema:
        return _object(schema, by_name, checks)
    if kind == "array":
        return _array(schema, by_name, checks)
    return _scalar(kind, checks) if kind or checks else _anything


def _anything(_value: Any, _path: Step, _errors: Errors) -> None:
    """Accept every value."""


def _is_int_or_string(schema: Schema) -> bool:
    if schema.get(_INT_OR_STRING):
        return True
    parts = schema.get("oneOf") or ()
    kinds = [set(part.get("type") or ()) - {"null"} for part in parts if isinstance(part, dict)]
    return "type" not in schema and len(kinds) == 2 and all(kind <= {"string", "integer", "number"} for kind in kinds)


def _int_or_string(value: Any, path: Step, errors: Errors) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (str, int, float))):
        errors.append((path, f"wanted a number or text, found {_found(value)}"))


def _found(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return f"{str(value).lower()} (true or false)"
    return f"the text {value!r}" if isinstance(value, str) else f"the number {value}"


def _object(schema: Schema, by_name: Callable[[str], Validate], checks: list[Validate]) -> Validate:
    properties = {name: _compile(part, by_name) for name, part in (schema.get("properties") or {}).items()}
    more = schema.get("additionalProperties")
    rest = _compile(more, by_name) if isinstance(more, dict) else None
    # Without properties it is a free mapping; a structural schema says so by additionalProperties or by preserving.
    is_open = bool(schema.get(_PRESERVE)) or more is True or (not properties and more is None)
    required = list(schema.get("required") or ())
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))

    def validate(value: Any, path: Step, errors: Errors) -> None:
        if not isinstance(value, dict):
            if value is not None and not (isinstance(value, str) and UNKNOWN in value):
                errors.append((path, f"wanted a mapping, found {_found(value)}"))
            return
        for name, item in value.items():
            check = properties.get(name, rest)
            if check is not None:
                if item is not None:
                    check(item, (*path, name), errors)
            elif not is_open and not (embedded and name in ("apiVersion", "kind", "metadata")):
                errors.append(((*path, name), _unknown(name, properties)))
        for name in required:
            if value.get(name) is None:
                errors.append((path, f"the field {name} is missing. Add it"))
        for check in checks:
            check(value, path, errors)

    return validate


def _unknown(name: str, properties: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(properties), n=1)
    known = sorted(properties)
    few = f"Known here: {', '.join(known[:12])}{' …' if len(known) > 12 else ''}"
    return f"there is no field {name}. {f'Write {close[0]}' if close else few if known else 'Remove it'}"


def _array(schema: Schema, by_name: Callable[[str], Validate], checks: list[Validate]) -> Validate:
    items = schema.get("items")
    check_item = _compile(items, by_name) if isinstance(items, dict) else _anything

    def validate(value: Any, path: Step, errors: Errors) -> None:
        if not isinstance(value, list):
            if value is not None and not (isinstance(value, str) and UNKNOWN in value):
                errors.append((path, f"wanted a list, found {_found(value)}"))
            return
        for number, item in enumerate(value):
            check_item(item, (*path, number), errors)
        for check in checks:
            check(value, path, errors)

    return validate


def _scalar(kind: str, checks: list[Validate]) -> Validate:
    def fits(value: Any) -> bool:
        if kind == "string":
            return isinstance(value, str)
        if kind == "boolean":
            return isinstance(value, bool)
        if kind == "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        return isinstance(value, (int, float)) and not isinstance(value, bool)

    def validate(value: Any, path: Step, errors: Errors) -> None:
        if value is None or (isinstance(value, str) and UNKNOWN in value):
            return
        if kind and not fits(value):
            fix = ". Quote it" if kind == "string" and not isinstance(value, (dict, list)) else ""
            if kind in ("integer", "number", "boolean") and isinstance(value, str):
                fix = ". Remove the quotes" if value else ""
            errors.append((path, f"wanted {_NOUNS.get(kind, kind)}, found {_found(value)}{fix}"))
            return
        for check in checks:
            check(value, path, errors)

    return validate


def _value_checks(schema: Schema, by_name: Callable[[str], Validate]) -> list[Validate]:
    checks: list[Validate] = []
    allowed = [value for value in schema.get("enum") or () if value is not None]
    if allowed:
        checks.append(_enum(allowed))
    if isinstance(schema.get("pattern"), str):
        found = _pattern(schema["pattern"])
        checks += [found] if found else []
    for key, test, words in _BOUNDS:
        if isinstance(schema.get(key), (int, float)) and not isinstance(schema[key], bool):
            checks.append(_bound(schema[key], test, words))
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            checks.append(_any_of([_compile(part, by_name) for part in schema[key] if isinstance(part, dict)]))
    for part in schema.get("allOf") or ():
        if isinstance(part, dict) and not part.get("anyOf"):
            checks.append(_narrowing(part, by_name))
    return checks


def _enum(allowed: list[Any]) -> Validate:
    def check(value: Any, path: Step, errors: Errors) -> None:
        if value not in allowed:
            errors.append((path, f"{value!r} is none of {', '.join(str(one) for one in allowed)}"))

    return check


def _pattern(pattern: str) -> Validate | None:
    try:
        # Go writes $ and \z for the end of the text.
        compiled = re.compile(re.sub(r"(?<!\\)\$\Z", r"\\Z", pattern).replace(r"\z", r"\Z"))
    except re.error:
        return None  # Go's own syntax; the API server checks it

    def check(value: Any, path: Step, errors: Errors) -> None:
        if isinstance(value, str) and not compiled.search(value):
            errors.append((path, f"{value!r} does not match {pattern}"))

    return check


def _size(value: Any) -> int:
    return len(value) if isinstance(value, (str, list, dict)) else 0


_BOUNDS: tuple[tuple[str, Callable[[Any, float], bool], str], ...] = (
    ("minimum", lambda value, limit: value >= limit, "less than"),
    ("maximum", lambda value, limit: value <= limit, "more than"),
    ("minLength", lambda value, limit: _size(value) >= limit, "shorter than"),
    ("maxLength", lambda value, limit: _size(value) <= limit, "longer than"),
    ("minItems", lambda value, limit: _size(value) >= limit, "fewer items than"),
    ("maxItems", lambda value, limit: _size(value) <= limit, "more items than"),
)


def _bound(limit: float, holds: Callable[[Any, float], bool], words: str) -> Validate:
    def check(value: Any, path: Step, errors: Errors) -> None:
        if not holds(value, limit):
            shown = value if isinstance(value, (int, float)) else _size(value)
            errors.append((path, f"{shown} is {words} {limit:g}"))

    return check


def _branch(validate: Validate, value: Any) -> Errors:
    errors: Errors = []
    validate(value, (), errors)
    return errors


def _any_of(branches: list[Validate]) -> Validate:
    def check(value: Any, path: Step, errors: Errors) -> None:
        found = [_branch(validate, value) for validate in branches]
        if found and all(found):
            words = " or ".join(dict.fromkeys(f"{one[0][1]}" for one in found))
            errors.append((path, f"none of the alternatives fits: {words}"))

    return check


def _narrowing(part: Schema, by_name: Callable[[str], Validate]) -> Validate:
    """A part of allOf adds to what the schema around it says; it does not close the mapping."""
    return _compile({**part, _PRESERVE: True}, by_name) if "properties" in part else _compile(part, by_name)
