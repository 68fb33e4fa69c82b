# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real sealed-secrets controller as a process on loopback, with the arguments that the role gives it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError

from tests.integration.controlplane.control_plane import ControlPlane, free_ports, send

_TEMPLATE = Path(__file__).parents[3] / "roles" / "sealed_secrets" / "templates" / "controller.yaml.j2"
_numbers = itertools.count(1)


def manifests(**values: Any) -> list[dict[str, Any]]:
    """The role's objects."""
    engine = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)
    engine.filters["to_json"] = json.dumps
    engine.filters["stagecraft.gitops.image_reference"] = lambda name, version: f"docker.io/bitnami/{name}:{version}"
    given = {
        "sealed_secrets_namespace": "kube-system",
        "sealed_secrets_version": "0.40.0",
        "sealed_secrets_metrics_namespaces": ["monitoring"],
        "sealed_secrets_tolerations": ["node-role.kubernetes.io/control-plane"],
        "sealed_secrets_resources": {"limits": {"memory": "128Mi"}},
        "sealed_secrets_key_result": {"loaded": "6b86b273ff34fce1"},
    }
    return list(yaml.safe_load_all(engine.from_string(_TEMPLATE.read_text()).render({**given, **values})))


def definition() -> dict[str, Any]:
    """The CustomResourceDefinition that the role applies."""
    return next(item for item in manifests() if item["kind"] == "CustomResourceDefinition")


class Controller:
    """A controller whose keys are in `namespace`; `start` and `stop` are what a new pod is."""

    def __init__(self, plane: ControlPlane, program: Path) -> None:
        self.plane, self.program = plane, program
        self.namespace = f"keys{next(_numbers)}"
        self._home = plane.directory / self.namespace
        self._http, self._metrics = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        self._account()
        with plane.session() as session:
            send(session, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}])

    def _account(self) -> None:
        """What a pod finds of its service account; the token is the admin's."""
        self._home.mkdir()
        user = yaml.safe_load(self.plane.kubeconfig.read_text())["users"][0]["user"]
        (self._home / "token").write_text(user["token"])
        (self._home / "namespace").write_text(self.namespace)
        shutil.copy(self.plane.directory / "pki" / "ca.crt", self._home / "ca.crt")

    @property
    def log(self) -> str:
        return (self._home / "log").read_text()

    def start(self, *arguments: str) -> None:
        """Start it and wait until it answers; `arguments` come behind the role's own."""
        role = next(item for item in manifests() if item["kind"] == "Deployment")
        own = role["spec"]["template"]["spec"]["containers"][0]["args"]
        place = "/var/run/secrets/kubernetes.io/serviceaccount"
        Path(place).mkdir(parents=True, exist_ok=True)
        script = f'mount --bind "$1" {place} && shift && exec "$@"'
        listen = [f"--listen-addr=127.0.0.1:{self._http}", f"--listen-metrics-addr=127.0.0.1:{self._metrics}"]
        with (self._home / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL", "--", "unshare", "-m", "--propagation", "private"),
                    *("sh", "-c", script, "sh", str(self._home), str(self.program), *own, *listen, *arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "KUBERNETES_SERVICE_HOST": "127.0.0.1",
                    "KUBERNETES_SERVICE_PORT": str(self.plane.ports["api"]),
                    "POD_NAMESPACE": self.namespace,
                },
            )
        self.until("the controller", lambda: self.get("/healthz") == "ok\n" or self.certificate())

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._http}{path}", timeout=2) as answer:
            return str(answer.read().decode())

    def certificate(self) -> str:
        return self.get("/v1/cert.pem")

    def verify(self, text: str) -> int:
        """Ask it whether it can unseal an object; 200 if so."""
        content = json.dumps(yaml.safe_load(text)).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self._http}/v1/verify", content)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def apply(self, text: str) -> None:
        """Apply a sealed secret, with its namespace."""
        item = yaml.safe_load(text)
        with self.plane.session() as session:
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": item["metadata"]["namespace"]}}
            send(session, [namespace])
            send(session, [item])

    def secret(self, namespace: str, name: str, wanted: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a Secret of which `wanted` holds."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            with self.plane.session() as session:
                found[:] = [session.find(f"/api/v1/namespaces/{namespace}/secrets/{name}") or {}]
            return bool(found[0]) and wanted(found[0])

        self.until(f"Secret {namespace}/{name}", look)
        return found[0]

    def condition(self, namespace: str, name: str) -> dict[str, Any]:
        """Return the SealedSecret's condition Synced, {} as long as there is none."""
        with self.plane.session() as session:
            path = f"/apis/bitnami.com/v1alpha1/namespaces/{namespace}/sealedsecrets/{name}"
            status = session.get(path).get("status") or {}
        return next((one for one in status.get("conditions") or [] if one["type"] == "Synced"), {})

    def key_secrets(self) -> list[dict[str, Any]]:
        with self.plane.session() as session:
            path = f"/api/v1/namespaces/{self.namespace}/secrets"
            return session.items(path, labelSelector="sealedsecrets.bitnami.com/sealed-secrets-key")

    def until(self, what: str, holds: Callable[[], object], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        last: object = None
        while time.monotonic() < deadline:
            try:
                if holds():
                    return
            except (OSError, ApiError, KeyError) as error:
                last = error
            if self._process is not None and self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"{what}: not after {seconds:g} s ({last}):\n{self.log}")
