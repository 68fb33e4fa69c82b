# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Owned fields, manifests, the inventory and what a plan makes of them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.action import kube_apply
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import apply, fields, inventory, manifests
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError, KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref
from hypothesis import given
from hypothesis import strategies as st

ME = "stagecraft.gitops"
NAMES = st.text(st.characters(codec="ascii", categories=("Ll", "Nd")), min_size=1, max_size=5)
SCALARS = st.one_of(st.booleans(), st.integers(-5, 5), NAMES)
VALUES = st.recursive(SCALARS, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=8)
DATA = st.dictionaries(NAMES, VALUES, min_size=1, max_size=4)


def owning(value: Any) -> dict[str, Any]:
    """The fields that an API server notes for a value, lists being taken as a whole."""
    if isinstance(value, dict) and value:
        return {f"f:{key}": owning(item) for key, item in value.items()}
    return {}


def live(data: dict[str, Any], owned: dict[str, Any] | None = None, manager: str = ME) -> dict[str, Any]:
    entry = {
        "manager": manager,
        "operation": "Apply",
        "apiVersion": "v1",
        "fieldsV1": {"f:data": owning(owned or data)},
    }
    head = {"apiVersion": "v1", "kind": "ConfigMap"}
    return {**head, "metadata": {"name": "a", "namespace": "n", "uid": "1", "managedFields": [entry]}, "data": data}


def manifest(data: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n"}, "data": data}


@given(DATA)
def test_what_was_applied_is_unchanged(data: dict[str, Any]) -> None:
    assert fields.unchanged(manifest(data), live(data), ME)


@given(DATA, DATA)
def test_other_content_is_never_taken_for_unchanged(data: dict[str, Any], other: dict[str, Any]) -> None:
    if json.dumps(data, sort_keys=True) != json.dumps(other, sort_keys=True):
        assert not fields.unchanged(manifest(other), live(data), ME)


@given(DATA, NAMES)
def test_a_field_of_somebody_else_does_not_count(data: dict[str, Any], name: str) -> None:
    foreign = {**data, f"{name}-foreign": "x"}
    assert fields.unchanged(manifest(data), live(foreign, owned=data), ME)
    assert not fields.unchanged(manifest(foreign), live(foreign, owned=data), ME)


def test_nobody_elses_word_is_taken() -> None:
    assert not fields.unchanged(manifest({"a": "1"}), live({"a": "1"}, manager="kubectl"), ME)
    other_version = {**manifest({"a": "1"}), "apiVersion": "v2"}
    assert not fields.unchanged(other_version, live({"a": "1"}), ME)


PORTS = {"f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}}, "f:tags": {'v:"x"': {}}}}


def service(ports: list[dict[str, Any]], tags: list[str]) -> dict[str, Any]:
    entry = {"manager": ME, "operation": "Apply", "apiVersion": "v1", "fieldsV1": PORTS}
    metadata = {"name": "s", "managedFields": [entry]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports, "tags": tags}}


def test_lists_by_key_and_sets_are_compared_by_what_they_name() -> None:
    found = service([{"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "TCP"}], ["y", "x"])
    wanted = {**found, "metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "tags": ["x"]}}
    assert fields.unchanged(wanted, found, ME)
    more = {**wanted, "spec": {"ports": [{"port": 80}, {"port": 81}], "tags": ["x"]}}
    assert not fields.unchanged(more, found, ME)
    assert not fields.unchanged({**wanted, "spec": {"ports": [{"port": 82}], "tags": ["x"]}}, found, ME)
    assert fields.project(found, PORTS)["spec"] == {"ports": [{"port": 80}], "tags": ["x"]}


def test_a_change_shows_the_owned_fields_only() -> None:
    before = live({"ours": "1", "gone": "1", "theirs": "x"}, owned={"ours": "1", "gone": "1"})
    after = live({"ours": "2", "theirs": "x"}, owned={"ours": "2"})
    found = apply.change(manifest({"ours": "2"}), before, after, ME)
    assert found is not None
    assert (found.action, found.before["data"], found.after["data"]) == (  # type: ignore[index]
        "update",
        {"ours": "1", "gone": "1"},
        {"ours": "2"},
    )
    assert apply.change(manifest({"a": "1"}), live({"a": "1"}), live({"a": "1"}), ME) is None
    between = live({"a": "1", "theirs": "x"}, owned={"a": "1"})  # by a controller, after the first look
    assert apply.change(manifest({"a": "1"}), live({"a": "1"}), between, ME) is None
    adopted = apply.change(manifest({"a": "1"}), live({"a": "1"}, manager="x"), live({"a": "1"}), ME)
    assert adopted is not None
    assert adopted.action == "adopt"


def test_a_conflict_names_field_owner_and_remedy() -> None:
    causes = [
        {"reason": "FieldManagerConflict", "field": ".spec.replicas", "message": 'conflict with "hpa" using apps/v1'},
        {"reason": "FieldManagerConflict", "field": ".spec.x", "message": 'conflict with "hpa" using apps/v1'},
    ]
    said = apply.explained("Deployment n/web", ApiError("refused", 409, "Conflict", causes))
    assert said.startswith(
        'Deployment n/web: .spec.replicas, .spec.x are owned by "hpa" using apps/v1, with another value'
    )
    assert "force: true" in said
    assert apply.explained("X n/x", ApiError("no", 422)) == "X n/x: no"


def test_manifests_are_read_as_kubernetes_reads_them() -> None:
    text = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {day: 2026-01-01}}
---
apiVersion: v1
kind: Secret
metadata: {name: s}
data: {old: b2xk}
stringData: {new: value}
"""
    first, secret = manifests.parse([text])
    assert first["data"] == {"day": "2026-01-01"}
    assert secret["data"] == {"old": "b2xk", "new": base64.b64encode(b"value").decode()}
    assert "stringData" not in secret
    assert manifests.parse([json.dumps(first), {**first, "metadata": {"name": "b"}}])[0] == first


def test_all_problems_of_manifests_are_told() -> None:
    twice = "{apiVersion: v1, kind: X, metadata: {name: a, namespace: n}}"
    with pytest.raises(KubeError) as caught:
        manifests.parse(["a: [", "kind: X", twice + "\n---\n" + twice, "{"])
    said = str(caught.value)
    assert "manifest 1 is no YAML" in said
    assert "manifest 2 holds a document without apiVersion, kind or metadata.name" in said
    assert "X n/a is there twice" in said
    assert "manifest 4 is no YAML" in said


REFS = st.builds(
    Ref,
    st.sampled_from(["", "apps", "rbac.authorization.k8s.io"]),
    st.sampled_from(["ConfigMap", "Role"]),
    st.sampled_from(["", "shop"]),
    st.sampled_from(["a", "web-1", "system:reader", "system__reader", "a__b", "a.b"]),
)


@given(st.sets(REFS))
def test_an_inventory_is_read_back(objects: set[Ref]) -> None:
    assert inventory.read(inventory.config_map(Ref("", "ConfigMap", "n", "i"), objects, ME)) == objects


def test_an_inventory_is_not_anybody_elses_config_map() -> None:
    with pytest.raises(KubeError, match="ConfigMap n/a is no inventory"):
        inventory.read(manifest({"a": "1"}))
    assert inventory.read(None) == set()


def test_what_is_not_ours_or_holds_data_is_kept() -> None:
    assert inventory.kept(live({"a": "1"}), ME, ()) == ""
    assert "does not own" in inventory.kept(live({"a": "1"}, manager="kubectl"), ME, ())
    assert "never pruned" in inventory.kept(live({"a": "1"}), ME, ("ConfigMap",))


@pytest.mark.parametrize("other", [None, {"data": {"password": "czNjcjN0"}}])
def test_what_a_secret_holds_is_not_shown_wherever_it_stands(other: Any) -> None:
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": '{"data":{"password":"czNjcjN0"}}', "a": "b"}
    secret = {
        "kind": "Secret",
        "metadata": {"name": "key", "annotations": annotations},
        "data": {"password": "czNjcjN0"},
    }
    shown = kube_apply._text(secret, other)
    assert "czNjcjN0" not in shown
    assert "a: b" in shown
