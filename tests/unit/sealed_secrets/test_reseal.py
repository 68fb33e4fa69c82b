# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import manifest, reseal, seal, verify
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.reseal import Job
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.seal import FilePlan

from tests.unit.sealed_secrets.samples import declared, key, sealer, vector_key, vectors

PATH = "clusters/staging/secrets/db.yaml"


def sealed_text(number: int = 0, *, mac_key: bool = True) -> str:
    """Two SealedSecrets with things around them that no YAML library would leave as they are."""
    parts = []
    for name in ("db", "cache"):
        wanted = declared(name=name, labels={"app": name})
        parts.append(seal.plan(wanted, None, sealer(number=number, private=True, mac_key=mac_key)).after or "")
    middle = (
        "---\n# between\napiVersion: v1\nkind:   ConfigMap\nmetadata: { name: x }\ndata: {a: '1',   b: \"2\"}\n---\n"
    )
    return (
        "# first\n" + parts[0].replace("kind: SealedSecret", "kind: 'SealedSecret' # odd") + middle + parts[1] + "\n\n"
    )


def plan(text: str, number: int, *, private: bool = True, present: str | None = None, **target: str) -> FilePlan:
    environment = target.get("environment", "staging")
    found = reseal.plan(
        Job(PATH, text, text if present is None else present),
        [key("staging", 0), key("staging", 1)],
        sealer(environment, number, private=private),
    )
    assert found is not None
    return found


def values(text: str, *keys: object) -> list[dict[str, bytes]]:
    return [verify.opened(one, list(keys)) for one in manifest.find(text, PATH)]  # type: ignore[arg-type]


def skeleton(text: str) -> str:
    """The text with every ciphertext and MAC taken out."""
    spans: dict[manifest.Span, str] = {}
    for one in manifest.find(text, PATH):
        spans |= dict.fromkeys(one.spans.values(), "X")
        if one.mac_span:
            spans[one.mac_span] = "M"
    return manifest.replace(text, spans)


@pytest.mark.parametrize("mac_key", [True, False])
def test_a_newer_key_changes_ciphertexts_and_nothing_else(mac_key: bool) -> None:
    text = sealed_text(mac_key=mac_key)
    found = plan(text, 1)
    assert found.changed
    assert found.after is not None
    assert {change.action for change in found.items} == {"reseal"}
    assert len(found.items) == 4
    assert skeleton(found.after) == skeleton(text)
    assert values(found.after, key("staging", 1)) == values(text, key("staging", 0))
    assert not plan(found.after, 1).changed


def test_what_is_on_the_newest_key_stays() -> None:
    text = sealed_text()
    old, _ = manifest.find(text, PATH)
    newer = plan(text, 1).after or ""
    new, _ = manifest.find(newer, PATH)
    half = manifest.replace(text, {old.spans["user"]: new.items["user"]})
    found = plan(half, 1)
    assert {change.item: change.action for change in found.items} == {
        "shop/db password": "reseal",
        "shop/db user": "keep",
        "shop/cache password": "reseal",
        "shop/cache user": "reseal",
    }
    assert manifest.find(found.after or "", PATH)[0].items["user"] == new.items["user"]


def test_what_stays_keeps_its_style() -> None:
    text = plan(sealed_text(), 1).after or ""
    one, _ = manifest.find(text, PATH)
    span = one.spans["user"]
    odd = text[: span.start] + ">-\n      " + one.items["user"] + "\n" + text[span.end :].lstrip("\n")
    assert not plan(odd, 1).changed


def test_another_environment_gets_its_own_ciphertexts_and_keeps_them() -> None:
    """Without that environment's private key, the MAC tells that they still hold the value."""
    text = sealed_text()
    target = sealer("production")
    first = reseal.plan(Job(PATH, text, None), [key("staging")], target)
    assert first is not None
    assert first.after is not None
    assert {change.action for change in first.items} == {"add"}
    assert values(first.after, key("production")) == values(text, key("staging"))
    second = reseal.plan(Job(PATH, text, first.after), [key("staging")], target)
    assert second is not None
    assert not second.changed


def test_a_changed_value_reaches_the_other_environment_and_the_rest_stays() -> None:
    text = sealed_text()
    target = sealer("production")
    first = reseal.plan(Job(PATH, text, None), [key("staging")], target)
    assert first is not None
    old, _ = manifest.find(text, PATH)
    changed = seal.plan(
        declared(labels={"app": "db"}, items={"password": b"new", "user": b"shop"}), None, sealer()
    ).after
    (fresh,) = manifest.find(changed or "", PATH)
    again = manifest.replace(text, {old.spans["password"]: fresh.items["password"]})
    second = reseal.plan(Job(PATH, again, first.after), [key("staging")], target)
    assert second is not None
    assert [change.item for change in second.items if change.action == "reseal"] == ["shop/db password"]
    assert values(second.after or "", key("production"))[0]["password"] == b"new"


def test_a_text_without_sealed_secrets_is_none_of_ours() -> None:
    assert reseal.plan(Job("x", "kind: ConfigMap\n", None), [key()], sealer()) is None


def test_all_that_cannot_be_opened_is_told_and_nothing_is_changed() -> None:
    text = sealed_text()
    with pytest.raises(SealError) as caught:
        reseal.plan(Job(PATH, text, text), [key("production")], sealer(number=1))
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(
        "SealedSecret shop/db (clusters/staging/secrets/db.yaml:2), item password: none of the 1 keys"
    )
    assert "correct horse" not in str(caught.value)


def test_macs_are_not_left_behind() -> None:
    text = sealed_text()
    with pytest.raises(
        SealError, match=r"annotation stagecraft.gitops/seal-mac has to change with it\. Give the mac_key"
    ):
        reseal.plan(Job(PATH, text, text), [key()], _blind())


def _blind() -> seal.Sealer:
    return replace(sealer(number=1, private=True), mac_key=None)


def test_upstreams_ciphertexts_are_resealed() -> None:
    found = vectors()["vectors"][0]
    text = (
        "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata:\n  name: mysecret\n  namespace: myns\n"
        f"spec:\n  encryptedData:\n    foo: {found['ciphertext_b64']}\n"
    )
    done = reseal.plan(Job("x", text, text), [vector_key()], sealer(private=True, mac_key=False))
    assert done is not None
    assert verify.opened(manifest.find(done.after or "", "x")[0], [key()]) == {"foo": b"bar"}


class TestReport:
    def test_it_says_which_key_opens_what(self) -> None:
        files = {"old.yaml": sealed_text(), "new.yaml": sealed_text(1), "other.yaml": "kind: ConfigMap\n"}
        found = verify.report(files, [key("staging", 0), key("staging", 1)])
        assert found.problems == []
        assert found.items == 8
        assert found.opened_by() == {key("staging", 0).fingerprint: 4, key("staging", 1).fingerprint: 4}
        left = verify.not_by(found, [key("staging", 1).fingerprint])
        assert len(left) == 4
        assert left[0] == "SealedSecret shop/db (old.yaml:2), item password"

    def test_a_removed_annotation_is_named_with_the_scope_that_fits(self) -> None:
        text = seal.plan(declared(scope="namespace-wide"), None, sealer(mac_key=False, private=True)).after or ""
        strict = text.replace("    sealedsecrets.bitnami.com/namespace-wide: 'true'\n", "", 1).replace(
            "  annotations:\n  namespace", "  namespace"
        )
        found = verify.report({"x": strict}, [key()])
        assert (
            "was sealed with the scope namespace-wide, and the annotations of the SealedSecret say strict"
            in found.problems[0]
        )
        assert "label 'shop/db'" in found.problems[0]

    def test_without_keys_the_shape_is_looked_at(self) -> None:
        text = sealed_text()
        (one, _) = manifest.find(text, "x")
        damaged = manifest.replace(text, {one.spans["user"]: "Agcleartext"})
        found = verify.report({"x": damaged, "y": "kind: SealedSecret\na: ["}, [], key().certificate)
        assert [problem.partition(": ")[0] for problem in found.problems] == [
            "y:3",
            "SealedSecret shop/db (x:2), item user",
        ]
        assert found.opened_by() == {}

    def test_the_size_of_the_key_tells_another_environment(self) -> None:
        larger = __import__(
            "ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.keys", fromlist=["keys"]
        ).generate("production", key().certificate.not_before, size=3072)
        (first, *_) = verify.report({"x": sealed_text()}, [], larger.certificate).problems
        assert "it was sealed for an RSA key of 2048 bits, and that of production has 3072" in first
