# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real controller, with the arguments that the role gives it, against a real API server."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import (
    custody,
    keys,
    lifecycle,
    manifest,
    reseal,
    seal,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.backup import Backup
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.lifecycle import Plan, Wanted
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.manifest import Declared
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.seal import Sealer

from tests.integration.controlplane.control_plane import send
from tests.integration.sealed_secrets.controller import Controller, manifests
from tests.integration.sealed_secrets.test_kubeseal import run

ADMIN, SAFE = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
RECIPIENTS = [str(ADMIN.to_public()), str(SAFE.to_public())]


class Environment:
    """An environment's keys, owned as the module owns them."""

    def __init__(self, controller: Controller, directory: Path) -> None:
        self.controller, self.path = controller, directory / "staging.age"
        self.adopt = False

    def bring(self, goal: lifecycle.Goal = "present", **wanted: Any) -> Plan:
        with self.controller.plane.session() as session:
            wanted = {"recipients": file.comparable(RECIPIENTS), **wanted}
            return self._bring(session, Wanted("staging", goal, self.controller.namespace, **wanted))

    def _bring(self, session: Session, wanted: Wanted) -> Plan:
        saved = custody.read_backup(self.path, [ADMIN])
        secrets = custody.key_secrets(session, wanted.namespace)
        cluster = lifecycle.observed(secrets, "staging", "test", saved, adopt=self.adopt)
        now = datetime.now(tz=UTC)
        plan = lifecycle.plan(wanted, cluster, saved, now, lambda start: keys.generate("staging", start, size=2048))
        if plan.write_backup:
            custody.write_backup(self.path, plan.backup, RECIPIENTS, [ADMIN])
        if plan.apply:
            custody.apply_keys(session, plan.apply, "staging")
        return plan

    def backup(self) -> Backup:
        found = custody.read_backup(self.path, [SAFE])
        assert found is not None
        return found

    def sealer(self) -> Sealer:
        current = self.backup().current
        assert current is not None
        return Sealer("staging", current.key.certificate, self.backup().keys)

    def sealed(self, declared: Declared) -> str:
        text = seal.plan(declared, None, self.sealer()).after
        assert text is not None
        return text


@pytest.fixture
def environment(controller: Controller, tmp_path: Path) -> Environment:
    return Environment(controller, tmp_path)


def values(secret: dict[str, Any]) -> dict[str, bytes]:
    return {name: base64.b64decode(value or "") for name, value in (secret.get("data") or {}).items()}


def test_the_real_api_server_takes_the_roles_objects(controller: Controller) -> None:
    """But for the Deployment's pods, which nobody runs here."""
    with controller.plane.session() as session:
        send(session, manifests(sealed_secrets_namespace=controller.namespace))
        policy = session.get(
            f"/apis/networking.k8s.io/v1/namespaces/{controller.namespace}/networkpolicies/sealed-secrets-controller"
        )
        services = session.items(f"/api/v1/namespaces/{controller.namespace}/services")
        roles = session.items(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{controller.namespace}/rolebindings")
    assert policy["spec"]["ingress"][0]["ports"] == [{"port": "metrics", "protocol": "TCP"}]
    assert [service["metadata"]["name"] for service in services] == ["sealed-secrets-controller-metrics"]
    assert roles == [], "nobody reaches the controller by the API server's proxy"


def test_it_loads_our_key_and_makes_none(
    environment: Environment, controller: Controller, kubeseal: Path, tmp_path: Path
) -> None:
    environment.bring()
    controller.start()
    assert [item["metadata"]["name"] for item in controller.key_secrets()] == [environment.backup().records[0].name]
    served = keys.read_certificate(controller.certificate(), "controller")
    assert served.fingerprint == environment.backup().records[0].fingerprint
    assert environment.bring().changes == ()

    items = {"password": b"correct horse", "empty": b"", "binary": bytes(range(256))}
    declared = Declared(
        "x",
        "db",
        "shop",
        items,
        type="example.com/x",
        labels={"app": "shop"},
        template_data={"conf": "p={{ .password }}"},
    )
    text = environment.sealed(declared)
    assert controller.verify(text) == 200
    controller.apply(text)
    secret = controller.secret("shop", "db", lambda found: True)
    assert values(secret) == {**items, "conf": b"p=correct horse"}
    assert (secret["type"], secret["metadata"]["labels"]) == ("example.com/x", {"app": "shop"})
    controller.until("Synced", lambda: controller.condition("shop", "db").get("status") == "True")

    (tmp_path / "crt").write_text(controller.certificate())
    plain = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "theirs", "namespace": "shop"},
        "stringData": {"a": "b"},
    }
    theirs = run(kubeseal, "--cert", str(tmp_path / "crt"), "--format", "yaml", data=yaml.safe_dump(plain).encode())
    controller.apply(theirs.decode())
    assert values(controller.secret("shop", "theirs", lambda found: True)) == {"a": b"b"}


@pytest.mark.parametrize("scope", ["namespace-wide", "cluster-wide"])
def test_every_scope_is_unsealed_where_it_may_be(environment: Environment, controller: Controller, scope: Any) -> None:
    environment.bring()
    controller.start()
    text = environment.sealed(Declared("x", f"first-{scope}", "wide", {"a": b"1"}, scope))
    controller.apply(text.replace(f"first-{scope}", f"second-{scope}"))
    assert values(controller.secret("wide", f"second-{scope}", lambda found: True)) == {"a": b"1"}


def test_a_strict_one_is_not_unsealed_elsewhere(environment: Environment, controller: Controller) -> None:
    environment.bring()
    controller.start()
    text = environment.sealed(Declared("x", "mine", "shop", {"a": b"1"}))
    controller.apply(text.replace("name: mine", "name: other"))
    controller.until("the refusal", lambda: controller.condition("shop", "other").get("status") == "False")
    assert controller.verify(text.replace("name: mine", "name: other")) == 409
    changed = manifest.find(text, "x")[0]
    flipped = changed.items["a"][:-4] + ("AAA=" if changed.items["a"][-4:] != "AAA=" else "BBB=")
    assert controller.verify(manifest.replace(text, {changed.spans["a"]: flipped})) == 409


def test_rotation_and_retirement(environment: Environment, controller: Controller) -> None:
    """New key, restart, seal anew, retire the old key, restart: at each step everything in Git is unsealed."""
    first = environment.bring()
    controller.start()
    declared = Declared("x", "rotated", "shop", {"a": b"1"})
    text = environment.sealed(declared)
    old = first.backup.records[0].fingerprint

    second = environment.bring(replace=old)
    assert [change.action for change in second.changes] == ["generate", "back up", "apply"]
    assert lifecycle.digest(first.backup.records) != lifecycle.digest(second.backup.records)
    controller.stop()
    controller.start()
    current = environment.backup().current
    assert current is not None
    assert keys.read_certificate(controller.certificate(), "c").fingerprint == current.fingerprint != old
    assert controller.verify(text) == 200, "what is in Git is sealed for the old key, which is still loaded"

    done = reseal.plan(reseal.Job("x", text, text), environment.backup().keys, environment.sealer())
    assert done is not None
    assert done.after is not None
    environment.bring("retired", fingerprints=(old,))
    controller.stop()
    controller.start()
    assert controller.verify(text) == 409, "the old key is not loaded any more"
    assert controller.verify(done.after) == 200
    controller.apply(done.after)
    assert values(controller.secret("shop", "rotated", lambda found: True)) == {"a": b"1"}
    assert len(controller.key_secrets()) == 2, "the controller made no key of its own"


def test_a_cluster_made_anew_unseals_what_is_in_git(environment: Environment, controller: Controller) -> None:
    environment.bring()
    text = environment.sealed(Declared("x", "restored", "shop", {"a": b"1"}))
    with controller.plane.session() as session:
        for item in controller.key_secrets():
            name = item["metadata"]["name"]
            path = f"/api/v1/namespaces/{controller.namespace}/secrets/{name}"
            session.call(lambda api, path=path: api.request("DELETE", path))  # type: ignore[misc]
    assert [change.action for change in environment.bring().changes] == ["apply"]
    controller.start()
    controller.apply(text)
    assert values(controller.secret("shop", "restored", lambda found: True)) == {"a": b"1"}


def test_a_key_that_the_controller_made_is_adopted(environment: Environment, controller: Controller) -> None:
    controller.start("--key-size=2048")
    controller.until("its key", controller.key_secrets)
    with pytest.raises(SealError, match="nothing tells that they are those of staging"):
        environment.bring()
    environment.adopt = True
    assert [change.action for change in environment.bring().changes] == ["back up"]
    environment.adopt = False
    (theirs,) = environment.backup().records
    assert theirs.key.certificate.environment == ""
    assert theirs.name.startswith("sealed-secrets-key")
    later = environment.bring(max_age=timedelta(0))
    assert [change.action for change in later.changes] == ["generate", "back up", "apply"]
    environment.bring("compromised", fingerprints=(theirs.fingerprint,))
    labels = {
        item["metadata"]["name"]: item["metadata"]["labels"]["sealedsecrets.bitnami.com/sealed-secrets-key"]
        for item in controller.key_secrets()
    }
    assert labels[theirs.name] == "compromised"
    assert sorted(labels.values()) == ["active", "compromised"]
    assert environment.bring("verified").changes == ()
