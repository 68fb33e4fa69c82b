# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Flux's objects need from each other: sources, dependencies, and who owns an object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.findings import Finding


class Node(NamedTuple):
    """A Kustomization or HelmRelease: where it is, its source, and what it depends on, with lines."""

    kind: str
    namespace: str
    name: str
    file: str
    line: int
    source: str
    depends_on: tuple[tuple[str, str, int], ...]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.namespace, self.name

    @property
    def label(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class Owned(NamedTuple):
    """An object and the Kustomization that applies it; `cluster` is the remote cluster's kubeconfig, or empty."""

    cluster: str
    group: str
    kind: str
    namespace: str
    name: str
    file: str
    line: int
    owner: str


def missing_dependencies(nodes: Iterable[Node]) -> list[Finding]:
    """Return dependencies that are not there: what depends on them waits for ever."""
    nodes = list(nodes)
    known = {node.key for node in nodes}
    elsewhere = {(kind, name): namespace for kind, namespace, name in known}
    findings = []
    for node in nodes:
        for namespace, name, line in node.depends_on:
            if (node.kind, namespace, name) in known:
                continue
            other = elsewhere.get((node.kind, name))
            fix = (
                f"There is one in the namespace {other}: add namespace: {other}"
                if other
                else "Correct the name, or add it"
            )
            message = f"{node.label} depends on {node.kind} {namespace}/{name}, which is not there, so it waits for ever. {fix}"
            findings.append(Finding(node.file, line, "error", "dependency-missing", message))
    return findings


def cycles(nodes: Iterable[Node]) -> list[Finding]:
    """Return each cycle of dependencies once, at its first object."""
    by_key = {node.key: node for node in nodes}
    findings = []
    for members in _components(by_key):
        path = _cycle(members, by_key)
        first = path[0]
        steps = " -> ".join(f"{node.namespace}/{node.name} ({node.file}:{node.line})" for node in [*path, first])
        effect = (
            f"no Kustomization of {first.source} follows new commits until it is cut"
            if first.kind == "Kustomization"
            else "none of them is ever installed"
        )
        message = f"{first.kind}s depend on each other in a circle: {steps}; {effect}. Remove one of the dependsOn"
        findings.append(Finding(first.file, first.line, "error", "dependency-cycle", message))
    return findings


def _components(by_key: Mapping[tuple[str, str, str], Node]) -> list[set[tuple[str, str, str]]]:
    """Strongly connected components that are cycles (Tarjan's algorithm, without recursion)."""
    index: dict[tuple[str, str, str], int] = {}
    low: dict[tuple[str, str, str], int] = {}
    stack: list[tuple[str, str, str]] = []
    on_stack: set[tuple[str, str, str]] = set()
    found: list[set[tuple[str, str, str]]] = []
    edges = {
        key: [
            target for namespace, name, _unused in node.depends_on if (target := (node.kind, namespace, name)) in by_key
        ]
        for key, node in by_key.items()
    }
    for start in sorted(by_key):
        if start in index:
            continue
        work = [(start, iter(edges[start]))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on_stack.add(start)
        while work:
            key, targets = work[-1]
            following = next(targets, None)
            if following is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[key])
                if low[key] == index[key]:
                    members: set[tuple[str, str, str]] = set()
                    while key not in members:
                        member = stack.pop()
                        on_stack.discard(member)
                        members.add(member)
                    if len(members) > 1 or key in edges[key]:
                        found.append(members)
            elif following not in index:
                index[following] = low[following] = len(index)
                stack.append(following)
                on_stack.add(following)
                work.append((following, iter(edges[following])))
            elif following in on_stack:
                low[key] = min(low[key], index[following])
    return found


def _cycle(members: set[tuple[str, str, str]], by_key: Mapping[tuple[str, str, str], Node]) -> list[Node]:
    """Return one cycle among the members, from the first of them by name: the shortest through it."""
    start = min(members)
    paths = [[start]]
    seen = {start}
    while paths:
        path = paths.pop(0)
        node = by_key[path[-1]]
        for namespace, name, _unused in node.depends_on:
            target = (node.kind, namespace, name)
            if target == start:
                return [by_key[key] for key in path]
            if target in members and target not in seen:
                seen.add(target)
                paths.append([*path, target])
    raise AssertionError("a strongly connected component has a cycle through each member")


def owned_twice(objects: Sequence[Owned]) -> list[Finding]:
    """Return objects that several Kustomizations apply: they undo each other's work, and prune it."""
    first: dict[tuple[str, str, str, str, str], Owned] = {}
    findings = []
    for one in objects:
        key = (one.cluster, one.group, one.kind, one.namespace, one.name)
        other = first.setdefault(key, one)
        if other is one or other.owner == one.owner:
            continue
        name = f"{one.kind} {one.namespace}/{one.name}" if one.namespace else f"{one.kind} {one.name}"
        message = (
            f"{name} is applied by {one.owner} and by {other.owner} ({other.file}:{other.line}): each undoes the"
            " other's changes, and removing it from one deletes it. Leave it to one of them"
        )
        findings.append(Finding(one.file, one.line, "error", "object-owned-twice", message))
    return findings
