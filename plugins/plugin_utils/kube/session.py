# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One way to an API server that many threads share and that is made again after a failure, and its resources by kind."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import client
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError, KubeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref

T = TypeVar("T")


@dataclass(frozen=True)
class Resource:
    """A kind as one API version serves it. `version` is as in apiVersion ("apps/v1"), `plural` as in paths."""

    version: str
    kind: str
    plural: str
    namespaced: bool

    @property
    def group(self) -> str:
        """The API group, "" for the core group."""
        return self.version.rpartition("/")[0]

    def collection(self, namespace: str = "") -> str:
        """The path of all objects, or of those in one namespace."""
        root = f"/apis/{self.version}" if "/" in self.version else f"/api/{self.version}"
        return (
            f"{root}/namespaces/{namespace}/{self.plural}" if self.namespaced and namespace else f"{root}/{self.plural}"
        )

    def path(self, namespace: str, name: str) -> str:
        """The path of one object. Raises KubeError where it has no namespace and needs one."""
        if self.namespaced and not namespace:
            raise KubeError(f"{self.kind} {name} has no namespace, and its kind lives in one")
        return f"{self.collection(namespace)}/{name}"


class Session:
    """A client that is opened when it is first needed, and once more after its connection broke."""

    def __init__(self, access: client.ApiAccess) -> None:
        self._access = access
        self._lock = threading.Lock()
        self._client: client.ApiClient | None = None
        self._resources: dict[str, dict[str, Resource]] = {}
        self._preferred: dict[tuple[str, str], Resource] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the next request opens them again."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def api(self) -> client.ApiClient:
        """The open client. Raises KubeconfigError or ApiError."""
        with self._lock:
            if self._client is None:
                self._client = client.connect(self._access)
            return self._client

    def call(self, do: Callable[[client.ApiClient], T]) -> T:
        """Do something with the client; one that got no answer is not used again."""
        used = self.api()
        try:
            return do(used)
        except ApiError as error:
            if error.status is None:
                self.give_up(used)
            raise

    def give_up(self, used: client.ApiClient) -> None:
        """Close a client that broke, unless another thread has replaced it already."""
        with self._lock:
            if self._client is used:
                used.close()
                self._client = None

    def get(self, path: str, **query: str | int) -> Any:
        """GET `path`. Raises ApiError."""
        return self.call(lambda api: api.get(path, **query))

    def find(self, path: str) -> Any | None:
        """GET `path`; None where it is not there."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def items(self, path: str, **query: str | int) -> list[dict[str, Any]]:
        """Return all objects of the list at `path`. Raises ApiError."""
        return self.call(lambda api: api.items(path, **query))

    def resource(self, version: str, kind: str, *, fresh: bool = False) -> Resource | None:
        """The resource that serves `kind` in the API `version`, or None; `fresh` asks again where it was missing."""
        known = self._resources.get(version)
        if known is None or (fresh and kind not in known):
            root = f"/apis/{version}" if "/" in version else f"/api/{version}"
            found = self.find(root) or {}
            known = {
                str(entry["kind"]): Resource(version, str(entry["kind"]), str(entry["name"]), bool(entry["namespaced"]))
                for entry in found.get("resources") or []
                if "/" not in entry["name"]
            }
            self._resources[version] = known
        return known.get(kind)

    def preferred(self, group: str, kind: str) -> Resource | None:
        """The resource that serves `kind` of `group` in the group's preferred version, or in any."""
        if not group:
            return self.resource("v1", kind)
        if (group, kind) in self._preferred:
            return self._preferred[group, kind]
        found = self.find(f"/apis/{group}") or {}
        first = (found.get("preferredVersion") or {}).get("groupVersion")
        others = (version["groupVersion"] for version in found.get("versions") or [])
        for version in dict.fromkeys([*([first] if first else []), *others]):
            served = self.resource(str(version), kind, fresh=True)
            if served is not None:
                self._preferred[group, kind] = served
                return served
        return None

    def object(self, named: Ref) -> dict[str, Any] | None:
        """Read one object in its group's preferred version; None where it, or its kind, is not there."""
        served = self.preferred(named.group, named.kind)
        found = None if served is None else self.find(served.path(named.namespace, named.name))
        return found if isinstance(found, dict) else None
