# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole gate for one cluster path: every Flux Kustomization that is reached from it, and what they need."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check import clear_secrets, graph, removed_apis
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.cache import Cache, engine_digest, key_of
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.documents import line_of, parse
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import CheckError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.findings import (
    Finding,
    ordered,
    without_ignored,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.flux_objects import Unit, home_of
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.kustomize import FILE_NAMES
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.schemas import Gvk, Schema, crd_schemas
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.tree import (
    ABSENT,
    Tree,
    digest,
    listing_digest,
    listing_key,
    normal,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.unit import UnitResult, variables
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.workers import Job, Pool, decode, encode

_MOST_ROUNDS = 50
_LARGEST_SCANNED = 4_000_000
#: Files of ours that lie beside manifests and that no cluster gets.
_NOT_APPLIED = frozenset({"gitops-holds.yaml"})
_CRD = b"kind: CustomResourceDefinition"


@dataclass(frozen=True)
class Options:
    """What to check, and against what."""

    root: Path
    #: Cluster paths, relative to the root.
    paths: tuple[str, ...]
    kubernetes_version: str
    #: Files and directories with CustomResourceDefinitions besides those of the repository.
    crds: tuple[Path, ...] = ()
    ignore: tuple[str, ...] = ()
    cache: Path | None = None
    jobs: int = field(default_factory=lambda: os.cpu_count() or 1)


@dataclass
class Report:
    """The result of a check."""

    findings: list[Finding]
    kustomizations: list[str]
    objects: int
    #: Kustomizations whose source is not this repository, which therefore were not built.
    not_built: list[str]
    #: Kinds without a schema.
    unchecked_kinds: list[str]

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == "error"]


@dataclass
class _Snapshot:
    """All files of the repository with their digests, and what is read from every one of them."""

    digests: dict[str, str]
    custom: dict[Gvk, Schema]
    findings: list[Finding]


def check(options: Options) -> Report:
    """Check the cluster paths of a repository; raise CheckError when that cannot be done."""
    if not options.root.is_dir():
        raise CheckError(f"wanted a repository, found no directory {options.root}")
    tree = Tree(options.root)
    paths = [normal(path) for path in options.paths]
    missing = [path for path in paths if path.startswith("..") or not tree.is_directory(path)]
    if not paths or missing:
        found = f"there is no directory {', '.join(missing)} in it" if missing else "none is named"
        raise CheckError(f"wanted cluster paths in the repository {options.root}, found: {found}")
    # The name is that of the repository, not of a copy of it: a hook checks a copy each time.
    cache = Cache(options.cache, f"{options.root.name} {' '.join(paths)}")
    snapshot = _take_snapshot(tree, options, cache)
    pool = Pool(tree.root, options.kubernetes_version, snapshot.custom, options.jobs)
    basis = key_of(
        engine_digest(), options.kubernetes_version, {"/".join(gvk): schema for gvk, schema in snapshot.custom.items()}
    )
    runs = [_ClusterRun(tree, path, pool, cache, snapshot.digests, basis) for path in paths]
    findings = list(snapshot.findings)
    for run in runs:
        run.go()
        findings += run.findings()
    cache.save()
    return Report(
        without_ignored(ordered(findings), options.ignore),
        sorted({key for run in runs for key in run.units if key != "/"}),
        sum(len(result.objects) for run in runs for result in run.results.values()),
        sorted({text for run in runs for text in run.not_built}),
        sorted({kind for run in runs for result in run.results.values() for kind in result.unchecked_kinds}),
    )


# -- all files -----------------------------------------------------------------------------------------------------------


def _take_snapshot(tree: Tree, options: Options, cache: Cache) -> _Snapshot:
    snapshot = _Snapshot({}, {}, [])
    listings: dict[str, list[str]] = {}
    for path in tree.files():
        _enter(listings, path)
        try:
            data = Path(tree.root, path).read_bytes()
        except OSError:
            continue
        snapshot.digests[path] = digest(data)
        if len(data) > _LARGEST_SCANNED:
            continue
        for line, rule, message in clear_secrets.in_file(path, data):
            snapshot.findings.append(Finding(path, line, "error", rule, message))
        if path.endswith((".yaml", ".yml")) and _CRD in data:
            snapshot.custom.update(_custom(data, cache))
        if path.rsplit("/", 1)[-1] in FILE_NAMES:
            snapshot.findings += _deprecated(path, data)
    for directory, names in listings.items():
        snapshot.digests[listing_key(directory)] = listing_digest(sorted(set(names)))
    for given in options.crds:
        if not given.exists():
            raise CheckError(f"crds: wanted a file or directory with CustomResourceDefinitions, found no {given}")
        files = (
            sorted(one for one in given.rglob("*") if one.suffix in (".yaml", ".yml")) if given.is_dir() else [given]
        )
        for file in files:
            snapshot.custom.update(_custom(file.read_bytes(), cache))
    return snapshot


def _enter(listings: dict[str, list[str]], path: str) -> None:
    """Note a file in the listings of the directories above it."""
    directory, _unused, name = path.rpartition("/")
    while True:
        names = listings.setdefault(directory or ".", [])
        names.append(name)
        if not directory or len(names) > 1:
            return
        directory, _unused, name = directory.rpartition("/")
        name += "/"


def _custom(data: bytes, cache: Cache) -> dict[Gvk, Schema]:
    key = f"crd {digest(data)}"
    stored = cache.get(key)
    if stored is None:
        stored = []
        for document in parse(data)[0]:
            value = document.value
            if isinstance(value, dict) and value.get("kind") == "CustomResourceDefinition":
                stored += [[*gvk, _without_words(schema)] for gvk, schema in crd_schemas(value).items()]
    cache.put(key, stored)
    return {(group, version, kind): schema for group, version, kind, schema in stored}


def _without_words(schema: Any) -> Any:
    """Leave descriptions out, which are most of a schema."""
    if isinstance(schema, dict):
        return {
            key: _without_words(value)
            for key, value in schema.items()
            if not (key == "description" and isinstance(value, str))
        }
    return [_without_words(item) for item in schema] if isinstance(schema, list) else schema


def _deprecated(path: str, data: bytes) -> Iterable[Finding]:
    if not any(field.encode() in data for field in removed_apis.DEPRECATED_FIELDS):
        return
    for document in parse(data)[0]:
        content = document.value
        for key in content if isinstance(content, dict) else ():
            if key in removed_apis.DEPRECATED_FIELDS:
                message = f"kustomize's field {key} is deprecated. Write {removed_apis.DEPRECATED_FIELDS[key]}"
                yield Finding(path, line_of(data, document.index, (key,)), "warning", "deprecated-field", message)


# -- one cluster ---------------------------------------------------------------------------------------------------------


class _ClusterRun:
    """Builds units until no new ones are found, and those that wait for values until none are found any more."""

    def __init__(self, tree: Tree, path: str, pool: Pool, cache: Cache, digests: Mapping[str, str], basis: str) -> None:
        self._tree, self._path, self._pool, self._cache = tree, path, pool, cache
        self._digests, self._basis = digests, basis
        self.units: dict[str, Unit] = {}
        self.results: dict[str, UnitResult] = {}
        self.not_built: list[str] = []
        self._asked: dict[str, str] = {}
        self._known: dict[str, dict[str, str]] = {}

    def go(self) -> None:
        root = Unit("", "", self._path, {}, self._path, 1, 0, is_root=True)
        self.units[root.key] = root
        for _unused in range(_MOST_ROUNDS):
            jobs = {key: job for key, unit in self.units.items() if (job := self._job(unit)) is not None}
            if not jobs:
                return
            self._do(jobs)
            self._take_children()
        raise CheckError(f"{self._path}: the Kustomizations change each other's variables without an end")

    def _job(self, unit: Unit) -> Job | None:
        """Return what to ask for a unit now, or None when exactly that has been asked."""
        values, missing = variables(unit, self._known)
        asked = key_of(self._basis, unit.plain(), values, missing)
        if self._asked.get(unit.key) == asked:
            return None
        self._asked[unit.key] = asked
        return Job(unit, values, missing)

    def _do(self, jobs: Mapping[str, Job]) -> None:
        to_run = []
        for key in jobs:
            stored = self._cache.get(self._asked[key])
            if stored is not None and all(
                self._digests.get(path, ABSENT) == old for path, old in stored["notes"].items()
            ):
                self._cache.put(self._asked[key], stored)
                self.results[key] = decode(stored)
            else:
                to_run.append(key)
        for key, result in zip(to_run, self._pool.run([jobs[key] for key in to_run]), strict=True):
            self.results[key] = result
            if result.notes is not None:
                self._cache.put(self._asked[key], encode(result))

    def _take_children(self) -> None:
        self._known = {}
        children: dict[str, Unit] = {}
        for key in sorted(self.results):
            self._known.update(self.results[key].values)
            for plain in self.results[key].children:
                unit = Unit(**plain)
                children.setdefault(unit.key, unit)
        home = home_of(children.values(), self._path)
        units = {}
        self.not_built = []
        for key, unit in children.items():
            if home is not None and unit.source != home:
                self.not_built.append(f"{unit.label} ({' '.join(unit.source)})")
            else:
                units[key] = Unit(**{**unit.plain(), "is_root": unit.path == self._path})
        # The Kustomization that syncs the cluster path builds what was built to find it.
        if not any(unit.is_root for unit in units.values()):
            units["/"] = self.units.get("/") or Unit("", "", self._path, {}, self._path, 1, 0, is_root=True)
        self.units = units
        # Until the Kustomization of the cluster path itself is built, the others are known from the path alone.
        waits = not any(unit.is_root and key in self.results for key, unit in units.items())
        self.results = {key: one for key, one in self.results.items() if key in units or (key == "/" and waits)}

    # -- what they need from each other --------------------------------------------------------------------------------

    def findings(self) -> list[Finding]:
        results = [self.results[key] for key in sorted(self.units) if key in self.results]
        nodes = [
            graph.Node(
                kind, namespace, name, file, line, source, tuple((str(a), str(b), int(c)) for a, b, c in depends_on)
            )
            for result in results
            for kind, namespace, name, file, line, source, depends_on in result.nodes
        ]
        objects = sorted(graph.Owned(*one) for result in results for one in result.objects)
        found = [finding for result in results for finding in result.findings]
        found += graph.missing_dependencies(nodes) + graph.cycles(nodes) + graph.owned_twice(objects)
        return [*found, *self._missing_sources(results), *self._unreferenced(results)]

    def _missing_sources(self, results: Sequence[UnitResult]) -> Iterable[Finding]:
        known = {tuple(source) for result in results for source in result.sources}
        home = home_of((Unit(**plain) for result in results for plain in result.children), self._path)
        for result in results:
            for kind, namespace, name, file, line, who in result.wanted_sources:
                if (kind, namespace, name) in known or (kind, namespace, name) == home:
                    continue
                message = (
                    f"{who} takes its content from {kind} {namespace}/{name}, which no overlay of this cluster brings."
                    " Add it, or correct kind, name and namespace"
                )
                yield Finding(file, line, "error", "source-not-found", message)

    def _unreferenced(self, results: Sequence[UnitResult]) -> Iterable[Finding]:
        """Find YAML files beside a kustomization that was built, which nothing lists."""
        used = {path for result in results for path in result.notes or ()}
        built = {
            path.rpartition("/")[0] for path in used if path.rsplit("/", 1)[-1] in FILE_NAMES and path in self._digests
        }
        for path in self._digests:
            directory, _unused, name = path.rpartition("/")
            if (
                directory in built
                and path.endswith((".yaml", ".yml"))
                and path not in used
                and not name.startswith(".")
                and name not in _NOT_APPLIED
            ):
                message = f"nothing in {directory or '.'} lists this file, so it is not applied. List it, or remove it"
                yield Finding(path, 1, "warning", "file-not-listed", message)
