# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import crypto, manifest, seal
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.crypto import Scope
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.manifest import Declared
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.seal import FilePlan, Sealer
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sealed_secrets.samples import declared, key, sealer

ITEMS = st.dictionaries(
    st.from_regex(r"[-._a-zA-Z0-9]{1,12}", fullmatch=True), st.binary(max_size=40), min_size=1, max_size=4
)


def after(plan: FilePlan) -> str:
    assert plan.after is not None
    return plan.after


def actions(plan: FilePlan) -> dict[str, str]:
    return {change.item: change.action for change in plan.items}


def unsealed(text: str, number: int = 0) -> dict[str, bytes]:
    (found,) = manifest.find(text, "x")
    return {
        item: crypto.unseal([key("staging", number).key], crypto.decode(value), found.label)[0]
        for item, value in found.items.items()
    }


def test_the_object_is_upstreams() -> None:
    wanted = declared(
        scope="namespace-wide",
        type="kubernetes.io/basic-auth",
        labels={"app": "shop"},
        annotations={"note": "x", "kubectl.kubernetes.io/last-applied-configuration": '{"data": "clear"}'},
        template_data={"config": "{{ .user }}"},
        immutable=True,
    )
    content = yaml.safe_load(after(seal.plan(wanted, None, sealer(mac_key=True))))
    assert content["apiVersion"] == "bitnami.com/v1alpha1"
    assert set(content["metadata"]) == {"name", "namespace", "annotations"}
    assert set(content["metadata"]["annotations"]) == {
        "sealedsecrets.bitnami.com/namespace-wide",
        "stagecraft.gitops/seal-mac",
    }
    assert content["spec"]["template"] == {
        "metadata": {
            "name": "db",
            "namespace": "shop",
            "labels": {"app": "shop"},
            "annotations": {"note": "x", "sealedsecrets.bitnami.com/namespace-wide": "true"},
        },
        "type": "kubernetes.io/basic-auth",
        "immutable": True,
        "data": {"config": "{{ .user }}"},
    }
    assert set(content["spec"]["encryptedData"]) == {"password", "user"}


@pytest.mark.parametrize(
    "text",
    [
        "y",
        "N",
        "off",
        "True",
        "null",
        "~",
        "1e3",
        "0o7",
        "1_0",
        "0x1f",
        "12:30:45",
        "2026-05-01",
        "",
        " a",
        "a: b",
        "#",
    ],
)
def test_text_that_go_would_take_for_something_else_is_quoted(text: str) -> None:
    rendered = after(seal.plan(declared(labels={"key": text}, annotations={text or "x": "1"}), None, sealer()))
    assert f"key: '{text}'\n" in rendered
    assert yaml.safe_load(rendered)["spec"]["template"]["metadata"]["labels"] == {"key": text}


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_read_as_it_was_written(text: str) -> None:
    rendered = manifest.render({"key": text})
    assert yaml.safe_load(rendered) == {"key": text}


@settings(max_examples=25, deadline=None)
@given(items=ITEMS, private=st.booleans(), scope=st.sampled_from(crypto.SCOPES))
def test_a_second_run_changes_nothing(items: dict[str, bytes], private: bool, scope: Scope) -> None:
    wanted = declared(items=items, scope=scope)
    first = seal.plan(wanted, None, sealer(private=private))
    assert set(actions(first).values()) == {"add"}
    assert unsealed(after(first)) == items
    second = seal.plan(wanted, after(first), sealer(private=private))
    assert not second.changed
    assert set(actions(second).values()) == {"keep"}


def test_comments_of_a_file_that_is_as_wanted_stay() -> None:
    text = "# ours\n" + after(seal.plan(declared(), None, sealer()))
    assert seal.plan(declared(), text, sealer()).after == text


@pytest.mark.parametrize("private", [True, False])
def test_only_what_changed_is_sealed_anew(private: bool) -> None:
    text = after(seal.plan(declared(), None, sealer()))
    changed = declared(items={"password": b"another", "user": b"shop", "port": b"5432"})
    plan = seal.plan(changed, text, sealer(private=private))
    assert actions(plan) == {"password": "reseal", "user": "keep", "port": "add"}
    (old,), (new,) = manifest.find(text, "x"), manifest.find(after(plan), "x")
    assert old.items["user"] == new.items["user"]
    assert old.items["password"] != new.items["password"]
    assert unsealed(after(plan)) == dict(changed.items)
    assert not seal.plan(changed, after(plan), sealer(private=private)).changed


def test_items_that_are_not_declared_any_more_go_unless_they_may_stay() -> None:
    text = after(seal.plan(declared(), None, sealer()))
    fewer = declared(items={"user": b"shop"})
    assert actions(seal.plan(fewer, text, sealer())) == {"user": "keep", "password": "remove"}
    assert set(unsealed(after(seal.plan(fewer, text, sealer())))) == {"user"}
    stays = seal.plan(fewer, text, sealer(), purge=False)
    assert not stays.changed


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize(
    "changes",
    [{"name": "dc"}, {"namespace": "bank"}, {"scope": "cluster-wide"}, {"scope": "namespace-wide"}],
    ids=lambda c: "-".join(c.values()),
)
def test_another_place_or_scope_is_sealed_anew(changes: dict[str, str], private: bool) -> None:
    text = after(seal.plan(declared(), None, sealer()))
    moved = replace(declared(), **changes)  # type: ignore[arg-type]
    (old,) = manifest.find(text, "x")
    there = manifest.render({**old.content, "metadata": {**old.content["metadata"], **_place(moved)}})
    plan = seal.plan(moved, there, sealer(private=private))
    assert actions(plan) == {"password": "reseal", "user": "reseal"}
    assert unsealed(after(plan)) == dict(moved.items)


def _place(wanted: Declared) -> dict[str, Any]:
    return {"name": wanted.name, "namespace": wanted.namespace}


@pytest.mark.parametrize("private", [True, False])
def test_a_newer_key_seals_anew(private: bool) -> None:
    text = after(seal.plan(declared(), None, sealer()))
    plan = seal.plan(declared(), text, sealer(number=1, private=private))
    assert set(actions(plan).values()) == {"reseal"}
    assert unsealed(after(plan), 1) == dict(declared().items)


@pytest.mark.parametrize("private", [True, False])
def test_a_ciphertext_that_somebody_put_in_its_place_is_sealed_over(private: bool) -> None:
    """Anybody can seal with the public certificate; the MAC of the old ciphertext does not cover the new one."""
    text = after(seal.plan(declared(), None, sealer()))
    (old,) = manifest.find(text, "x")
    theirs = crypto.encode(crypto.seal(key().certificate.key, b"theirs", old.label))
    planted = manifest.replace(text, {old.spans["password"]: theirs})
    plan = seal.plan(declared(), planted, sealer(private=private))
    assert actions(plan) == {"password": "reseal", "user": "keep"}
    assert unsealed(after(plan)) == dict(declared().items)


def test_without_a_mac_or_a_key_it_is_sealed_once_more() -> None:
    text = after(seal.plan(declared(), None, sealer(private=True, mac_key=False)))
    assert "seal-mac" not in text
    plan = seal.plan(declared(), text, sealer())
    assert {change.reason for change in plan.items} == {"no MAC beside it, and no private key at hand"}
    assert not seal.plan(declared(), after(plan), sealer()).changed


def test_with_the_key_at_hand_macs_are_added_and_ciphertexts_stay() -> None:
    text = after(seal.plan(declared(), None, sealer(private=True, mac_key=False)))
    plan = seal.plan(declared(), text, sealer(private=True))
    assert set(actions(plan).values()) == {"keep"}
    assert plan.rest == ("metadata",)
    (old,), (new,) = manifest.find(text, "x"), manifest.find(after(plan), "x")
    assert old.items == new.items
    assert set(new.macs) == {"password", "user"}


def test_somebody_has_to_judge() -> None:
    with pytest.raises(SealError, match=r"wanted the private key SHA256:.* of staging or a mac_key, found neither"):
        Sealer("staging", key().certificate, (key("production"),))


def test_no_value_is_in_a_plan() -> None:
    plan = seal.plan(declared(), None, sealer())
    assert "correct horse" not in repr(plan)
    assert "correct horse" not in repr(declared())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "alone, found none"),
        ("kind: SealedSecret\na: [", "db.yaml:3: it cannot be read as YAML"),
        ("kind: ConfigMap\napiVersion: v1\n", "wanted the file of SealedSecret shop/db alone, found none"),
        ("OTHER", r"alone, found SealedSecret shop/other \(clusters/staging/secrets/db.yaml:1\)"),
        ("BESIDE", "found other documents beside it"),
    ],
)
def test_a_file_that_holds_something_else_is_left_alone(text: str, words: str) -> None:
    own = after(seal.plan(declared(), None, sealer()))
    other = after(seal.plan(declared(name="other"), None, sealer()))
    given = {"OTHER": other, "BESIDE": own + "---\napiVersion: v1\nkind: ConfigMap\n"}.get(text, text)
    with pytest.raises(SealError, match=words):
        seal.plan(declared(), given, sealer())


def test_everything_wrong_with_a_declaration_is_told_at_once() -> None:
    problems = manifest.check(
        [
            declared(name="Db", namespace="Shop_1", items={"pass word": b"hidden"}),
            declared(path="a", items={}),
            declared(path="a", items={"x": bytes((1 << 20) + 1)}),
        ]
    )
    assert [problem.partition(": ")[2][:24] for problem in problems] == [
        "'Db' is no name of a Sec",
        "'Shop_1' is no name of a",
        "'pass word' is no name o",
        "it has no item. Declare ",
        "its values have more tha",
        "its file a is that of se",
        "it is declared twice",
    ]
    assert "hidden" not in str(problems)
    assert manifest.check([declared(), declared(name="other", path="b", items={}, allow_empty=True)]) == []


class TestFind:
    def text(self, **changes: Any) -> str:
        content: dict[str, Any] = {
            "apiVersion": "bitnami.com/v1alpha1",
            "kind": "SealedSecret",
            "metadata": {"name": "db", "namespace": "shop"},
            "spec": {"encryptedData": {"a": "AgA="}},
        }
        return yaml.safe_dump({**content, **changes}, sort_keys=False)

    def test_places_of_ciphertexts_are_right_in_every_style(self) -> None:
        head = "# ü\nkind: SealedSecret\napiVersion: bitnami.com/v1alpha1\nmetadata: {name: db, namespace: shop}\n"
        text = (
            head
            + "spec:\n  encryptedData:\n    a: AgA=\n    b: 'AgB='  # b\n    c: \"AgC=\"\n    d: >-\n      AgD=\n    e: AgE=\n"
        )
        (found,) = manifest.find("---\nkind: Other\n---\n" + text, "x")
        assert found.line == 5
        changed = manifest.replace(
            "---\nkind: Other\n---\n" + text, {found.spans[item]: f"New{item}=" for item in "abcde"}
        )
        assert changed == "---\nkind: Other\n---\n" + head + (
            "spec:\n  encryptedData:\n    a: Newa=\n    b: 'Newb='  # b\n    c: \"Newc=\"\n    d: Newd=\n    e: Newe=\n"
        )

    def test_json_is_read_and_changed(self) -> None:
        text = json.dumps(yaml.safe_load(self.text()), indent=1)
        (found,) = manifest.find(text, "x")
        assert json.loads(manifest.replace(text, {found.spans["a"]: "AgB="}))["spec"]["encryptedData"] == {"a": "AgB="}

    @pytest.mark.parametrize(
        ("annotations", "scope"),
        [
            ({}, "strict"),
            ({"sealedsecrets.bitnami.com/namespace-wide": "true"}, "namespace-wide"),
            ({"sealedsecrets.bitnami.com/namespace-wide": "yes"}, "strict"),
            (
                {"sealedsecrets.bitnami.com/namespace-wide": "true", "sealedsecrets.bitnami.com/cluster-wide": "true"},
                "cluster-wide",
            ),
        ],
    )
    def test_the_scope_is_the_controllers(self, annotations: dict[str, str], scope: str) -> None:
        metadata = {"name": "db", "namespace": "shop", "annotations": annotations}
        assert manifest.find(self.text(metadata=metadata), "x")[0].scope == scope

    def test_what_is_wrong_with_an_object_is_told(self) -> None:
        (found,) = manifest.find(
            self.text(metadata={"annotations": {"stagecraft.gitops/seal-mac": "{"}}, spec={"data": "AgA="}), "x"
        )
        assert len(found.problems) == 4
        (numbers,) = manifest.find(self.text(spec={"encryptedData": {"a": 5, "b": None}}), "x")
        assert numbers.problems == ("not text in spec.encryptedData: a, b",)

    def test_other_kinds_are_none(self) -> None:
        assert manifest.find(self.text(apiVersion="example.com/v1"), "x") == []
        assert manifest.find("- SealedSecret\n---\nSealedSecret\n---\n", "x") == []
