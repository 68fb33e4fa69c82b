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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import keys

from tests.integration.canary import Watch
from tests.integration.controlplane import control_plane
from tests.integration.controlplane.control_plane import ControlPlane, Missing, send
from tests.integration.controlplane.git_server import GitServer
from tests.integration.controlplane.site import deployment
from tests.integration.play import Play
from tests.integration.sealed_secrets.conftest import SET
from tests.integration.sealed_secrets.controller import Controller
from tests.integration.sealed_secrets.test_plays import (
    CANARY,
    FORMS,
    Environment,
    git,
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


@dataclass(frozen=True)
class World:
    """An environment, its controller, and what starts that."""

    environment: Environment
    controller: Controller
    kubelet: Kubelet


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
    repository = {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": name, "namespace": "flux-system"},
        "spec": source,
    }
    send(session, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}, repository])
    follow_path(session, name, "./clusters/staging/secrets")


def follow_path(session: Any, name: str, path: str, *, wait: bool = False) -> None:
    spec = {
        "interval": "1m",
        "retryInterval": "2s",
        "timeout": "20s",
        "prune": True,
        "wait": wait,
        "path": path,
        "sourceRef": {"kind": "GitRepository", "name": "flux-system"},
    }
    kustomization = {
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
        "kind": "Kustomization",
        "metadata": {"name": name, "namespace": "flux-system"},
        "spec": spec,
    }
    send(session, [kustomization])


def value(controller: Controller, name: str, item: str, wanted: str) -> None:
    """Wait until a Secret has a value."""
    encoded = base64.b64encode(wanted.encode()).decode()
    controller.secret("shop", name, lambda found: (found.get("data") or {}).get(item) == encoded)


@pytest.fixture
def world(
    cluster: ControlPlane,
    tmp_path: Path,
    settings: dict[str, Any],  # noqa: F811 - the fixture
) -> Iterator[World]:
    """An environment that was set up: its repository is followed, and its secrets are unsealed."""
    try:
        program = find_program(f"{SET}/sealed-secrets-controller")
    except RefusedError as refused:
        lacking(str(refused))
    (tmp_path / "play").mkdir()
    (tmp_path / "git").mkdir()
    environment = Environment(
        cluster, Play(tmp_path / "play"), {**settings, "sealed_secrets_wait_for_flux": True}, tmp_path
    )
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
        yield World(environment, controller, kubelet)
    finally:
        kubelet.stop()
        controller.stop()
        server.close()


def test_from_the_vault_to_the_cluster_and_through_a_rotation(world: World, cluster: ControlPlane) -> None:
    environment, controller, kubelet = world.environment, world.controller, world.kubelet
    play = environment.play
    changed = f"{CANARY}-3"
    with Watch(FORMS, play.temporary) as watch:
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
    with Watch(FORMS, play.temporary) as drilling:
        assert environment.run("drill", arguments=("-vvvv",), vaulted=changed)["code"] == 0, play.output
    assert shown_canary(play, environment.server) == []
    assert "PRIVATE KEY" not in play.output
    assert watch.found | drilling.found == set()


def overlay(tag: str) -> str:
    return f"namespace: shop\nresources: [../../base/app]\nimages:\n  - name: example.com/app\n    newTag: '{tag}'\n"


RELEASES = {
    ".stagecraft/releases.yaml": yaml.safe_dump(
        {
            "environments": [{"name": name, "namespaces": ["shop"]} for name in ("local", "staging")],
            "components": [{"name": "app", "paths": ["app/**"]}],
        }
    ),
    "clusters/base/app/kustomization.yaml": "resources: [deployment.yaml]\n",
    "clusters/local/app/kustomization.yaml": overlay("2"),
    "clusters/staging/app/kustomization.yaml": overlay("1"),
}


def application() -> str:
    """Return a Deployment whose pods need the sealed secret."""
    made = yaml.safe_load(deployment("app", "shop"))
    needed = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}
    made["spec"]["template"]["spec"]["containers"][0]["env"] = [needed]
    return yaml.safe_dump(made)


def test_no_verb_of_an_admin_shows_a_value(world: World, cluster: ControlPlane, tmp_path: Path) -> None:
    """Promotion opens the sealed secret that the application needs; the others work beside it."""
    environment, play = world.environment, world.environment.play
    clone = tmp_path / "clone"
    git("clone", "--quiet", str(environment.server), str(clone), cwd=tmp_path)
    for path, text in {**RELEASES, "clusters/base/app/deployment.yaml": application()}.items():
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        (clone / path).write_text(text)
    git("add", "--all", cwd=clone)
    git("-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "x", cwd=clone)
    git("push", "--quiet", cwd=clone)
    with cluster.session() as session:
        follow_path(session, "app", "./clusters/staging/app", wait=True)
    where = {"kubeconfig": str(cluster.kubeconfig), "context": "test"}
    opener = {name: environment.settings[f"sealed_secrets_{name}"] for name in ("backup", "identity_files")}
    variables = {
        **environment.settings,
        "release_clusters": {"staging": where},
        "release_verify": {"settle": 0.5, "timeout": 60},
        "release_gates": {"sealed": opener},
        "component": "app",
        "from": "local",
        "to": "staging",
    }
    back = ["-e", "environment=staging", "-e", "reason=test"]
    key = keys.read_certificate(environment.file("sealed-secrets.crt"), "x").fingerprint
    runs: list[tuple[str, list[str], bool, list[str]]] = [
        ("promote", [], True, ["verified True", "2 open: shop/db, shop/mail"]),
        ("rollback", back, True, ["verified True"]),
        ("status", ["-e", "status_releases=true"], True, ["Kustomization flux-system/app"]),
        ("verify-environment", [], False, ["GitOps: "]),
        ("seal-secrets", [], True, ["unsealed"]),
        ("drill-sealed-secrets", [], True, ["2 items of 2 sealed secrets were opened"]),
        ("rotate-sealing-key", ["-e", f"sealed_secrets_replace_key={key}"], True, ["Put the old key out of use"]),
    ]
    with Watch(FORMS, play.temporary) as watch:
        for name, arguments, works, words in runs:
            done = play.playbook(name, "-vvvv", *arguments, variables=variables)
            assert (done["code"] == 0) is works, f"{name}: {play.output[-6000:]}"
            assert [one for one in words if one not in play.output] == [], f"{name}: {play.output[-6000:]}"
            assert shown_canary(play, environment.server) == [], name
            assert "PRIVATE KEY" not in play.output, name
    assert watch.found == set()
