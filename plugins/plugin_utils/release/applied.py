# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Flux applies of a whole environment: its path, and the directories that the Flux Kustomizations in it lead to.

Objects are as they arrive in the cluster: with the namespace that kustomize or a Flux Kustomization sets, and with the
variables whose values stand in ConfigMaps of the environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check import substitution
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import BuildError, UnsupportedError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.findings import Finding
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.flux_objects import (
    Unit,
    home_of,
    is_kustomization,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.kustomize import FILE_NAMES, Place
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.resources import DEFAULT_NAMESPACE, Resource
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.tree import normal
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.unit import UnitBuild, variables
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import mapping, text
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.render import CommitTree, Object, directories

#: A Kustomization leads to others, and these to others; nobody goes this deep.
_MOST_ROUNDS = 20


@dataclass(frozen=True)
class Applied:
    """What an environment applies. `beside` is below its path, and nothing in it leads there: others may, or nobody.

    `written` are the names before variables were replaced, in the order of `objects`. `findings` are mistakes in files,
    `unbuilt` directories that could not be built, with the reason.
    """

    objects: tuple[Resource, ...]
    written: tuple[str, ...] = ()
    beside: tuple[Resource, ...] = ()
    findings: tuple[Finding, ...] = ()
    unbuilt: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Built:
    unit: Unit
    without: tuple[str, ...]
    resources: list[Resource]
    findings: list[Finding]
    reason: str


def applied(tree: CommitTree, paths: Iterable[str], top: str, touched: Iterable[str] = ()) -> Applied:
    """Build everything that an environment at `top` applies, and the directories of the files in `touched`.

    `paths` are those of the tree. Problems are told, never raised.
    """
    top = normal(top)
    builder = UnitBuild(tree)
    with tree.noting() as notes:
        found = _follow(builder, top)
        done = {one.unit.path for one in found}
        for place in directories(tree, touched, top):
            if place not in done and not any(f"{place}/{name}" in notes for name in FILE_NAMES):
                found.append(_build(builder, Unit("", "", place, {}, place, 1, 0), ()))
    inside = [path for path in paths if path.endswith((".yaml", ".yml")) and (top == "." or path.startswith(f"{top}/"))]
    beside = [
        _build(builder, Unit("", "", place, {}, place, 1, 0), ())
        for place in directories(tree, (path for path in inside if path not in notes), top)
        if place != top and not any(f"{place}/{name}" in notes for name in FILE_NAMES)
    ]
    pairs = [(one.unit, resource) for one in found for resource in one.resources]
    written = tuple(resource.name for _unit, resource in pairs)
    _replace_variables(pairs)
    return Applied(
        tuple(resource for _unit, resource in pairs),
        written,
        tuple(resource for one in beside for resource in one.resources),
        tuple(dict.fromkeys(finding for one in found for finding in one.findings)),
        {one.unit.path: one.reason for one in found if one.reason},
    )


def _follow(builder: UnitBuild, top: str) -> list[_Built]:
    """Build the environment's path and what its Flux Kustomizations lead to, until there are no new ones."""
    root = Unit("", "", top, {}, top, 1, 0, is_root=True)
    units, built = {root.key: root}, dict[str, _Built]()
    for _round in range(_MOST_ROUNDS):
        # what a Flux Kustomization brings is not brought a second time by the directory above it
        others = tuple(sorted({unit.path for unit in units.values() if unit.path != top}))
        now = {}
        for key, unit in units.items():
            without = others if unit.path == top else ()
            old = built.get(key)
            now[key] = old if old and (old.unit, old.without) == (unit, without) else _build(builder, unit, without)
        built = now
        children = [child for one in built.values() for resource in one.resources for child in _child(resource)]
        home = home_of(children, top)
        following = {
            child.key: child
            for child in children
            if not child.cluster and (home is None or child.source == home) and not _above(child.path, top)
        }
        if not any(child.path == top for child in following.values()):
            following[root.key] = root
        if following == units:
            break
        units = following
    return list(built.values())


def _build(builder: UnitBuild, unit: Unit, without: tuple[str, ...]) -> _Built:
    builder.builder.findings = []
    resources: list[Resource] = []
    reason = ""
    try:
        place = builder.place(unit)
        if place is None:
            reason = "there is nothing that can be read"
        else:
            if place.generated:
                _leave_out(place, without)
            resources = builder.builder.build(place)
            builder.common_metadata(unit, resources)
    except (UnsupportedError, BuildError) as error:
        reason = str(error)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"a value has a shape that no such field can have ({error})"
    return _Built(unit, without, resources, builder.builder.findings, reason)


def _leave_out(place: Place, paths: Iterable[str]) -> None:
    def covered(entry: str) -> bool:
        full = normal(f"{place.directory}/{entry}")
        return any(full == path or full.startswith(f"{path}/") for path in paths)

    place.content["resources"] = [entry for entry in place.content["resources"] if not covered(str(entry))]


def _child(resource: Resource) -> list[Unit]:
    if not is_kustomization(resource.content):
        return []
    spec = dict(mapping(resource.content, "spec"))
    path = normal(str(spec.get("path") or "./"))
    namespace = resource.namespace or DEFAULT_NAMESPACE
    return [Unit(namespace, resource.name, path, spec, resource.file, resource.line, resource.index)]


def _above(path: str, top: str) -> bool:
    return path != top and (path == "." or top.startswith(f"{path}/"))


def _replace_variables(pairs: Iterable[tuple[Unit, Resource]]) -> None:
    pairs = list(pairs)
    known = {
        f"ConfigMap {one.namespace or DEFAULT_NAMESPACE}/{one.name}": {
            key: text(mapping(one.content, "data"), key) for key in mapping(one.content, "data")
        }
        for _unit, one in pairs
        if one.kind == "ConfigMap"
    }
    for unit, resource in pairs:
        values, _missing = variables(unit, known)
        if values and not substitution.is_disabled(resource.content):
            content, _unset = substitution.substitute(resource.content, values)
            resource.content = content


def has_variables(one: Object) -> bool:
    """Say whether an object's name or namespace holds a variable whose value only the cluster knows."""
    named = text(one, "metadata", "namespace") + text(one, "metadata", "name")
    return "${" in named or substitution.UNKNOWN in named
