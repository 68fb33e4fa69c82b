# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test of Flux works with: a repository of its own and the objects that follow it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import kinds, survey, wait
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.wait import Outcome
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref, ref
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session

from tests.integration.controlplane.control_plane import ControlPlane, send
from tests.integration.controlplane.git_server import GitServer, Repository

NAMESPACE = "flux-system"


def config_map(name: str, namespace: str, **data: str) -> str:
    """A manifest that is ready as soon as it is there."""
    return yaml.safe_dump(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}
    )


def deployment(name: str, namespace: str, image: str = "example.com/app:1", replicas: int = 1) -> str:
    """A manifest that kwok makes ready, unless the image's tag is `missing`."""
    labels = {"app": name}
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "app", "image": image}], "terminationGracePeriodSeconds": 0},
        },
    }
    head = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": namespace}}
    return yaml.safe_dump({**head, "spec": spec})


class Site:
    """One repository; `name` is also that of the GitRepository and of the namespace."""

    def __init__(self, plane: ControlPlane, session: Session, server: GitServer, name: str, directory: Path) -> None:
        self.plane, self.session, self.server, self.name, self.directory = plane, session, server, name, directory
        self.repository = Repository(server.root, name)
        self.made: list[Ref] = []
        send(session, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])

    @property
    def source(self) -> Ref:
        return Ref(kinds.SOURCE, "GitRepository", NAMESPACE, self.name)

    def ref(self, name: str, kind: str = "Kustomization") -> Ref:
        return Ref(kinds.BY_NAME[kind].group, kind, NAMESPACE, f"{self.name}-{name}")

    def follow(self, **changes: Any) -> None:
        """Make the GitRepository; `changes` are fields of its spec."""
        spec = {
            "url": f"{self.server.url}/{self.name}.git",
            "interval": "1h",
            "ref": {"branch": "main"},
            "timeout": "20s",
        }
        self._send("GitRepository", self.name, {**spec, **changes})

    def kustomization(self, name: str, path: str | None = None, needs: tuple[str, ...] = (), **changes: Any) -> None:
        """Make a Kustomization of the source; `needs` are others of this site."""
        spec = {
            "interval": "1h",
            "retryInterval": "1h",
            "timeout": "8s",
            "prune": True,
            "path": f"./{path or name}",
            "sourceRef": {"kind": "GitRepository", "name": self.name},
            "dependsOn": [{"name": f"{self.name}-{need}"} for need in needs],
        }
        self._send("Kustomization", f"{self.name}-{name}", {**spec, **changes})

    def manifest(self, name: str, path: str | None = None, **changes: Any) -> str:
        """A Kustomization as it stands in the repository."""
        spec = {"interval": "1h", "retryInterval": "1h", "timeout": "8s", "prune": True, "path": f"./{path or name}"}
        head = {"apiVersion": f"{kinds.KUSTOMIZE}/v1", "kind": "Kustomization"}
        metadata = {"name": f"{self.name}-{name}", "namespace": NAMESPACE}
        source = {"sourceRef": {"kind": "GitRepository", "name": self.name}}
        return yaml.safe_dump({**head, "metadata": metadata, "spec": {**spec, **source, **changes}})

    def config_map(self, name: str, **data: str) -> str:
        return config_map(name, self.name, **data)

    def deployment(self, name: str, image: str = "example.com/app:1") -> str:
        return deployment(name, self.name, image)

    def _send(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        group = kinds.BY_NAME[kind].group
        metadata = {"name": name, "namespace": NAMESPACE}
        send(self.session, [{"apiVersion": f"{group}/v1", "kind": kind, "metadata": metadata, "spec": spec}])
        self.made.append(Ref(group, kind, NAMESPACE, name))

    def wait(self, commit: str = "", *, seconds: float = 25.0, **goal: Any) -> wait.Outcome:
        """Wait for a commit; `goal` is of survey.Goal and wait.Options."""
        chosen = {key: goal.pop(key) for key in ("poke", "superseded", "clone") if key in goal}
        return wait.Wait(
            self.session,
            survey.Goal(self.source, commit, **{"grace": 2.0, **goal}),
            wait.Options(timeout=seconds, **chosen),
        ).run()

    def ready(self, commit: str = "", **goal: Any) -> Outcome:
        """Wait for a commit and see it well; who is short of processor time may be in passing trouble for some seconds."""
        outcome = self.wait(commit, **{"grace": 20.0, **goal})
        assert outcome.ok, f"after {outcome.seconds:.2f} s: {outcome.sentences()}"
        return outcome

    def patch(self, named: Ref, body: dict[str, Any]) -> None:
        served = self.session.preferred(named.group, named.kind)
        assert served is not None
        path = served.path(named.namespace, named.name)
        kind = "application/merge-patch+json"
        self.session.call(lambda api: api.request("PATCH", path, body=body, content_type=kind))

    def live(self, named: Ref) -> dict[str, Any]:
        found = self.session.object(named)
        assert found is not None, named
        return found

    def remove(self) -> None:
        """Take away what Flux would go on with; the namespace stays, nobody else has its name."""
        for named in reversed(self.made):
            served = self.session.preferred(named.group, named.kind)
            assert served is not None
            _end(self.session, served.path(named.namespace, named.name))


def take_away(session: Session) -> None:
    """Take all objects of Flux away, also those that Flux has made; nothing that they applied goes with them."""
    found = [
        (served, ref(item))
        for kind in kinds.BY_NAME.values()
        if (served := session.preferred(kind.group, kind.name)) is not None
        for item in session.items(served.collection())
    ]
    for served, named in found:
        _end(session, served.path(named.namespace, named.name))


def _end(session: Session, path: str) -> None:
    """Take an object of Flux away at once: suspended, nothing that it applied goes with it."""
    api, merge = session.api(), "application/merge-patch+json"
    free = {"metadata": {"finalizers": None}}
    with contextlib.suppress(ApiError):
        api.request("PATCH", path, body={**free, "spec": {"suspend": True}}, content_type=merge)
        api.request("DELETE", path)
        # the controller may have put its finalizer back in between
        api.request("PATCH", path, body=free, content_type=merge)


def pretty(outcome: wait.Outcome) -> str:
    """What a failed test shows."""
    return json.dumps([outcome.seconds, outcome.revision, outcome.sentences()], indent=1)
