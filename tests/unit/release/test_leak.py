# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate on leaks: a promotion brings nothing secret into Git, and tells what it found by its name alone."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.needles import Secret
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates import leak

from tests.unit.release.lab import A, Lab, kustomization

TOKEN = "zQ8vN3kLp0sWx7Rt"
SECRETS = (Secret("staging", "shop.token", TOKEN.encode() + b"\n"),)
OVERLAY = "clusters/production/podinfo/kustomization.yaml"
KEY = "-----BEGIN RSA " + "PRIVATE KEY-----\\nMIIEowIBAAKCAQEAy\\n"
CLEAR = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop}\nstringData: {a: b}\n"
SUBTREE = {"components": [{"name": "podinfo", "paths": ["podinfo/**"], "subtree": ["podinfo/extra/**"]}]}


def answer(result: dict[str, Any]) -> tuple[str, str]:
    (found,) = [(one["status"], one["detail"]) for one in result["gates"] if one["name"] == "leak"]
    return found


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"# {TOKEN}\n", "the secret staging: shop.token stands here (as it is)"),
        (
            f"# {base64.b64encode(b'user:' + TOKEN.encode()).decode()}\n",
            "the secret staging: shop.token stands here (base64)",
        ),
        (f'# {{"private_key": "{KEY}"}}\n', "a private key or access token stands here"),
    ],
)
def test_what_the_changed_file_holds_is_refused_and_not_shown(lab: Lab, line: str, said: str) -> None:
    lab.commit({OVERLAY: line + kustomization("6.5.4", A, replicas=3)})
    before = lab.head()
    result = lab.promote(secrets=SECRETS)
    assert (result["failed"], result["changed"], lab.head()) == (True, False, before)
    assert answer(result) == ("fail", f"{OVERLAY}:1: {said}")
    assert f"- leak: {OVERLAY}:1: {said}" in result["msg"]
    for value in (line[2:].strip(), TOKEN, KEY):
        assert value not in repr(result)


def test_a_file_that_comes_from_the_source_is_searched(lab: Lab) -> None:
    lab.commit({"clusters/staging/podinfo/extra/db.json": f'{{\n"key": "{KEY}"}}\n'})
    result = lab.promote(place=SUBTREE)
    said = "clusters/production/podinfo/extra/db.json:2: a private key or access token stands here"
    assert answer(result) == ("fail", said)
    allowed = {"leak": {"ignore": ["private-key:clusters/production/podinfo/extra/*"]}}
    assert lab.promote(place=SUBTREE, gates=allowed)["changed"] is True


def test_a_secret_in_clear_is_refused_and_one_that_is_removed_is_not() -> None:
    found = leak.nothing_secret({"b.yaml": CLEAR.encode(), "gone.yaml": None}, "", (), {})
    assert (found.ok, found.detail) == (False, "b.yaml:2: Secret shop/db can be read here")
    assert leak.nothing_secret({"gone.yaml": None}, "", SECRETS, {}).ok is True


def test_many_findings_are_told_in_part() -> None:
    found = leak.nothing_secret({f"{number}": TOKEN.encode() for number in range(12)}, "", SECRETS, {})
    assert found.detail.endswith("; and 2 more")


def test_files_that_are_left_alone_are_not_searched_and_what_passes_is_told(lab: Lab) -> None:
    lab.commit({"clusters/production/other.yaml": f"# {TOKEN}\n"})
    result = lab.promote(secrets=SECRETS)
    assert answer(result) == ("pass", "1 files, 1 known secrets")
    assert result["changed"] is True
    assert "leak=pass" in lab.message()


def test_without_known_secrets_it_says_so(lab: Lab) -> None:
    assert answer(lab.promote(check_mode=True)) == ("pass", "1 files, no secrets are known")


def test_the_reason_is_searched(lab: Lab) -> None:
    result = lab.promote(secrets=SECRETS, reason=f"the token is {TOKEN} now")
    assert answer(result) == ("fail", "the commit's message:1: the secret staging: shop.token stands here (as it is)")


def test_force_does_not_pass_over_it_and_a_warning_shows_nothing(lab: Lab) -> None:
    lab.commit({OVERLAY: f"# {TOKEN}\n" + kustomization("6.5.4", A, replicas=3) + f"namePrefix: {TOKEN}\n"})
    assert TOKEN in str(lab.promote(check_mode=True, gates={"leak": "off"})["unpromoted_differences"])
    assert answer(lab.promote(secrets=SECRETS, force=True, reason="now"))[0] == "fail"
    result = lab.promote(secrets=SECRETS, gates={"leak": "warn"})
    assert answer(result)[0] == "warn"
    assert (result["changed"], result["diff"], result["rendered_diff"]) == (True, [], "")
    assert result["unpromoted_differences"] == []


def test_the_same_secret_in_two_environments_is_refused_unless_it_is_shared(lab: Lab) -> None:
    both = (*SECRETS, Secret("production", "shop.token", TOKEN.encode()))
    status, said = answer(lab.promote(secrets=both))
    assert status == "fail"
    assert said.startswith("staging: shop.token and production: shop.token are the same secret")
    assert lab.promote(secrets=both, gates={"leak": {"shared": ["shop.token"]}})["changed"] is True


def test_what_somebody_else_commits_meanwhile_is_searched_as_well(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan is made anew on the newer file, and nothing is pushed."""
    run = lab.run(secrets=SECRETS)
    land = run._land

    def late(*arguments: Any, **options: Any) -> Any:
        lab.commit({OVERLAY: f"# {TOKEN}\n" + kustomization("6.5.4", A, replicas=3)})
        return land(*arguments, **options)

    monkeypatch.setattr(run, "_land", late)
    with pytest.raises(ReleaseError, match=r"leak: .*stands here"):
        run.promote("staging", "production", ("podinfo",), ask_registry=False)
    assert TOKEN in lab.text(OVERLAY)
    assert "6.5.4" in lab.text(OVERLAY)


def test_options_that_cannot_be_read_are_refused(lab: Lab) -> None:
    with pytest.raises(ReleaseError, match="gate leak: ignore: wanted a list of texts, found 'private-key'"):
        lab.promote(gates={"leak": {"ignore": "private-key"}})
