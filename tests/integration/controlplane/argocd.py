# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for Argo CD's application controller, on a real API server: it refreshes, compares, syncs and tells health.

It is no Argo CD: what it knows of a repository is one image of a kustomization, and it writes the fields of an
Application's status that v3.5 writes, in the order in which it does.
"""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.argocd.applications import REFRESH
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import status
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref, mapping, text
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session

from tests.integration.controlplane.control_plane import send
from tests.integration.controlplane.git_server import git
from tests.integration.controlplane.site import Site, deployment

_LOOK = 0.1
NAMESPACE = "argocd"
# As upstream's: no subresource for the status, so whoever writes an Application writes all of it.
CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "applications.argoproj.io"},
    "spec": {
        "group": "argoproj.io",
        "names": {
            "kind": "Application",
            "listKind": "ApplicationList",
            "plural": "applications",
            "singular": "application",
        },
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


class ArgoCD:
    """Looks after the Applications of one site until it is closed."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._over = Event()
        self._session = site.plane.session()
        self._thread = Thread(target=self._work, daemon=True)

    def application(self, name: str, path: str, **policy: Any) -> Ref:
        """Make an Application that follows a directory of the site's repository, and return it."""
        spec = {
            "project": "default",
            "source": {"repoURL": f"file://{self._site.repository.bare}", "path": path, "targetRevision": "HEAD"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": self._site.name},
            "syncPolicy": policy,
        }
        named = Ref("argoproj.io", "Application", NAMESPACE, f"{self._site.name}-{name}")
        metadata = {"name": named.name, "namespace": NAMESPACE}
        send(
            self._site.session,
            [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": metadata, "spec": spec}],
        )
        return named

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._session.close()

    def _work(self) -> None:
        while not self._over.wait(_LOOK):
            served = self._session.preferred("argoproj.io", "Application")
            for item in self._session.items(served.collection(NAMESPACE)) if served else ():
                if text(item, "spec", "destination", "namespace") == self._site.name:
                    before = json.dumps(item)
                    self._look_after(item)
                    if json.dumps(item) != before:
                        self._write(self._session, item)

    def _look_after(self, item: dict[str, Any]) -> None:
        """One step: refresh, or begin an operation, or end it, or tell health."""
        now = datetime.now(tz=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        told = item.setdefault("status", {})
        annotations = item["metadata"].get("annotations", {})
        operation = told.get("operationState", {})
        if item.get("operation"):
            told["operationState"] = {"phase": "Running", "operation": item.pop("operation"), "startedAt": now}
        elif operation.get("phase") == "Running":
            at = text(operation, "operation", "sync", "revision")
            body = yaml.safe_load(deployment("app", self._site.name, self._image(item, at)))
            body["metadata"]["name"] = self._name(item)
            send(self._session, [body])
            told["operationState"] = {
                **operation, "phase": "Succeeded", "syncResult": {"revision": at}, "finishedAt": now, "deployed": at,
            }  # fmt: skip
            annotations[REFRESH] = "normal"
        elif REFRESH in annotations:
            annotations.pop(REFRESH)
            head = git(self._site.repository.bare, "rev-parse", "main")
            same = self._image(item, head) == self._running(item)
            told |= {"sync": {"status": "Synced" if same else "OutOfSync", "revision": head}, "reconciledAt": now}
            if not same and mapping(item, "spec", "syncPolicy").get("automated") is not None:
                item["operation"] = {"initiatedBy": {"automated": True}, "sync": {"revision": head}}
        item["metadata"]["annotations"] = annotations
        workload = self._workload(item)
        state = status.status(workload).state if workload else ""
        health = {"": "Missing", "Current": "Healthy", "Failed": "Degraded"}.get(state, "Progressing")
        named = {"group": "apps", "version": "v1", "kind": "Deployment", "namespace": self._site.name}
        told |= {"health": {"status": health}, "resources": [{**named, "name": self._name(item)}]}

    def _write(self, session: Session, item: dict[str, Any]) -> None:
        served = session.preferred("argoproj.io", "Application")
        assert served is not None
        path = served.path(NAMESPACE, text(item, "metadata", "name"))
        # somebody else has written it since; it is looked at again
        with contextlib.suppress(ApiError):
            session.call(lambda api: api.request("PUT", path, body=item))

    def _name(self, item: dict[str, Any]) -> str:
        return f"{text(item, 'spec', 'source', 'path').rpartition('/')[2]}-app"

    def _image(self, item: dict[str, Any], commit: str) -> str:
        path = f"{text(item, 'spec', 'source', 'path')}/app/kustomization.yaml"
        (image,) = yaml.safe_load(git(self._site.repository.bare, "show", f"{commit}:{path}"))["images"]
        return f"{image['newName']}:{image['newTag']}"

    def _workload(self, item: dict[str, Any]) -> dict[str, Any] | None:
        return self._session.object(Ref("apps", "Deployment", self._site.name, self._name(item)))

    def _running(self, item: dict[str, Any]) -> str:
        workload = self._workload(item)
        return "" if workload is None else str(workload["spec"]["template"]["spec"]["containers"][0]["image"])
