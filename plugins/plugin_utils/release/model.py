# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments and components, as the admin describes them.

The description stands in the repository itself, in ``.stagecraft/releases.yaml``, or in variables; all of it has
defaults: an environment NAME is ``clusters/NAME``, and a component is what has its name there.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError

SETTINGS_FILE = ".stagecraft/releases.yaml"
MODES = ("enforce", "warn", "off")
VERIFY = ("enabled", "timeout", "settle", "http", "promql", "job", "command", "on_failure")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
_APPLICATION = re.compile(r"Application(/[-a-z0-9.]+){1,2}")
#: Keys whose values belong to an environment; no selector may name them (the last part of its path, or any before it).
NEVER = frozenset({
    "replicas", "replicaCount", "minReplicas", "maxReplicas", "resources", "requests", "limits", "host", "hosts", "hostname",
    "hostnames", "storage", "storageClass", "storageClassName", "size", "volumeSize", "namespace", "env", "envFrom", "patches",
    "data", "stringData", "secretName", "secretRef", "password", "token",
})  # fmt: skip


@dataclass(frozen=True)
class Environment:
    """Where an environment stands in Git, and which cluster follows it.

    `path` is a directory of the repository; `branch` "" is the repository's own. `kubeconfig` and `context` name the
    cluster (both empty: none can be asked). `gitops` says what brings it there; `source` is the object of Flux that does,
    or the Application of Argo CD ("" for those that follow its files in the repository). `order` is its place in the
    way of a release. `freeze` are windows without changes, `gates` the modes of gates, by name. `verify` is as the
    modules' option of that name. `namespaces` are where its pods run ("" for all of its cluster).
    """

    name: str
    path: str
    branch: str = ""
    kubeconfig: str = ""
    context: str = ""
    gitops: Literal["flux", "argocd"] = "flux"
    source: str = "GitRepository/flux-system"
    order: int = 0
    reason_required: bool = False
    freeze: tuple[Mapping[str, Any], ...] = ()
    gates: Mapping[str, Any] = field(default_factory=dict)
    verify: Mapping[str, Any] = field(default_factory=dict)
    namespaces: tuple[str, ...] = ()

    @property
    def has_cluster(self) -> bool:
        return bool(self.kubeconfig or self.context)


@dataclass(frozen=True)
class Declared:
    """A selector that is declared: the scalar at `path` in objects of `kind` called `name` ("" for any name)."""

    kind: str
    name: str
    path: tuple[str, ...]


@dataclass(frozen=True)
class Component:
    """What is released together.

    `paths` are globs below an environment's path, or per environment from the repository's root. `select` are declared
    selectors. `exclude` are globs of `SELECTOR.FIELD` that stay as they are. `subtree` are globs of files that are
    copied whole. `irreversible` are versions that cannot be undone without `force` (a migration of a database).
    `namespaces` are where its pods run ("" for all).
    """

    name: str
    paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    select: tuple[Declared, ...] = ()
    exclude: tuple[str, ...] = ()
    subtree: tuple[str, ...] = ()
    irreversible: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """All environments and components that are described."""

    environments: Mapping[str, Environment] = field(default_factory=dict)
    components: Mapping[str, Component] = field(default_factory=dict)

    def environment(self, name: str, known: Iterable[str]) -> Environment:
        """Return an environment; one that is not described is `clusters/NAME` if that is there. Raises ReleaseError."""
        if name in self.environments:
            return self.environments[name]
        prefix = f"clusters/{name}/"
        if not self.environments and any(path.startswith(prefix) for path in known):
            return Environment(name, f"clusters/{name}", reason_required=name == "production")
        there = ", ".join(self.environments) or ", ".join(_directories(known)) or "none"
        raise ReleaseError(f"there is no environment {name!r}; the repository has {there}.")

    def component(self, name: str) -> Component:
        """Return a component; one that is not described is what has its name."""
        return self.components.get(name) or Component(name)


def application(environment: Environment) -> tuple[str, str] | None:
    """Return namespace ("" for any) and name of the Application that is named as an environment's source."""
    _kind, _slash, name = environment.source.partition("/")
    namespace, _slash, own = name.rpartition("/")
    return (namespace, own) if own else None


def namespaces(environment: Environment, component: Component) -> tuple[str, ...]:
    """Return the namespaces in which the pods of a component run in an environment; () for all of the cluster."""
    if not environment.namespaces:
        return component.namespaces
    return tuple(one for one in component.namespaces if one in environment.namespaces) or environment.namespaces


def freeze_file(environment: Environment) -> str:
    """Return the file by which somebody stops all changes to an environment."""
    return f".stagecraft/freeze/{environment.name}.yaml"


def load(text: bytes | None, environments: Any = None, components: Any = None) -> Settings:
    """Read the description: the repository's file, and what variables say in its place. Raises ReleaseError."""
    content: Any = {}
    if text is not None:
        try:
            content = yaml.safe_load(text) or {}
        except yaml.YAMLError as error:
            raise ReleaseError(f"{SETTINGS_FILE}: it is no YAML: {' '.join(str(error).split())}") from error
    problems: list[str] = []
    if not isinstance(content, dict):
        raise ReleaseError(f"{SETTINGS_FILE}: wanted environments and components, found {type(content).__name__}")
    _unknown(content, ("environments", "components"), SETTINGS_FILE, problems)
    environments = content.get("environments") if environments is None else environments
    components = content.get("components") if components is None else components
    found = {}
    for number, entry in enumerate(_entries(environments, "environments", problems)):
        made = _environment(entry, number, problems)
        found[made.name] = made
    parts = {}
    for entry in _entries(components, "components", problems):
        component = _component(entry, found, problems)
        parts[component.name] = component
    if problems:
        raise ReleaseError(
            "the description of the releases has to be corrected:\n" + "\n".join(f"- {p}" for p in problems)
        )
    return Settings(found, parts)


def _entries(value: Any, what: str, problems: list[str]) -> list[dict[str, Any]]:
    """Return a list of dicts with names, out of a list or of a dict by name."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        value = [
            {"name": name, **(entry or {})} if isinstance(entry, Mapping | None) else entry
            for name, entry in value.items()
        ]
    if not isinstance(value, list):
        problems.append(f"{what}: wanted a list, found {type(value).__name__}")
        return []
    found, seen = [], set()
    for entry in value:
        name = str(entry.get("name") or "") if isinstance(entry, Mapping) else ""
        if not isinstance(entry, Mapping) or not _NAME.fullmatch(name):
            problems.append(f"{what}: wanted a name of lower-case letters, digits and dashes, found {name or entry!r}")
        elif name in seen:
            problems.append(f"{what}: {name} stands twice")
        else:
            seen.add(name)
            found.append(dict(entry))
    return found


def _environment(entry: Mapping[str, Any], number: int, problems: list[str]) -> Environment:
    name = str(entry["name"])
    where = f"environment {name}"
    _unknown(entry, [one.name for one in fields(Environment)], where, problems)
    path = str(entry.get("path") or f"clusters/{name}").strip("/")
    if ".." in path.split("/"):
        problems.append(f"{where}: path {path} leads out of the repository")
    gates = entry.get("gates") or {}
    if not isinstance(gates, Mapping):
        problems.append(f"{where}: gates: wanted a mapping of names to {', '.join(MODES)}")
        gates = {}
    freeze = entry.get("freeze") or []
    if not isinstance(freeze, list) or not all(isinstance(one, Mapping) for one in freeze):
        problems.append(f"{where}: freeze: wanted a list of windows")
        freeze = []
    verify = entry.get("verify") or {}
    if not isinstance(verify, Mapping):
        problems.append(f"{where}: verify: wanted a mapping of {', '.join(VERIFY)}")
        verify = {}
    problems += [f"{where}: verify: {said}" for said in _wrong_checks(verify)]
    _unknown(verify, VERIFY, f"{where}: verify", problems)
    order = entry.get("order", number)
    if isinstance(order, bool) or not isinstance(order, int):
        problems.append(f"{where}: order: wanted a whole number, found {order!r}")
        order = number
    gitops = str(entry.get("gitops") or "flux")
    source = str(entry.get("source") or ("GitRepository/flux-system" if gitops == "flux" else ""))
    if gitops not in ("flux", "argocd"):
        problems.append(f"{where}: gitops: wanted flux or argocd, found {gitops}")
    elif gitops == "argocd" and source and not _APPLICATION.fullmatch(source):
        problems.append(f"{where}: source: wanted Application/[NAMESPACE/]NAME, found {source}")
    return Environment(
        name=name,
        path=path,
        branch=str(entry.get("branch") or ""),
        kubeconfig=str(entry.get("kubeconfig") or ""),
        context=str(entry.get("context") or ""),
        gitops=cast(Literal["flux", "argocd"], gitops),
        source=source,
        order=order,
        reason_required=bool(entry.get("reason_required", name == "production")),
        freeze=tuple(freeze),
        gates=dict(gates),
        verify=dict(verify),
        namespaces=_texts(entry.get("namespaces")),
    )


def _wrong_checks(verify: Mapping[str, Any]) -> list[str]:
    """Say what of an environment's `verify` is of the wrong kind."""
    said = []
    for key in ("timeout", "settle"):
        value = verify.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            said.append(f"{key}: wanted seconds, found {value!r}")
    for key, needed in (("http", ("url",)), ("promql", ("url", "query"))):
        probes = verify.get(key) or []
        if not isinstance(probes, list) or not all(
            isinstance(one, Mapping) and all(one.get(name) for name in needed) for one in probes
        ):
            said.append(f"{key}: wanted a list of dicts with {' and '.join(needed)}")
            continue
        for one in probes:
            said += [f"{key}: {words}" for words in _wrong_numbers(one)]
    if not isinstance(verify.get("command") or [], list):
        said.append("command: wanted a list, the program and its arguments")
    if not isinstance(verify.get("job") or {}, Mapping):
        said.append("job: wanted a Job's metadata and spec")
    if not isinstance(verify.get("enabled", True), bool):
        said.append(f"enabled: wanted true or false, found {verify['enabled']!r}")
    if verify.get("on_failure", "keep") not in ("rollback", "keep"):
        said.append(f"on_failure: wanted rollback or keep, found {verify['on_failure']!r}")
    return said


def _wrong_numbers(probe: Mapping[str, Any]) -> list[str]:
    """Say which settings of a probe are no numbers."""
    said = []
    for name in ("count", "least", "failures", "interval", "timeout", "max", "min", "status"):
        value = probe.get(name)
        values = value if name == "status" and isinstance(value, list) else [value]
        kinds = (int,) if name in ("count", "least", "failures", "status") else (int, float)
        if value is not None and not all(isinstance(one, kinds) and not isinstance(one, bool) for one in values):
            said.append(f"{name} of {probe['url']}: wanted a number, found {value!r}")
    return said


def _component(entry: Mapping[str, Any], environments: Iterable[str], problems: list[str]) -> Component:
    name = str(entry["name"])
    where = f"component {name}"
    _unknown(entry, [one.name for one in fields(Component)], where, problems)
    raw = entry.get("paths") or {}
    if isinstance(raw, list):
        raw = {"*": raw}
    paths = {}
    if isinstance(raw, Mapping):
        for environment, globs in raw.items():
            if environment != "*" and environment not in set(environments):
                problems.append(f"{where}: paths: there is no environment {environment!r}")
            paths[str(environment)] = _texts(globs)
    else:
        problems.append(f"{where}: paths: wanted globs, or globs by environment")
    select = []
    for one in entry.get("select") or []:
        select += _declared(one, where, problems)
    return Component(
        name,
        paths,
        tuple(select),
        _texts(entry.get("exclude")),
        _texts(entry.get("subtree")),
        _texts(entry.get("irreversible")),
        _texts(entry.get("namespaces")),
    )


def _declared(one: Any, where: str, problems: list[str]) -> list[Declared]:
    if not isinstance(one, Mapping) or not one.get("kind") or not one.get("path"):
        problems.append(f"{where}: select: wanted kind, path and perhaps name, found {one!r}")
        return []
    kind, path = str(one["kind"]), tuple(str(one["path"]).split("."))
    denied = [step for step in path if step in NEVER]
    if kind == "Secret" or denied:
        reason = "Secrets are never promoted" if kind == "Secret" else f"{denied[0]} belongs to an environment"
        problems.append(f"{where}: select: {kind} {'.'.join(path)}: {reason}. Leave it out")
        return []
    return [Declared(kind, str(one.get("name") or ""), path)]


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(str(one) for one in value) if isinstance(value, list) else (str(value),)


def _unknown(entry: Mapping[str, Any], known: Sequence[str], where: str, problems: list[str]) -> None:
    for key in entry:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            problems.append(
                f"{where}: there is no {key!r}" + (f"; write {close[0]}" if close else f" in {', '.join(known)}")
            )


def _directories(known: Iterable[str]) -> list[str]:
    return sorted({path.split("/")[1] for path in known if path.startswith("clusters/") and path.count("/") > 1})
