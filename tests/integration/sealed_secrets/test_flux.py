# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole chain: role, Git, Flux and the real controller. What is in Git becomes Secrets, before and after a rotation."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import keys

from tests.integration.controlplane import control_plane
from tests.integration.controlplane.control_plane import ControlPlane, Missing, send
from tests.integration.controlplane.git_server import GitServer
from tests.integration.kube.test_actions import Play
from tests.integration.sealed_secrets.conftest import SET
from tests.integration.sealed_secrets.controller import Controller
from tests.integration.sealed_secrets.test_plays import (
    CANARY,
    Environment,
    Watch,
    settings,  # noqa: F401 - a fixture
    shown_canary,
)
from tests.mirror.errors import RefusedError
from tests.mirror.programs import find_program
from tests.programs import lacking


@pytest.fixture(scope="module")
def cluster() -> Iterator[ControlPlane]:
    try:
        running = control_plane.up()
    except Missing as missing:
        lacking(str(missing))
    yield running
    running.down()


class Kubelet:
    """Runs the controller as the Deployment wants it: a new process for each new pod template."""

    def __init__(self, controller: Controller) -> None:
        self.controller, self.seen, self.starts = controller, "", 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        path = f"/apis/apps/v1/namespaces/{self.controller.namespace}/deployments/sealed-secrets-controller"
        while not self._stop.is_set():
            with contextlib.suppress(ApiError, OSError), self.controller.plane.session() as session:
                found = session.find(path)
                wanted = (
                    found["spec"]["template"]["metadata"]["annotations"]["stagecraft.gitops/sealing-keys"]
                    if found
                    else ""
                )
                if wanted != self.seen:
                    self.controller.stop()
                    self.controller.start()
                    self.seen, self.starts = wanted, self.starts + 1
            time.sleep(0.2)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def follow(session: Any, url: str, name: str) -> None:
    """What flux_bootstrap makes: a source, and a Kustomization for the folder of sealed secrets."""
    source = {"url": url, "interval": "5s", "ref": {"branch": "main"}, "timeout": "20s"}
    spec = {
        "interval": "1m",
        "retryInterval": "2s",
        "timeout": "20s",
        "prune": True,
        "path": "./clusters/staging/secrets",
        "sourceRef": {"kind": "GitRepository", "name": name},
    }
    metadata = {"name": name, "namespace": "flux-system"}
    send(
        session,
        [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
            {
                "apiVersion": "source.toolkit.fluxcd.io/v1",
                "kind": "GitRepository",
                "metadata": metadata,
                "spec": source,
            },
            {
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
                "kind": "Kustomization",
                "metadata": metadata,
                "spec": spec,
            },
        ],
    )


def value(controller: Controller, name: str, item: str, wanted: str) -> None:
    """Wait until a Secret has a value."""
    encoded = base64.b64encode(wanted.encode()).decode()
    controller.secret("shop", name, lambda found: (found.get("data") or {}).get(item) == encoded)


def test_from_the_vault_to_the_cluster_and_through_a_rotation(
    cluster: ControlPlane,
    tmp_path: Path,
    settings: dict[str, Any],  # noqa: F811 - the fixture
) -> None:
    try:
        program = find_program(f"{SET}/sealed-secrets-controller")
    except RefusedError as refused:
        lacking(str(refused))
    (tmp_path / "play").mkdir()
    (tmp_path / "git").mkdir()
    play = Play(tmp_path / "play")
    environment = Environment(cluster, play, {**settings, "sealed_secrets_wait_for_flux": True}, tmp_path)
    controller = Controller(cluster, program)
    environment.settings["sealed_secrets_namespace"] = controller.namespace
    server = GitServer(tmp_path)
    subprocess.run(["git", "config", "http.receivepack", "true"], cwd=environment.server, check=True)
    kubelet = Kubelet(controller)
    try:
        environment.set_up()
        with cluster.session() as session:
            follow(session, f"{server.url}/server.git", "flux-system")
        value(controller, "db", "password", CANARY)
        value(controller, "mail", "token", f"{CANARY}-2")

        changed = f"{CANARY}-3"
        with Watch(play) as watch:
            done = environment.run("change", arguments=("-vvvv",), vaulted=changed)
            assert (done["code"], done["changed"]) == (0, 1), play.output
            with cluster.session() as session:
                found = session.get("/api/v1/namespaces/shop/secrets/db")["data"]["password"]
            assert base64.b64decode(found).decode() == changed, "it ended before the cluster had the value"
            assert shown_canary(play, environment.server) == []
            done = environment.run("change", arguments=("-vvvv",), vaulted=changed)
            assert (done["code"], done["changed"]) == (0, 0), play.output

            old = keys.read_certificate(environment.file("sealed-secrets.crt"), "x").fingerprint
            before = kubelet.starts
            done = environment.run("rotate", arguments=("-vvvv",), sealed_secrets_replace_key=old, vaulted=changed)
            assert done["code"] == 0, play.output
            assert shown_canary(play, environment.server) == []
            assert "PRIVATE KEY" not in play.output
        assert kubelet.starts >= before + 2, "it was started for the new key, and without the old one"
        assert environment.key_states() == ["active", "retired"]
        value(controller, "db", "password", changed)
        with cluster.session() as session:
            for name in ("db", "mail"):
                session.call(lambda api, name=name: api.request("DELETE", f"/api/v1/namespaces/shop/secrets/{name}"))  # type: ignore[misc]
        value(controller, "db", "password", changed)
        value(controller, "mail", "token", f"{changed}-2")
        with Watch(play) as drilling:
            assert environment.run("drill", arguments=("-vvvv",), vaulted=changed)["code"] == 0, play.output
        assert shown_canary(play, environment.server) == []
        assert "PRIVATE KEY" not in play.output
        assert watch.found | drilling.found == set()
    finally:
        kubelet.stop()
        controller.stop()
        server.close()
