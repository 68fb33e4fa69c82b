# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import admin, declaration
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.declaration import Declaration
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.observe import Observed
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.plan import plan, secret_texts

JWT = "reviewer-jwt-value"
ROLE = {
    "bound_service_account_names": ["eso"],
    "bound_service_account_namespaces": ["external-secrets"],
    "audience": "openbao-staging",
    "token_policies": ["eso"],
    "token_ttl": "20m",
}
CONFIG = {"kubernetes_host": "https://api:6443", "kubernetes_ca_cert": "PEM\n", "token_reviewer_jwt": JWT}


def declare(**options: Any) -> Declaration:
    empty: dict[str, Any] = {"mounts": [], "auth_methods": [], "policies": {}, "secrets": [], "audit": []}
    return declaration.read({**empty, **options})


def kubernetes(**changes: Any) -> dict[str, Any]:
    return {"path": "kubernetes-staging", "type": "kubernetes", "config": CONFIG, "roles": {"eso": ROLE}, **changes}


WHOLE = {
    "mounts": [{"path": "kv/", "type": "kv", "max_versions": 10}],
    "policies": {"eso": 'path "kv/data/apps/*" { capabilities = ["read"] }\n'},
    "auth_methods": [kubernetes()],
    "secrets": [{"mount": "kv", "path": "apps/shop", "data": {"password": "swordfish"}}],
}


def writes(declared: Declaration, found: Observed) -> list[str]:
    return [f"{write.method} {write.path}" for change in plan(declared, found) for write in change.writes]


def holding(declared: Declaration, **changes: Any) -> Observed:
    """What a server answers that has all of WHOLE."""
    (config,) = (change for change in plan(declared, Observed("c")) if change.kind == "configuration of")
    described = config.writes[-1].body["description"]
    held: dict[str, Any] = {
        "cluster": "c",
        "policy_names": frozenset({"eso", "default", "root"}),
        "policies": {"eso": WHOLE["policies"]["eso"].strip()},  # type: ignore[index]
        "mounts": {"kv": {"type": "kv", "options": {"version": "2"}, "config": {"default_lease_ttl": 0}}},
        "kv": {"kv": {"max_versions": 10, "cas_required": False, "delete_version_after": "0s"}},
        "methods": {"kubernetes-staging": {"type": "kubernetes", "description": described, "config": {}}},
        "configs": {
            "kubernetes-staging": {
                "kubernetes_host": "https://api:6443",
                "kubernetes_ca_cert": "PEM",
                "token_reviewer_jwt_set": True,
                "pem_keys": [],
                "issuer": "",
            }
        },
        "roles": {
            ("kubernetes-staging", "eso"): {**ROLE, "token_ttl": 1200, "token_max_ttl": 0, "policies": ["eso"]},
        },
        "secrets": {"kv/apps/shop": ({"password": "swordfish"}, 3)},
    }
    return Observed(**{**held, **changes})


def test_on_an_empty_server_everything_is_made_in_order() -> None:
    assert writes(declare(**WHOLE), Observed("c")) == [
        "PUT sys/policies/acl/eso",
        "POST sys/mounts/kv",
        "POST kv/config",
        "POST sys/auth/kubernetes-staging",
        "POST sys/auth/kubernetes-staging/tune",
        "POST auth/kubernetes-staging/config",
        "POST sys/auth/kubernetes-staging/tune",
        "POST auth/kubernetes-staging/role/eso",
        "POST kv/data/apps/shop",
    ]


def test_what_is_there_in_another_spelling_is_left_alone() -> None:
    declared = declare(**WHOLE)
    assert plan(declared, holding(declared)) == []


def test_a_secret_is_in_no_representation_and_in_no_diff() -> None:
    changes = plan(declare(**WHOLE), Observed("c"))
    shown = repr(changes) + repr([(change.before, change.after) for change in changes]) + repr(declare(**WHOLE))
    assert JWT not in shown
    assert "swordfish" not in shown
    assert set(secret_texts(declare(**WHOLE))) == {JWT, "swordfish"}


def test_another_reviewer_is_noticed_though_no_server_ever_answers_it() -> None:
    declared = declare(**WHOLE)
    found = holding(declared)
    other = declare(**{**WHOLE, "auth_methods": [kubernetes(config={**CONFIG, "token_reviewer_jwt": "another"})]})
    (change,) = plan(other, found)
    assert change.kind == "configuration of"
    assert [write.path.rsplit("/", 1)[1] for write in change.writes] == ["tune", "config", "tune"]
    assert "settings" not in change.writes[0].body["description"], "while it is written nothing is claimed"
    assert change.writes[1].body["kubernetes_host"] == "https://api:6443", "what is not sent would be cleared"
    # the same settings of another server have another digest
    assert plan(declared, holding(declared, cluster="other"))


def test_a_reviewer_that_somebody_cleared_or_that_is_declared_no_more_is_a_difference() -> None:
    declared = declare(**WHOLE)
    cleared = {"kubernetes_host": "https://api:6443", "kubernetes_ca_cert": "PEM", "token_reviewer_jwt_set": False}
    (change,) = plan(declared, holding(declared, configs={"kubernetes-staging": cleared}))
    assert change.kind == "configuration of"
    without = declare(
        **{**WHOLE, "auth_methods": [kubernetes(config={k: v for k, v in CONFIG.items() if "jwt" not in k})]}
    )
    (change,) = plan(without, holding(declared))
    assert (change.kind, len(change.writes)) == ("configuration of", 1)


def test_a_setting_that_is_declared_no_more_is_reset() -> None:
    declared = declare(**WHOLE)
    there = {**ROLE, "token_ttl": 1200, "token_bound_cidrs": ["10.0.0.0/8"], "token_num_uses": 5}
    (change,) = plan(declared, holding(declared, roles={("kubernetes-staging", "eso"): there}))
    assert change.writes[0].body == {**ROLE, "token_bound_cidrs": [], "token_num_uses": 0}
    assert change.before["token_num_uses"] == 5


def test_a_secret_is_written_after_the_version_that_was_looked_at() -> None:
    declared = declare(**WHOLE)
    for there, cas in ((({"password": "old"}, 3), 3), ((None, 7), 7)):
        (change,) = plan(declared, holding(declared, secrets={"kv/apps/shop": there}))
        assert change.writes[0].body["options"] == {"cas": cas}
    (change,) = plan(declared, holding(declared, secrets={"kv/apps/shop": ({"password": "old", "user": "u"}, 3)}))
    assert change.before == {"password": "(hidden)", "user": "(hidden)"}
    assert change.after == {"password": "(hidden, another value)"}


def test_what_does_not_fit_the_server_is_said_all_at_once() -> None:
    declared = declare(
        **{
            **WHOLE,
            "policies": {},
            "secrets": [{"mount": "other", "path": "a", "data": {"b": "c"}}],
            "audit": [{"path": "file", "type": "file", "options": {"file_path": "/a"}}],
        }
    )
    found = Observed(
        "c",
        mounts={"kv": {"type": "pki", "options": None}},
        methods={"kubernetes-staging": {"type": "jwt"}},
        audit={"file": {"type": "file", "options": {"file_path": "/b"}}},
    )
    with pytest.raises(OpenBaoError) as caught:
        plan(declared, found)
    said = str(caught.value).splitlines()
    assert len(said) == 6
    for words in (
        "mounts: kv is of type pki there, wanted kv",
        "kubernetes-staging is of type jwt there, wanted kubernetes",
        "names the policy eso, which neither is declared nor is there",
        "other is no KV engine of version 2 there, and is not declared",
        "audit: file is there with other settings",
    ):
        assert any(words in line for line in said), words
    with pytest.raises(OpenBaoError, match="kv of version 1 there, wanted 2"):
        plan(declare(mounts=WHOLE["mounts"]), Observed("c", mounts={"kv": {"type": "kv", "options": {"version": "1"}}}))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mounts": [{"path": "kv", "type": "kv"}, {"path": "kv/", "type": "kv"}]}, "kv is declared 2 times"),
        ({"mounts": [{"path": "sys/x", "type": "kv"}]}, "keeps this path for itself"),
        ({"mounts": [{"path": "a//b", "type": "kv"}]}, "is no path"),
        ({"mounts": [{"path": "pki", "type": "pki", "max_versions": 2}]}, "are of type kv, found pki"),
        ({"mounts": [{"path": "kv", "type": "kv", "version": 1, "cas_required": True}]}, "need version 2"),
        ({"mounts": [{"path": "kv", "type": "kv", "max_lease_ttl": "soon"}]}, "'soon' is no time"),
        ({"auth_methods": [{"path": "u", "type": "userpass", "roles": {"a": {}}}]}, "those of userpass are not known"),
        ({"auth_methods": [{"path": "u", "type": "userpass", "config": {"a": 1}}]}, "has no configuration"),
        ({"auth_methods": [{"path": "stagecraft", "type": "approle"}]}, "is kept for the collection itself"),
        ({"auth_methods": [kubernetes(config={})]}, "wanted config.kubernetes_host"),
        ({"auth_methods": [kubernetes(roles={"a": {**ROLE, "audience": ""}})]}, "role a: wanted audience"),
        (
            {"auth_methods": [kubernetes(roles={"a": {**ROLE, "policies": ["x"]}})]},
            "policies is the old name of token_policies",
        ),
        ({"auth_methods": [kubernetes(roles={"a": {**ROLE, "token_ttl": "x"}})]}, "token_ttl: 'x' is no time"),
        (
            {"auth_methods": [{"path": "j", "type": "jwt", "roles": {"a": {"user_claim": "sub"}}}]},
            "wanted bound_audiences",
        ),
        ({"policies": {"Eso": "x"}}, "in lower case only"),
        ({"policies": {"eso": " "}}, "has no text"),
        ({"policies": {"root": "x"}}, "is kept for the server"),
        ({"secrets": [{"mount": "kv", "path": "a/../b", "data": {"a": 1}}]}, "is no path"),
        ({"secrets": [{"mount": "kv", "path": "a", "data": {}}]}, "wanted data, found none"),
        (
            {"mounts": [{"path": "pki", "type": "pki"}], "secrets": [{"mount": "pki", "path": "a", "data": {"a": 1}}]},
            "pki is declared as pki, wanted kv of version 2",
        ),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OpenBaoError) as caught:
        declare(**options)
    assert words in str(caught.value)


def test_what_the_collection_itself_needs_is_a_declaration_like_any_other() -> None:
    assert writes(admin.declared(), Observed("c")) == [
        "PUT sys/policies/acl/stagecraft",
        "POST sys/auth/stagecraft",
        "POST auth/stagecraft/role/ansible",
    ]
