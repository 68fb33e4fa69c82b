# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Server-side apply of many objects at once, on few kept connections.

Observe: the objects are read by listing, not one by one. Plan: what surely would not change by the API server's own
bookkeeping is left alone; of the rest the server says in a dry run what would become of it. That plan is check mode, the
diff and ``changed``. Apply: definitions and namespaces first, the rest when they can be used, what is no longer wanted
last. A run may be killed at any point and repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import (
    fields,
    inventory,
    manifests,
    three_way,
    wait,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import (
    ApiError,
    KubeconfigError,
    KubeError,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, Ref, mapping, ref

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Resource, Session

T = TypeVar("T")
Action = Literal["create", "update", "adopt", "delete"]

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
#: Bookkeeping of the API server: differs between two reads of the same object, or says nothing about its content.
NOISE = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
_CONNECTIONS = 4
#: From how many objects of one list on the list is read instead of each.
_LIST = 4
_ATTEMPTS = 4
_ESTABLISHED = 60.0
PROTECTED = ("Namespace", "CustomResourceDefinition", "PersistentVolumeClaim")


@dataclass(frozen=True)
class Change:
    """An object that changes; `before` and `after` hold the owned fields only, and nothing where it is not there.

    ``adopt`` takes fields over that have the wanted values already.
    """

    named: Ref
    action: Action
    before: Object | None
    after: Object | None


@dataclass(frozen=True)
class Plan:
    """All changes. `pruned` are in `changes` as well; `kept` says of what is no longer wanted why it stays."""

    changes: tuple[Change, ...] = ()
    unchanged: int = 0
    kept: Mapping[Ref, str] = field(default_factory=dict)
    listed: frozenset[Ref] = frozenset()
    inventory_differs: bool = False


@dataclass(frozen=True)
class Options:
    """How to apply. `preflight` asks the server about new objects too before anything is written.

    `inventory` names the ConfigMap that remembers the objects; with `prune` those that are gone from the manifests go.
    """

    manager: str = "stagecraft.gitops"
    force: bool = False
    preflight: bool = True
    inventory: Ref | None = None
    prune: bool = False
    protected: tuple[str, ...] = PROTECTED


def content(value: Object) -> dict[str, Any]:
    """An object without its status and the API server's bookkeeping."""
    metadata = {key: item for key, item in mapping(value, "metadata").items() if key not in NOISE}
    return {**{key: item for key, item in value.items() if key != "status"}, "metadata": metadata}


def offline(objects: Iterable[Object]) -> Plan:
    """The plan where there is no cluster yet: all of it would be created."""
    return Plan(tuple(Change(ref(item), "create", None, content(item)) for item in objects))


def change(item: Object, before: Object | None, after: Object, manager: str) -> Change | None:
    """Compare what is there with what the server would make of it; None where that is the same."""
    named = ref(item)
    if before is None:
        return Change(named, "create", None, content(item))
    had, has = (fields.owned(one, manager) for one in (before, after))
    both = fields.union(had[1] if had else {}, has[1] if has else {})
    was, becomes = (_shown(one, both) for one in (before, after))
    # Only what is owned counts: a controller may have written to the object between the two looks.
    if was == becomes and had == has:
        return None
    return Change(named, "adopt" if was == becomes else "update", was, becomes)


def _shown(item: Object, owned: fields.Fields) -> dict[str, Any]:
    metadata = mapping(item, "metadata")
    names = {key: metadata[key] for key in ("name", "namespace") if key in metadata}
    # Where nobody owns fields (three ways on the client) all of it is shown.
    part = fields.project(content(item), owned)
    head = {key: item[key] for key in ("apiVersion", "kind") if key in item}
    return {**head, **part, "metadata": {**names, **mapping(part, "metadata")}}


class Applier:
    """Plans and applies through one session."""

    def __init__(self, session: Session, options: Options) -> None:
        self._session = session
        self._options = options

    def plan(self, objects: Sequence[Object]) -> Plan:
        """What an apply would change; nothing is written. Raises KubeError with all objects that the server refuses."""
        first, _unused = manifests.stages(objects)
        made = manifests.defined(first)
        namespaces = {ref(item).name for item in first if item["kind"] == "Namespace"}
        served: dict[int, Resource] = {}
        problems: list[str] = []
        for item in objects:
            try:
                found = self._served(item, made)
            except KubeconfigError:
                raise  # it is none of this object's
            except KubeError as error:
                problems.append(f"{ref(item)}: {error}")
            else:
                served |= {id(item): found} if found else {}
        _raise("nothing was applied", problems)
        live = self._read([(ref(i), served[id(i)]) for i in objects if id(i) in served])

        def judge(item: Object) -> Change | None:
            before = live.get(ref(item))
            resource = served.get(id(item))
            if before is not None and fields.unchanged(item, before, self._options.manager):
                return None
            if resource is None or (before is None and not self._options.preflight):
                return Change(ref(item), "create", None, content(item))
            try:
                after = self._patch(item, resource, dry_run=True)
            except ApiError as error:
                # a dry run knows nothing of the namespace that the same plan creates
                if error.status == 404 and ref(item).namespace in namespaces:
                    return Change(ref(item), "create", None, content(item))
                raise
            return change(item, before, after, self._options.manager)

        changes, problems = self._each(judge, objects)
        _raise("nothing was applied", problems)
        found_changes = tuple(one for one in changes if one is not None)
        return self._with_prune(found_changes, objects, len(objects) - len(found_changes))

    def apply(self, objects: Sequence[Object], plan: Plan) -> None:
        """Carry out a plan. Raises KubeError with all objects that the server refused."""
        wanted = frozenset(ref(item) for item in objects)
        planned = {one.named for one in plan.changes if one.action != "delete"}
        first, rest = manifests.stages([item for item in objects if ref(item) in planned])
        book = self._options.inventory if plan.changes or plan.inventory_differs else None
        self._send(first)
        self._wait_for([item for item in first if item["kind"] == "CustomResourceDefinition"])
        if book is not None:
            # Before the objects, so that none is forgotten when we are killed; after the namespaces, one may be its own.
            self._write_inventory(book, plan.listed | wanted)
        self._send(rest)
        self._delete([one.named for one in plan.changes if one.action == "delete"])
        if book is not None:
            self._write_inventory(book, wanted | frozenset(plan.kept))

    def _with_prune(self, changes: tuple[Change, ...], objects: Sequence[Object], unchanged: int) -> Plan:
        named = self._options.inventory
        if named is None:
            return Plan(changes, unchanged)
        book = self._session.object(named)
        listed = frozenset(inventory.read(book))
        wanted = {ref(item) for item in objects}
        lost: dict[Ref, Object] = {}
        if self._options.prune:
            gone = sorted(listed - wanted)
            served = [(one, self._session.preferred(one.group, one.kind)) for one in gone]
            lost = inventory.surplus(self._read([(one, r) for one, r in served if r is not None]), wanted)
        kept = {one: inventory.kept(item, self._options.manager, self._options.protected) for one, item in lost.items()}
        pruned = tuple(
            Change(one, "delete", _shown(item, (fields.owned(item, self._options.manager) or ("", {}))[1]), None)
            for one, item in sorted(lost.items())
            if not kept[one]
        )
        stays = {one: why for one, why in kept.items() if why}
        if not self._options.prune:
            stays = dict.fromkeys(listed - wanted, "prune is off")
        differs = book is None or listed != wanted | set(stays)
        return Plan((*changes, *pruned), unchanged, stays, listed, differs)

    def _served(self, item: Object, made: Collection[tuple[str, str]]) -> Resource | None:
        """How an object's kind is served; None where its definition is among the objects."""
        version, kind = str(item["apiVersion"]), str(item["kind"])
        found = self._session.resource(version, kind)
        if found is None and (version.rpartition("/")[0], kind) in made:
            return None
        if found is None:
            raise KubeError(
                f"the API server has no {kind} in {version}: correct apiVersion, or apply its definition first"
            )
        found.path(ref(item).namespace, ref(item).name)
        return found

    def _read(self, wanted: Sequence[tuple[Ref, Resource]]) -> dict[Ref, Object | None]:
        lists: dict[tuple[Resource, str], list[Ref]] = {}
        for named, resource in wanted:
            lists.setdefault((resource, named.namespace if resource.namespaced else ""), []).append(named)

        def read(one: tuple[tuple[Resource, str], list[Ref]]) -> dict[Ref, Object | None]:
            (resource, namespace), names = one
            if len(names) < _LIST:
                return {named: self._session.find(resource.path(named.namespace, named.name)) for named in names}
            head = {"apiVersion": resource.version, "kind": resource.kind}
            items = [{**head, **item} for item in self._session.items(resource.collection(namespace))]
            found = {ref(item): item for item in items}
            return {named: found.get(named) for named in names}

        results, problems = self._each(read, list(lists.items()))
        _raise("nothing was applied", problems)
        return {named: item for part in results for named, item in part.items()}

    def _send(self, objects: Sequence[Object]) -> None:
        def send(item: Object) -> None:
            self._patch(item, self._usable(item), dry_run=False)

        results, problems = self._each(send, objects)
        _raise(f"{len(results)} of {len(objects)} objects were applied, these were refused", problems)

    def _usable(self, item: Object) -> Resource:
        """How a kind is served; one that was defined a moment ago takes another moment."""
        deadline = time.monotonic() + 10
        while True:
            found = self._session.resource(str(item["apiVersion"]), str(item["kind"]), fresh=True)
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise KubeError(f"the API server has no {item['kind']} in {item['apiVersion']}")
            time.sleep(0.1)

    def _wait_for(self, definitions: Sequence[Object]) -> None:
        if definitions:
            wanted = [wait.Wanted(ref(item), str(item["apiVersion"])) for item in definitions]
            outcome = wait.wait(self._session, wanted, "current", _ESTABLISHED)
            if not outcome.ok:
                raise KubeError(wait.summary(outcome))

    def _delete(self, names: Sequence[Ref]) -> None:
        def delete(named: Ref) -> None:
            served = self._session.preferred(named.group, named.kind)
            if served is not None:
                path = served.path(named.namespace, named.name)
                body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
                try:
                    self._session.call(lambda api: api.request("DELETE", path, body=body))
                except ApiError as error:
                    if error.status != 404:
                        raise

        _unused, problems = self._each(delete, names)
        _raise("what is no longer wanted could not be removed", problems)

    def _write_inventory(self, named: Ref, objects: Collection[Ref]) -> None:
        item = inventory.config_map(named, objects, self._options.manager)
        served = self._session.resource("v1", "ConfigMap")
        if served is None:
            raise KubeError("the API server has no ConfigMap in v1")
        self._patch(item, served, dry_run=False, force=True)

    def _patch(self, item: Object, resource: Resource, *, dry_run: bool, force: bool = False) -> Object:
        """Apply one object; three ways on the client where the server of its kind takes no server-side apply."""
        query = {"fieldManager": self._options.manager, **({"dryRun": "All"} if dry_run else {})}
        named = ref(item)
        path = resource.path(named.namespace, named.name)
        try:
            forced = {**query, "force": str(force or self._options.force).lower()}
            return self._request("PATCH", path, forced, item, APPLY)
        except ApiError as error:
            if error.status != 415:
                raise
        live = self._session.find(path)
        if live is None:
            whole = three_way.annotated(item)
            return self._request("POST", resource.collection(named.namespace), query, whole, "application/json")
        changes = three_way.patch(item, live)
        return self._request("PATCH", path, query, changes, MERGE) if changes else live

    def _request(self, method: str, path: str, query: Mapping[str, str], body: Object, content_type: str) -> Object:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer: Object = self._session.call(
                    lambda api: api.request(method, path, query=query, body=body, content_type=content_type)
                )
            except ApiError as error:
                if not error.transient or attempt == _ATTEMPTS:
                    raise
                time.sleep(0.1 * 3**attempt)
            else:
                return answer
        raise AssertionError

    def _each(self, do: Callable[[Any], T], items: Sequence[Any]) -> tuple[list[T], list[str]]:
        """Do something with all items at once; return the results and what went wrong, item by item."""
        results: list[T] = []
        problems: list[str] = []
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            for item, future in [(item, pool.submit(do, item)) for item in items]:
                try:
                    results.append(future.result())
                except KubeError as error:
                    if isinstance(error, ApiError) and error.status is None:
                        raise
                    problems.append(explained(_named(item), error))
        return results, problems


def _named(item: Any) -> str:
    if isinstance(item, Mapping):
        return str(ref(item))
    return str(item) if isinstance(item, Ref) else f"{item[0][0].kind} in {item[0][1] or 'the cluster'}"


def explained(named: str, error: KubeError) -> str:
    """Say what the server refused; a conflict with the fields, who owns them, and what to do. Pure."""
    causes = [c for c in getattr(error, "causes", ()) if c.get("reason") == "FieldManagerConflict"]
    if not causes:
        return f"{named}: {error}"
    by: dict[str, list[str]] = {}
    for cause in causes:
        by.setdefault(str(cause.get("message") or "").removeprefix("conflict with "), []).append(
            str(cause.get("field"))
        )
    said = "; ".join(
        f"{', '.join(owned)} {'is' if len(owned) == 1 else 'are'} owned by {who}" for who, owned in by.items()
    )
    return (
        f"{named}: {said}, with another value. Leave these fields out of the manifest, let their owner give them up, or "
        "take them over by force: true."
    )


def _raise(head: str, problems: Sequence[str]) -> None:
    if problems:
        raise KubeError(f"{head}:\n" + "\n".join(f"- {problem}" for problem in problems))
