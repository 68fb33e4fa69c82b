# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.external_secrets.render import DeclarationError, render

from tests.unit.external_secrets.declared import ALL, AWS, AWS_KEY, CLUSTER, OWN, PASSWORD, SECRETS, STORES


def test_a_store_asks_for_tokens_that_are_of_no_use_to_another_environment() -> None:
    for environment in ("staging", "production"):
        cluster, own, *_ = render(environment, STORES, [])
        kubernetes = cluster["spec"]["provider"]["vault"]["auth"]["kubernetes"]
        assert kubernetes == {
            "mountPath": f"kubernetes-{environment}",
            "role": "eso",
            "serviceAccountRef": {
                "name": "eso",
                "namespace": "external-secrets",
                "audiences": [f"openbao-{environment}"],
            },
        }
        jwt = own["spec"]["provider"]["vault"]["auth"]["jwt"]
        assert jwt["path"] == f"jwt-{environment}"
        account = jwt["kubernetesServiceAccountToken"]["serviceAccountRef"]
        assert account == {"name": "ci", "audiences": [f"openbao-{environment}"]}


def test_stores_come_first_and_a_secret_takes_that_of_its_own_namespace() -> None:
    objects = render("staging", STORES, SECRETS)
    kinds = [one["kind"] for one in objects]
    assert kinds == [
        *["ClusterSecretStore", "SecretStore", "ClusterSecretStore", "ClusterSecretStore"],
        *["ExternalSecret"] * 3,
    ]
    references = [one["spec"]["secretStoreRef"] for one in objects[4:]]
    assert [one["kind"] for one in references] == ["ClusterSecretStore", "ClusterSecretStore", "SecretStore"]
    assert {one["apiVersion"] for one in objects} == {"external-secrets.io/v1"}
    target = objects[4]["spec"]["target"]
    assert target == {"name": "db", "creationPolicy": "Owner", "deletionPolicy": "Retain"}


@pytest.mark.parametrize(
    ("stores", "secrets", "words"),
    [
        ([{**CLUSTER, "namespaces": [], "namespace_labels": {}}], [], "say which namespaces may use it"),
        ([{**CLUSTER, "namespace": "shop"}], [], "a ClusterSecretStore has no namespace"),
        ([{**CLUSTER, "name": "Open_Bao"}], [], "'Open_Bao' is no name of an object"),
        ([{**CLUSTER, "namespces": ["x"]}], [], "there is no namespces; write namespaces"),
        ([{**CLUSTER, "aws": AWS["aws"]}], [], "found vault and aws"),
        ([{"name": "x", "namespaces": ["a"]}], [], "found none"),
        (
            [{**CLUSTER, "vault": {**CLUSTER["vault"], "server": "http://bao:8200"}}],
            [],
            "wanted the server's address as https://",
        ),
        (
            [{**CLUSTER, "vault": {**CLUSTER["vault"], "service_account": "eso"}}],
            [],
            "service_account as NAMESPACE/NAME",
        ),
        (
            [{**CLUSTER, "vault": {**CLUSTER["vault"], "auth": "token"}}],
            [],
            "wanted auth kubernetes or jwt, found token",
        ),
        ([{**CLUSTER, "vault": {**CLUSTER["vault"], "ca": {"name": "x"}}}], [], "ca: namespace: '' is no name"),
        ([{**OWN, "namespaces": ["a"]}], [], "serves its own namespace alone"),
        (
            [{**OWN, "vault": {**OWN["vault"], "service_account": "a/b"}}],
            [],
            "service_account as NAME, of the store's own",
        ),
        ([{**OWN, "kind": "Store"}], [], "found Store"),
        ([{**AWS, "aws": {**AWS["aws"], "region": "Frankfurt"}}], [], "such as eu-central-1, found 'Frankfurt'"),
        ([{**AWS, "aws": {**AWS["aws"], "role": "staging"}}], [], "wanted the role as arn:aws:iam"),
        (
            [{**AWS, "aws": {**AWS["aws"], "access_key": AWS_KEY["aws"]["access_key"]}}],
            [],
            "wanted either service_account",
        ),
        ([CLUSTER, CLUSTER], [], "ClusterSecretStore openbao is declared 2 times"),
        ([CLUSTER], [{**PASSWORD, "store": "other"}], "there is no store 'other' that serves it; declared are openbao"),
        ([OWN], [PASSWORD], "there is no store 'openbao' that serves it"),
        ([CLUSTER], [{**PASSWORD, "data": {}}], "wanted data"),
        ([CLUSTER], [{**PASSWORD, "data": {"a b": {"key": "x"}}}], "'a b' is no key of a Secret"),
        ([CLUSTER], [{**PASSWORD, "data": {"a": "x"}}], "wanted key (the path) and property, found str"),
        ([CLUSTER], [{**PASSWORD, "data": {"a": {"key": "x", "propety": "y"}}}], "write property"),
        ([CLUSTER], [{**PASSWORD, "refresh_interval": "hourly"}], "wanted a time such as 1h, found 'hourly'"),
        ([CLUSTER], [{**PASSWORD, "deletion_policy": "Keep"}], "wanted Retain, Delete, Merge, found Keep"),
        (
            [CLUSTER],
            [PASSWORD, {**PASSWORD, "name": "other", "target": "db"}],
            "2 external secrets make the Secret shop/db",
        ),
    ],
)
def test_what_cannot_be_is_refused(stores: list[dict[str, Any]], secrets: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        render("staging", stores, secrets)
    assert words in str(caught.value)


def test_everything_is_told_at_once() -> None:
    with pytest.raises(DeclarationError) as caught:
        render("", [{**CLUSTER, "name": ""}, {**AWS, "aws": {}}], [{**ALL, "store": "x"}])
    assert len(str(caught.value).splitlines()) >= 4
