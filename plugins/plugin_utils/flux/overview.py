# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show what Flux has in a cluster: all objects, who applied what, where an object comes from, what waits for what.

All but `load`, `trace` and `events` is pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._addresses import without_credentials
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import graph, kinds, readiness
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import (
    Object,
    Ref,
    condition,
    listed,
    mapping,
    one_line,
    ref,
    text,
)

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session

#: The labels by which an object names who applied it.
_APPLIED_BY = {kinds.KUSTOMIZE: "Kustomization", kinds.HELM: "HelmRelease"}


def load(session: Session, namespace: str = "") -> dict[Ref, Object]:
    """Read all objects of Flux, of one namespace or ("") of all. Raises FluxError where Flux is not installed."""

    def read(kind: kinds.Kind) -> list[Object]:
        served = session.preferred(kind.group, kind.name)
        if served is None:
            return []
        head = {"apiVersion": served.version, "kind": served.kind}
        return [{**head, **item} for item in session.items(served.collection(namespace))]

    if session.preferred(kinds.KUSTOMIZE, "Kustomization") is None:
        raise FluxError("the cluster has no Kustomizations of Flux: Flux is not installed")
    with ThreadPoolExecutor(4) as pool:
        return {ref(item): item for items in pool.map(read, kinds.KINDS) for item in items}


def revision_of(item: Object) -> str:
    """Return the revision that an object has fetched or applied, or ""."""
    status = mapping(item, "status")
    newest: Mapping[str, Any] = next(iter(listed(status, "history")), {})
    return (
        text(status, "artifact", "revision")
        or text(status, "lastAppliedRevision")
        or text(newest, "chartVersion")
        or text(status, "lastAttemptedRevision")
    )


def row(item: Object) -> dict[str, Any]:
    """Return one object as a row of an overview; `ready` is None for kinds that report nothing."""
    ready = condition(item, "Ready")
    kind = kinds.BY_NAME.get(text(item, "kind"))
    reports = kind is None or kind.status
    named = ref(item)
    return {
        "object": str(named),
        "kind": named.kind,
        "namespace": named.namespace,
        "name": named.name,
        "ready": ready.get("status") == "True" if reports else None,
        "suspended": readiness.suspended(item),
        "revision": revision_of(item),
        "reason": text(ready, "reason"),
        "message": one_line(readiness.message_of(item)),
        "since": text(ready, "lastTransitionTime"),
    }


def tree(objects: graph.Objects, root: Ref | None = None) -> list[dict[str, Any]]:
    """Return who applied what, in order, with the depth; from `root`, or from all that nobody of Flux applied.

    What is not ready says why.
    """
    applied = graph.appliers(objects)
    starts = [root] if root else sorted(n for n in objects if n not in applied and kinds.BY_NAME[n.kind].follows)
    found: list[dict[str, Any]] = []
    seen: set[Ref] = set()

    def walk(named: Ref, depth: int) -> None:
        item = objects.get(named)
        shown = {} if item is None else row(item)
        why = ("message",) if shown.get("ready") is False else ()
        known = {k: v for k, v in shown.items() if k in ("ready", "revision", "suspended", *why)}
        found.append({"object": str(named), "depth": depth, **known})
        if item is None or named in seen:
            return
        seen.add(named)
        for child in kinds.inventory(item):
            walk(child, depth + 1)

    for start in starts:
        walk(start, 0)
    return found


def dependency_graph(objects: graph.Objects) -> dict[str, Any]:
    """Return nodes and edges between Flux's objects, what is missing, and what goes in a circle."""
    applied = graph.appliers(objects)
    edges = [
        *(("dependsOn", n, d) for n, item in objects.items() for d in graph.dependencies(item)),
        *(("source", n, s) for n, item in objects.items() if (s := kinds.source_of(item)) is not None),
        *(("appliedBy", child, parent) for child, parent in applied.items()),
    ]
    asked = {(n, e.need): {"readyExpr": e.text} for n, item in objects.items() for e in graph.expressions(item)}
    return {
        "nodes": [str(named) for named in sorted(objects)],
        "edges": [
            {
                "type": kind,
                "from": str(one),
                "to": str(other),
                **(asked.get((one, other), {}) if kind == "dependsOn" else {}),
            }
            for kind, one, other in sorted(edges, key=lambda e: (e[1], e[0], e[2]))
        ],
        "missing": sorted({str(to) for kind, _unused, to in edges if kind != "appliedBy" and to not in objects}),
        "cycles": [graph.way(around) for around in graph.cycles(objects)],
    }


def applied_by(item: Object) -> Ref | None:
    """Return the Kustomization or HelmRelease that an object's labels name, or None."""
    labels = mapping(item, "metadata", "labels")
    for group, kind in _APPLIED_BY.items():
        name = labels.get(f"{group}/name")
        if name:
            return Ref(group, kind, str(labels.get(f"{group}/namespace") or ""), str(name))
    return None


def trace(session: Session, named: Ref) -> list[dict[str, Any]]:
    """Return where an object comes from: its owners, who applied it, and the source with its revision."""
    steps: list[dict[str, Any]] = []
    here: Ref | None = named
    seen: set[Ref] = set()
    while here is not None and here not in seen:
        seen.add(here)
        item = session.object(here)
        if item is None:
            if not steps:
                raise FluxError(f"{here} is not in the cluster")
            steps.append({"object": str(here), "found": False})
            return steps
        if kinds.is_flux(here):
            shown = {k: v for k, v in row(item).items() if k in ("object", "ready", "revision", "suspended", "message")}
            origin = text(mapping(item, "status"), "lastAppliedOriginRevision")
            url = without_credentials(text(item, "spec", "url"))
            steps.append({**shown, **({"origin": origin} if origin else {}), **({"url": url} if url else {})})
            source = kinds.source_of(item)
            here = source or None
            continue
        steps.append({"object": str(here), "found": True})
        owners = listed(item, "metadata", "ownerReferences")
        here = applied_by(item)
        if here is None and owners:
            group = str(owners[0].get("apiVersion") or "").rpartition("/")[0]
            here = Ref(group, str(owners[0].get("kind")), named.namespace, str(owners[0].get("name")))
    return steps


def events(session: Session, named: Ref | None, namespace: str = "") -> list[dict[str, Any]]:
    """Return what Flux told of an object, or of all of its objects, newest first."""
    path = f"/api/v1/namespaces/{named.namespace}/events" if named else "/api/v1/events"
    if named is None and namespace:
        path = f"/api/v1/namespaces/{namespace}/events"
    query = {"fieldSelector": f"involvedObject.kind={named.kind},involvedObject.name={named.name}"} if named else {}
    items = session.items(path, **query)
    found = [event(item) for item in items if named or kinds.is_flux(_involved(item))]
    return sorted(found, key=lambda e: str(e["last"]), reverse=True)


def event(item: Object) -> dict[str, Any]:
    """Return one event as a row."""
    annotations = mapping(item, "metadata", "annotations")
    return {
        "object": str(_involved(item)),
        "type": text(item, "type"),
        "reason": text(item, "reason"),
        "message": one_line(text(item, "message")),
        "count": int(item.get("count") or 1),
        "last": text(item, "lastTimestamp") or text(item, "eventTime") or text(item, "metadata", "creationTimestamp"),
        "revision": next((str(v) for k, v in annotations.items() if k.endswith("/revision")), ""),
    }


def _involved(item: Object) -> Ref:
    about = mapping(item, "involvedObject")
    group = text(about, "apiVersion").rpartition("/")[0]
    return Ref(group, text(about, "kind"), text(about, "namespace"), text(about, "name"))
