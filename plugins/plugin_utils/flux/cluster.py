# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flux's own objects in a cluster: applied, handed over, migrated to newer API versions, and taken away again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import kinds
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.state import CRDS, FIELD_MANAGER, ours
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.apply import APPLY
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.client import ApiClient

Object = dict[str, Any]

#: Kinds of Flux's manifests; all the others are asked for by their definitions.
_PLURALS = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "CustomResourceDefinition": "customresourcedefinitions",
    "Deployment": "deployments",
    "GitRepository": "gitrepositories",
    "Kustomization": "kustomizations",
    "Namespace": "namespaces",
    "NetworkPolicy": "networkpolicies",
    "ResourceQuota": "resourcequotas",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
}
_GROUPS = ("toolkit.fluxcd.io", "extensions.fluxcd.io")
_MERGE = "application/merge-patch+json"
_SELECTOR = "app.kubernetes.io/part-of=flux"
_PAUSE = 0.2
#: How many objects a refusal names.
_NAMED = 5


def path_of(item: Mapping[str, Any]) -> str:
    """Return the path of an object of Flux's manifests."""
    version, metadata = str(item["apiVersion"]), item["metadata"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    place = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{root}{place}/{_PLURALS[item['kind']]}/{metadata['name']}"


class Cluster:
    """Writes Flux's own objects through one client."""

    def __init__(self, api: ApiClient) -> None:
        self.api = api

    def apply(self, item: Mapping[str, Any]) -> None:
        """Bring one object to its declared state, whoever owned its fields before."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        self.api.request("PATCH", path_of(item), query=query, body=dict(item), content_type=APPLY)

    def release(self, item: Mapping[str, Any], manager: str = FIELD_MANAGER) -> None:
        """Give up a field manager's share of an object; fields that nobody else owns go with it."""
        metadata = {key: item["metadata"][key] for key in ("name", "namespace") if key in item["metadata"]}
        nothing = {"apiVersion": item["apiVersion"], "kind": item["kind"], "metadata": metadata}
        query = {"fieldManager": manager, "force": "true"}
        self.api.request("PATCH", path_of(item), query=query, body=nothing, content_type=APPLY)

    def remove_ours(self, item: Mapping[str, Any]) -> None:
        """Delete an object that we applied; one that is not there, or that we own nothing of, is left."""
        path = path_of(item)
        try:
            found = self.api.get(path)
        except ApiError as error:
            if error.status != 404:
                raise
            return
        if ours(found):
            _delete(self.api, path)

    def wait_for_kind(self, item: Mapping[str, Any], timeout: float) -> None:
        """Wait until the API server serves an object's kind, which a definition just brought. Raises FluxError."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                listed = self.api.get(f"/apis/{item['apiVersion']}")["resources"]
            except ApiError as error:
                if error.status != 404:
                    raise
                listed = []
            if any(entry["kind"] == item["kind"] for entry in listed):
                return
            if time.monotonic() > deadline:
                raise FluxError(
                    f"the API server does not serve {item['kind']} {item['apiVersion']} {timeout:g} s after its definition"
                    " was applied. Look at the definition's conditions, and at the API server's log."
                )
            time.sleep(_PAUSE)

    def definitions(self) -> list[Object]:
        """Return the definitions of all of Flux's kinds."""
        return [
            item
            for item in self.api.items(CRDS, labelSelector=_SELECTOR)
            if str(item["spec"]["group"]).endswith(_GROUPS)
        ]

    def instances(self, definition: Mapping[str, Any]) -> tuple[str, list[Object]]:
        """Return the path of a kind in the version that is stored, and all objects of it."""
        spec = definition["spec"]
        stored = next(version["name"] for version in spec["versions"] if version.get("storage"))
        root = f"/apis/{spec['group']}/{stored}"
        return root, self.api.items(f"{root}/{spec['names']['plural']}")

    def object_path(self, root: str, plural: str, item: Mapping[str, Any]) -> str:
        """Return the path of an object of a kind."""
        metadata = item["metadata"]
        place = f"/namespaces/{metadata['namespace']}" if metadata.get("namespace") else ""
        return f"{root}{place}/{plural}/{metadata['name']}"


def to_migrate(present: Iterable[Mapping[str, Any]], wanted: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of definitions that hold objects in a version which the new definitions no longer have."""
    kept = {
        item["metadata"]["name"]: {version["name"] for version in item["spec"]["versions"]}
        for item in wanted
        if item["kind"] == "CustomResourceDefinition"
    }
    return [
        str(item["metadata"]["name"])
        for item in present
        if set((item.get("status") or {}).get("storedVersions") or []) - kept.get(item["metadata"]["name"], set())
        and item["metadata"]["name"] in kept
    ]


def check_migration(present: Iterable[Mapping[str, Any]], wanted: Iterable[Mapping[str, Any]]) -> None:
    """Refuse an upgrade over a release too many: objects cannot be stored anew in a version that is not there yet.

    `present` and `wanted` are definitions before and after. Raises FluxError naming every one.
    """
    listed, definitions = list(wanted), list(present)
    problems = []
    for item in definitions:
        name = str(item["metadata"]["name"])
        kept = next((new for new in listed if new["metadata"]["name"] == name), None)
        stored = next(version["name"] for version in item["spec"]["versions"] if version.get("storage"))
        if kept is not None and stored not in {version["name"] for version in kept["spec"]["versions"]}:
            release = kept["metadata"].get("labels", {}).get("app.kubernetes.io/version", "of the new version")
            problems.append(f"- {name} stores {stored}, which Flux {release} does not have")
    if problems:
        raise FluxError(
            "Flux was left as it is:\n"
            + "\n".join(problems)
            + "\nUpgrade to a release in between first, which has both"
            " the old and the new version and stores the new one."
        )


def check_removal(cluster: Cluster, wanted: Iterable[Mapping[str, Any]], root: Mapping[str, Any] | None) -> None:
    """Refuse to leave a component out whose kinds are in use: Flux prunes a definition, and all its objects with it.

    `wanted` are the installation's objects, `root` the root Kustomization: what stands in its inventory is pruned.
    Raises FluxError naming the objects.
    """
    kept = {item["metadata"]["name"] for item in wanted if item["kind"] == "CustomResourceDefinition"}
    pruned = {named.name for named in kinds.inventory(root or {}) if named.kind == "CustomResourceDefinition"}
    problems = []
    for definition in cluster.definitions():
        name = str(definition["metadata"]["name"])
        if name not in pruned - kept:
            continue
        found = sorted("/".join(filter(None, _place(item))) for item in cluster.instances(definition)[1])
        if found:
            listed = ", ".join(found[:_NAMED]) + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
            label = (definition["metadata"].get("labels") or {}).get("app.kubernetes.io/component", "its controller")
            problems.append(
                f"- without {label} {name} would go, and with it {definition['spec']['names']['kind']} {listed}. Delete "
                f"these by a commit first, or leave {label} in flux_components"
            )
    if problems:
        raise FluxError("Flux was left as it is:\n" + "\n".join(problems))


def _place(item: Mapping[str, Any]) -> tuple[str, str]:
    return str(item["metadata"].get("namespace") or ""), str(item["metadata"]["name"])


def migrate(cluster: Cluster, wanted: Iterable[Mapping[str, Any]], tell: Callable[[str], None]) -> None:
    """Store all objects in the newest version before a definition drops an older one; else the API server refuses it."""
    present = {item["metadata"]["name"]: item for item in cluster.definitions()}
    for name in to_migrate(present.values(), wanted):
        definition = present[name]
        plural = definition["spec"]["names"]["plural"]
        root, found = cluster.instances(definition)
        stored = root.rpartition("/")[2]
        tell(f"storing {len(found)} {plural} as {stored}")
        for item in found:
            _store_again(cluster, cluster.object_path(root, plural, item))
        body = {"status": {"storedVersions": [stored]}}
        cluster.api.request("PATCH", f"{CRDS}/{name}/status", body=body, content_type=_MERGE)


def _store_again(cluster: Cluster, path: str) -> None:
    """Write an object back as it is; one that changes or goes meanwhile is read again or left."""
    for _attempt in range(5):
        try:
            item = cluster.api.get(path)
            cluster.api.request("PUT", path, body=item)
        except ApiError as error:
            if error.status == 404:
                return
            if error.status != 409:
                raise
        else:
            return
    raise FluxError(
        f"{path}: somebody changes it all the time, so it cannot be stored in its new version. Run this again."
    )


def uninstall(cluster: Cluster, namespace: str, timeout: float, tell: Callable[[str], None]) -> None:
    """Take Flux away, and leave what it applied: controllers first, then finalizers, definitions, and the namespace.

    In another order it hangs: a finalizer waits for a controller that is gone. Can be killed and repeated.
    """
    api = cluster.api
    home = f"/api/v1/namespaces/{namespace}"
    deadline = time.monotonic() + timeout
    tell("removing the controllers")
    for group, plural in (("apps/v1", "deployments"), ("networking.k8s.io/v1", "networkpolicies")):
        _delete_all(api, f"/apis/{group}/namespaces/{namespace}/{plural}", _SELECTOR)
    # a controller that still runs would put its finalizers back, and prune what it applied
    _until_gone(
        lambda: [item["metadata"]["name"] for item in api.items(f"{home}/pods", labelSelector=_SELECTOR)],
        deadline,
        "the controllers' pods",
    )
    definitions = cluster.definitions()
    for definition in definitions:
        _strip_finalizers(cluster, definition)
    tell("removing the definitions and their objects")
    for definition in definitions:
        _delete(api, f"{CRDS}/{definition['metadata']['name']}")
    for plural in ("clusterrolebindings", "clusterroles"):
        root = f"/apis/rbac.authorization.k8s.io/v1/{plural}"
        _delete_all(api, root, f"{_SELECTOR},app.kubernetes.io/instance={namespace}")
    tell(f"removing the namespace {namespace}")
    _delete(api, home)
    _until_gone(lambda: _left(api, home), deadline, f"the namespace {namespace}")


def _strip_finalizers(cluster: Cluster, definition: Mapping[str, Any]) -> None:
    plural = definition["spec"]["names"]["plural"]
    root, found = cluster.instances(definition)
    for item in found:
        if item["metadata"].get("finalizers"):
            path = cluster.object_path(root, plural, item)
            cluster.api.request("PATCH", path, body={"metadata": {"finalizers": None}}, content_type=_MERGE)


def _left(api: ApiClient, home: str) -> list[str]:
    """Return why a namespace is still there, empty when it is gone."""
    try:
        found = api.get(home)
    except ApiError as error:
        if error.status == 404:
            return []
        raise
    conditions = (found.get("status") or {}).get("conditions") or []
    return [str(entry.get("message")) for entry in conditions if entry.get("status") == "True"] or ["no word why"]


def _until_gone(look: Callable[[], list[str]], deadline: float, what: str) -> None:
    while left := look():
        if time.monotonic() > deadline:
            raise FluxError(f"wanted {what} to go, found after the whole timeout: {'; '.join(left)}. Run this again.")
        time.sleep(_PAUSE)


def _delete_all(api: ApiClient, root: str, selector: str) -> None:
    for item in api.items(root, labelSelector=selector):
        _delete(api, f"{root}/{item['metadata']['name']}")


def _delete(api: ApiClient, path: str) -> None:
    try:
        api.request("DELETE", path, query={"propagationPolicy": "Background"})
    except ApiError as error:
        if error.status != 404:
            raise
