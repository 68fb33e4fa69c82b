# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Server-side apply of many objects through one connection.

The API server is asked what an apply would make of each object (dry run), and that answer is compared with what it
holds: what defaulting, admission and other managers' fields do is in both, so only a real difference counts. The same
answer is check mode, the diff and ``changed``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.client import ApiClient
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError, KubeError

Object = Mapping[str, Any]

#: Bookkeeping of the API server: differs between two reads of the same object, or says nothing about its content.
NOISE = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True)
class Change:
    """An object that an apply changes: its label ("DaemonSet kube-system/kube-router"), what is there, what will be."""

    label: str
    before: Object | None
    after: Object

    @property
    def action(self) -> str:
        """``create`` or ``update``."""
        return "create" if self.before is None else "update"


def parse(manifests: Iterable[str]) -> list[dict[str, Any]]:
    """All objects of YAML texts, lists flattened; KubeError names every document that is no object."""
    objects: list[dict[str, Any]] = []
    problems: list[str] = []
    for number, text in enumerate(manifests, 1):
        try:
            documents = [document for document in yaml.safe_load_all(text) if document is not None]
        except yaml.YAMLError as error:
            problems.append(f"manifest {number} is no YAML: {error}")
            continue
        for document in documents:
            items = document["items"] if isinstance(document, dict) and document.get("kind") == "List" else [document]
            for item in items:
                if isinstance(item, dict) and item.get("apiVersion") and item.get("kind") and _name(item):
                    objects.append(item)
                else:
                    problems.append(f"manifest {number} holds a document without apiVersion, kind or metadata.name")
    if problems:
        raise KubeError("; ".join(problems))
    return objects


def ordered(objects: Iterable[Object]) -> list[Object]:
    """Definitions and namespaces first, everything else in the order given."""
    return sorted(objects, key=lambda item: {"CustomResourceDefinition": 0, "Namespace": 1}.get(str(item["kind"]), 2))


def content(value: Object) -> dict[str, Any]:
    """An object without its status and the API server's bookkeeping."""
    metadata = {key: item for key, item in value.get("metadata", {}).items() if key not in NOISE}
    return {**{key: item for key, item in value.items() if key != "status"}, "metadata": metadata}


def label(item: Object) -> str:
    """`Kind namespace/name`."""
    namespace = item["metadata"].get("namespace")
    return f"{item['kind']} {namespace + '/' if namespace else ''}{_name(item)}"


class Applier:
    """Plans and applies through one client; remembers which resources the API server has."""

    def __init__(self, client: ApiClient, field_manager: str, *, force: bool) -> None:
        self._client = client
        self._manager = field_manager
        self._force = force
        self._resources: dict[str, dict[str, tuple[str, bool]]] = {}

    def plan(self, objects: Iterable[Object]) -> list[Change]:
        """What an apply would change; nothing is written. Raises KubeError with all objects that the server refuses."""
        changes: list[Change] = []
        problems: list[str] = []
        listed = ordered(objects)
        declared = {_name(item) for item in listed if item["kind"] == "Namespace"}
        defined = {
            (item["spec"]["group"], item["spec"]["names"]["kind"])
            for item in listed
            if item["kind"] == "CustomResourceDefinition"
        }
        for item in listed:
            try:
                change = self._plan_one(item, declared, defined)
            except KubeError as error:
                problems.append(f"{label(item)}: {error}")
            else:
                changes += [change] if change else []
        if problems:
            raise KubeError("nothing was applied:\n" + "\n".join(f"- {problem}" for problem in problems))
        return changes

    def apply(self, objects: Iterable[Object], changes: Iterable[Change]) -> None:
        """Carry out a plan, in order. Safe to be killed and repeated."""
        planned = {change.label for change in changes}
        for item in ordered(objects):
            if label(item) in planned:
                self._patch(item, dry_run=False)

    def _plan_one(self, item: Object, declared: set[str], defined: set[tuple[str, str]]) -> Change | None:
        group = str(item["apiVersion"]).rpartition("/")[0]
        if (group, item["kind"]) in defined and self._lookup(item) is None:
            return Change(label(item), None, content(item))
        try:
            before = self._client.get(self._path(item))
        except ApiError as error:
            if error.status != 404:
                raise
            before = None
        try:
            after = self._patch(item, dry_run=True)
        except ApiError as error:
            # a dry run knows nothing of the namespace that the same plan creates
            if error.status == 404 and item["metadata"].get("namespace") in declared:
                return Change(label(item), None, content(item))
            raise
        if before is not None and content(before) == content(after):
            return None
        return Change(label(item), content(before) if before is not None else None, content(after))

    def _patch(self, item: Object, *, dry_run: bool) -> Object:
        query = {"fieldManager": self._manager, "force": str(self._force).lower()}
        answer: Object = self._client.request(
            "PATCH",
            self._path(item),
            query={**query, "dryRun": "All"} if dry_run else query,
            body=dict(item),
            content_type=APPLY,
        )
        return answer

    def _path(self, item: Object) -> str:
        found = self._lookup(item, fresh=True)
        if found is None:
            raise KubeError(f"the API server has no {item['kind']} in {item['apiVersion']}")
        plural, namespaced = found
        version = str(item["apiVersion"])
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        namespace = item["metadata"].get("namespace")
        if namespaced and not namespace:
            raise KubeError("has no namespace, and its kind lives in one")
        return (
            f"{root}/namespaces/{namespace}/{plural}/{_name(item)}" if namespaced else f"{root}/{plural}/{_name(item)}"
        )

    def _lookup(self, item: Object, *, fresh: bool = False) -> tuple[str, bool] | None:
        """Plural, and whether it is namespaced; None where the server has no such kind (asked again if `fresh`)."""
        version, kind = str(item["apiVersion"]), str(item["kind"])
        if version not in self._resources or (fresh and kind not in self._resources[version]):
            root = f"/apis/{version}" if "/" in version else f"/api/{version}"
            try:
                listed = self._client.get(root)["resources"]
            except ApiError as error:
                if error.status != 404:
                    raise
                listed = []
            self._resources[version] = {
                entry["kind"]: (entry["name"], bool(entry["namespaced"]))
                for entry in listed
                if "/" not in entry["name"]
            }
        return self._resources[version].get(kind)


def _name(item: Object) -> str:
    return str((item.get("metadata") or {}).get("name") or "")
