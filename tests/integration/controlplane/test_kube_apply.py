# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kube_apply's engine against a real API server."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import apply, manifests
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.client import ApiClient
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError, KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session

from tests.integration.controlplane.control_plane import send
from tests.integration.controlplane.site import config_map, deployment

_numbers = itertools.count(1)


@pytest.fixture
def namespace(session: Session) -> str:
    name = f"apply-{next(_numbers)}"
    send(session, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
    return name


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Every request that is sent."""
    sent: list[tuple[str, str]] = []
    original = ApiClient._send

    def send_and_note(self: ApiClient, method: str, target: str, *more: Any, **options: Any) -> Any:
        sent.append((method, target))
        return original(self, method, target, *more, **options)

    monkeypatch.setattr(ApiClient, "_send", send_and_note)
    return sent


def run(session: Session, texts: list[str], *, check: bool = False, **options: Any) -> apply.Plan:
    objects = manifests.parse(texts)
    applier = apply.Applier(session, apply.Options(**options))
    plan = applier.plan(objects)
    if not check:
        applier.apply(objects, plan)
    return plan


def actions(plan: apply.Plan) -> dict[str, str]:
    return {str(change.named): change.action for change in plan.changes}


def everything(namespace: str) -> list[str]:
    """One of each kind whose values the API server completes, in forms that users write."""
    service = f"""
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: {namespace}}}
spec:
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: http, name: http}}]
"""
    secret = f"""
apiVersion: v1
kind: Secret
metadata: {{name: key, namespace: {namespace}}}
stringData: {{password: canary-4711}}
"""
    role = f"""
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: "system:reader", namespace: {namespace}}}
rules: [{{apiGroups: [""], resources: [pods], verbs: [get]}}]
"""
    sized = yaml.safe_load(deployment("sized", namespace))
    container = sized["spec"]["template"]["spec"]["containers"][0]
    container["resources"] = {"limits": {"cpu": "1000m", "memory": "128Mi"}}
    container["ports"] = [{"containerPort": 80, "name": "http"}]
    sized["spec"]["template"]["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {}}]
    return [
        config_map("a", namespace, key="1"),
        deployment("web", namespace),
        service,
        secret,
        role,
        yaml.safe_dump(sized),
    ]


def test_second_run_writes_nothing_and_only_lists(
    session: Session, namespace: str, asked: list[tuple[str, str]]
) -> None:
    texts = [*everything(namespace), *(config_map(f"m{n}", namespace, key="1") for n in range(20))]
    assert set(actions(run(session, texts)).values()) == {"create"}
    asked.clear()
    plan = run(session, texts)
    assert plan.changes == ()
    assert plan.unchanged == len(texts)
    patches = [target for method, target in asked if method == "PATCH"]
    assert all("dryRun=All" in target for target in patches)
    assert not any("configmaps" in target for target in patches)
    # what is written in another way than it is kept: a quantity
    assert len(patches) <= 1


def test_check_mode_says_what_the_run_does_and_changes_nothing(session: Session, namespace: str) -> None:
    run(session, everything(namespace))
    changed = [config_map("a", namespace, key="2"), config_map("new", namespace), *everything(namespace)[1:]]
    before = session.items(f"/api/v1/namespaces/{namespace}/configmaps")
    told = run(session, changed, check=True)
    assert session.items(f"/api/v1/namespaces/{namespace}/configmaps") == before
    done = run(session, changed)
    assert (
        actions(told)
        == actions(done)
        == {
            f"ConfigMap {namespace}/a": "update",
            f"ConfigMap {namespace}/new": "create",
        }
    )
    assert told.changes[0].before["data"] == {"key": "1"}  # type: ignore[index]
    assert told.changes[0].after["data"] == {"key": "2"}  # type: ignore[index]


def test_what_somebody_else_changed_is_put_back_and_what_they_own_is_left(session: Session, namespace: str) -> None:
    run(session, [config_map("a", namespace, ours="1")])
    path = f"/api/v1/namespaces/{namespace}/configmaps/a"
    kind = "application/merge-patch+json"
    session.call(lambda api: api.request("PATCH", path, body={"data": {"ours": "2", "theirs": "x"}}, content_type=kind))
    with pytest.raises(KubeError, match=r"\.data\.ours is owned by .*another value.*force: true"):
        run(session, [config_map("a", namespace, ours="1")])
    plan = run(session, [config_map("a", namespace, ours="1")], force=True)
    assert actions(plan) == {f"ConfigMap {namespace}/a": "update"}
    assert session.get(path)["data"] == {"ours": "1", "theirs": "x"}
    assert plan.changes[0].after["data"] == {"ours": "1"}  # type: ignore[index]


def test_a_field_that_left_the_manifest_leaves_the_object(session: Session, namespace: str) -> None:
    run(session, [config_map("a", namespace, one="1", two="2")])
    plan = run(session, [config_map("a", namespace, one="1")])
    assert plan.changes[0].before["data"] == {"one": "1", "two": "2"}  # type: ignore[index]
    assert session.get(f"/api/v1/namespaces/{namespace}/configmaps/a")["data"] == {"one": "1"}


def test_same_values_of_another_manager_are_adopted_once(session: Session, namespace: str) -> None:
    send(session, [yaml.safe_load(config_map("a", namespace, key="1"))])
    assert actions(run(session, [config_map("a", namespace, key="1")])) == {f"ConfigMap {namespace}/a": "adopt"}
    assert run(session, [config_map("a", namespace, key="1")]).changes == ()


def test_all_refusals_are_told_and_nothing_is_applied(session: Session, namespace: str) -> None:
    texts = [
        config_map("fine", namespace),
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: bad, namespace: {namespace}}}\ndata: {{'no good': 'x'}}\n",
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: bad, namespace: {namespace}}}\nspec: {{}}\n",
    ]
    with pytest.raises(KubeError, match=r"(?s)nothing was applied.*ConfigMap \S+/bad: .*Pod \S+/bad: "):
        run(session, texts)
    assert session.find(f"/api/v1/namespaces/{namespace}/configmaps/fine") is None
    with pytest.raises(KubeError, match=r"has no Widget in example.com/v1: correct apiVersion"):
        run(session, ["apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n"])


def test_definitions_and_namespaces_come_first(session: Session, namespace: str) -> None:
    group = f"{namespace}.example.com"
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
                }
            ],
        },
    }
    widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": f"{namespace}-new"}}
    home = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{namespace}-new"}}
    texts = [yaml.safe_dump(item) for item in ({**widget, "spec": {"size": 3}}, definition, home)]
    told = run(session, texts, check=True)
    assert set(actions(told).values()) == {"create"}
    assert len(told.changes) == 3
    run(session, texts)
    assert run(session, texts).changes == ()


def test_prune_removes_only_what_was_applied_and_is_still_ours(session: Session, namespace: str) -> None:
    book: dict[str, Any] = {"inventory": Ref("", "ConfigMap", namespace, "inventory"), "prune": True}
    texts = [config_map(name, namespace, key="1") for name in ("stays", "goes", "taken")]
    run(session, texts, **book)
    listed = session.get(f"/api/v1/namespaces/{namespace}/configmaps/inventory")["data"]["objects"]
    assert f"{namespace}_goes__ConfigMap" in listed
    run(session, [config_map("taken", namespace, key="2")], manager="somebody", force=True)
    send(session, [yaml.safe_load(config_map("never-ours", namespace))])
    told = run(session, texts[:1], check=True, **book)
    plan = run(session, texts[:1], **book)
    assert actions(told) == actions(plan)
    assert actions(plan)[f"ConfigMap {namespace}/goes"] == "delete"
    left = {item["metadata"]["name"] for item in session.items(f"/api/v1/namespaces/{namespace}/configmaps")}
    assert {"stays", "never-ours", "inventory"} <= left
    assert "goes" not in left
    again = run(session, texts[:1], **book)
    assert again.changes == ()
    assert not again.inventory_differs


def test_a_thousand_objects(session: Session, namespace: str) -> None:
    texts = ["---\n".join(config_map(f"m{n}", namespace, key=str(n)) for n in range(1000))]
    assert len(run(session, texts, preflight=False).changes) == 1000
    assert run(session, texts).unchanged == 1000


@pytest.fixture
def old_api(namespace: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Refuse server-side apply as an old aggregated API server does; the namespace is there already."""
    original = ApiClient._send

    def refuse(self: ApiClient, method: str, target: str, *more: Any, **options: Any) -> Any:
        if apply.APPLY in more:
            raise ApiError(f"{method} {target}: 415 Unsupported Media Type", 415, "UnsupportedMediaType")
        return original(self, method, target, *more, **options)

    monkeypatch.setattr(ApiClient, "_send", refuse)
    return namespace


def test_where_server_side_apply_is_refused_the_client_merges(session: Session, old_api: str) -> None:
    namespace = old_api
    text = config_map("a", namespace, ours="1", gone="1")
    path = f"/api/v1/namespaces/{namespace}/configmaps/a"
    assert actions(run(session, [text], check=True)) == {f"ConfigMap {namespace}/a": "create"}
    assert session.find(path) is None
    run(session, [text])
    assert run(session, [text]).changes == ()
    session.call(
        lambda api: api.request("PATCH", path, body={"data": {"theirs": "x", "ours": "2"}}, content_type=apply.MERGE)
    )
    text = config_map("a", namespace, ours="1")
    told = run(session, [text], check=True)
    assert actions(told) == {f"ConfigMap {namespace}/a": "update"}
    assert "managedFields" not in told.changes[0].after["metadata"]  # type: ignore[index]
    assert session.get(path)["data"] == {"ours": "2", "gone": "1", "theirs": "x"}
    run(session, [text])
    assert session.get(path)["data"] == {"ours": "1", "theirs": "x"}
    assert run(session, [text]).changes == ()

    book = Ref("", "ConfigMap", namespace, "book")
    run(session, [text, config_map("b", namespace)], inventory=book)
    pruned = run(session, [config_map("b", namespace)], inventory=book, prune=True)
    assert actions(pruned) == {f"ConfigMap {namespace}/a": "delete"}
    assert session.find(path) is None
