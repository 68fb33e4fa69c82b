# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who waits for whom: dependsOn between live objects, who applies whom, and where neither can end. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import kinds
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import (
    Object,
    Ref,
    condition,
    listed,
    mapping,
    ref,
    text,
)

Objects = Mapping[Ref, Object]
#: How the controllers say that a readyExpr is false, and that it cannot be evaluated (checkDependencies, evalReadyExpr).
_NOT_TRUE = re.compile(r"dependency '([^'/]+)/([^']+)' is not ready according to readyExpr eval")
_NOT_EVALUATED = "failed to evaluate the CEL expression '{}'"


@dataclass(frozen=True)
class Expression:
    """A `readyExpr` (CEL), and the dependency that it asks whether to go on."""

    need: Ref
    text: str


def dependencies(item: Object) -> list[Ref]:
    """Return what an object depends on: objects of its own kind, in its own namespace unless said otherwise."""
    own = ref(item)
    return [
        Ref(own.group, own.kind, text(entry, "namespace") or own.namespace, text(entry, "name"))
        for entry in listed(item, "spec", "dependsOn")
    ]


def expressions(item: Object) -> list[Expression]:
    """Return the expressions that take the place of Flux's own check whether a dependency is ready."""
    entries = zip(dependencies(item), listed(item, "spec", "dependsOn"), strict=True)
    return [Expression(need, text(entry, "readyExpr")) for need, entry in entries if text(entry, "readyExpr")]


def unmet(item: Object) -> Expression | None:
    """Return the expression that an object waits for, as its controller says; CEL is not evaluated here."""
    ready = condition(item, "Ready")
    if text(ready, "reason") != "DependencyNotReady":
        return None
    said = text(ready, "message")
    found = _NOT_TRUE.search(said)
    for expression in expressions(item):
        named = found is not None and found.groups() == (expression.need.namespace, expression.need.name)
        if named or _NOT_EVALUATED.format(expression.text) in said:
            return expression
    return None


def cycles(objects: Objects) -> list[tuple[Ref, ...]]:
    """Return every group of objects that wait for each other, as the way around (the first is also the last)."""
    left = {named: [d for d in dependencies(item) if d in objects] for named, item in objects.items()}
    found: list[tuple[Ref, ...]] = []
    while True:
        try:
            tuple(TopologicalSorter(left).static_order())
        except CycleError as error:
            around = tuple(reversed(error.args[1]))
            found.append(around)
            left = {named: needs for named, needs in left.items() if named not in around}
            left = {named: [n for n in needs if n in left] for named, needs in left.items()}
        else:
            return found


def way(around: Iterable[Ref]) -> str:
    """Write a cycle down: `a → b → a`."""
    return " → ".join(f"{named.namespace}/{named.name}" for named in around)


def closure(start: Collection[Ref], objects: Objects) -> set[Ref]:
    """Return `start` and all that it depends on, also what is not there."""
    found: set[Ref] = set()
    left = list(start)
    while left:
        named = left.pop()
        if named not in found:
            found.add(named)
            item = objects.get(named)
            left += dependencies(item) if item is not None else []
    return found


def appliers(objects: Objects) -> dict[Ref, Ref]:
    """Return of each of Flux's objects which other one has applied it, by the inventories."""
    return {
        child: named
        for named, item in objects.items()
        if not mapping(item, "spec", "kubeConfig")
        for child in kinds.inventory(item)
        if kinds.is_flux(child) and child != named
    }


def owners(objects: Objects) -> dict[Ref, list[Ref]]:
    """Return of each applied object who has it in its inventory; who applies to other clusters is left out."""
    found: dict[Ref, list[Ref]] = {}
    for named, item in objects.items():
        if not mapping(item, "spec", "kubeConfig"):
            for child in kinds.inventory(item):
                found.setdefault(child, []).append(named)
    return found


def followers(source: Ref, objects: Objects) -> set[Ref]:
    """Return the Kustomizations and HelmReleases that take their content from `source`."""
    return {
        named
        for named, item in objects.items()
        if kinds.is_flux(named) and kinds.BY_NAME[named.kind].follows and kinds.source_of(item) == source
    }


def descendants(start: Collection[Ref], objects: Objects) -> set[Ref]:
    """Return the Kustomizations and HelmReleases that `start` has applied, and those that these have."""
    parents = appliers(objects)
    found = set(start)
    grown = True
    while grown:
        more = {child for child, parent in parents.items() if parent in found and child not in found}
        more = {child for child in more if kinds.BY_NAME[child.kind].follows}
        found |= more
        grown = bool(more)
    return found - set(start)
