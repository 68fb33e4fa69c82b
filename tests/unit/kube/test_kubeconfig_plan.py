# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import difflib
import json

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import kubeconfig
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeconfigError
from hypothesis import given, settings
from hypothesis import strategies as st

from .kubeconfigs import ADMIN_CONF, CA, FOREIGN, KEY, SECRET

CREDENTIALS = kubeconfig.read_source(ADMIN_CONF, "source", "https://cp1.example.com:6443")


def put(text: str | None, name: str = "prod", *, set_current: bool = False) -> kubeconfig.Plan:
    return kubeconfig.plan(text, "FILE", name, CREDENTIALS, set_current)


def drop(text: str | None, name: str = "prod") -> kubeconfig.Plan:
    return kubeconfig.plan(text, "FILE", name, None)


def entry(text: str, section: str, name: str) -> dict[str, object]:
    (found,) = [e for e in yaml.safe_load(text)[section] if e["name"] == name]
    return dict(found)


def test_source_gives_credentials_and_the_given_server() -> None:
    assert CREDENTIALS.server == "https://cp1.example.com:6443"
    assert (CREDENTIALS.certificate_authority_data, CREDENTIALS.client_key_data) == (CA, KEY)
    assert SECRET not in repr(CREDENTIALS)
    assert KEY not in repr(CREDENTIALS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("client-key-data: " + KEY, ""), "client-key-data is missing"),
        (
            ("certificate-authority-data: " + CA, "certificate-authority: /etc/ca.crt"),
            "certificate-authority-data is mi",
        ),
        (("client-key-data: " + KEY, "client-key-data: '***'"), "client-key-data is not base64"),
        (("client-key-data: " + KEY, "client-key-data: " + CA), "client-key-data is not a PEM private key"),
        (("current-context: kubernetes-admin@kubernetes", "current-context: gone"), "current-context is 'gone'"),
        (("user: kubernetes-admin\n", "user: gone\n"), "refers to user 'gone'"),
        (("kind: Config", "kind: Secret"), "not a kubeconfig"),
    ],
)
def test_source_that_is_not_complete_is_refused(change: tuple[str, str], message: str) -> None:
    with pytest.raises(KubeconfigError, match="source") as caught:
        kubeconfig.read_source(ADMIN_CONF.replace(*change), "source")
    assert message in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("server", ["http://a:6443", "a:6443", "https://", "https://a:99999", "https://u:p@a:6443"])
def test_server_must_be_an_https_address(server: str) -> None:
    with pytest.raises(KubeconfigError, match="wanted https://HOST:PORT"):
        kubeconfig.read_source(ADMIN_CONF, "source", server)


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "a\nb"])
def test_name_must_be_usable(name: str) -> None:
    with pytest.raises(KubeconfigError, match="cannot be used for a cluster and context"):
        put(None, name)


def test_new_file_has_one_working_context() -> None:
    plan = put(None)
    assert plan.text is not None
    data = yaml.safe_load(plan.text)
    assert data["current-context"] == "prod"
    assert entry(plan.text, "contexts", "prod")["context"] == {"cluster": "prod", "user": "prod-admin"}
    assert kubeconfig.read_source(plan.text, "written") == CREDENTIALS
    assert [(c.kind, c.action) for c in plan.changes] == [
        ("cluster", "add"),
        ("user", "add"),
        ("context", "add"),
        ("current-context", "update"),
    ]


def test_second_run_has_an_empty_plan() -> None:
    first = put(FOREIGN)
    second = put(first.text)
    assert second.changes == ()
    assert second.text == first.text
    assert second.before == second.after


def test_every_line_of_others_stays_where_it_was() -> None:
    text = put(FOREIGN).text or ""
    edits = difflib.SequenceMatcher(None, FOREIGN.splitlines(), text.splitlines(), autojunk=False).get_opcodes()
    assert {kind for kind, *_ in edits} == {"equal", "insert"}
    assert yaml.safe_load(text)["current-context"] == "work"


def test_removal_gives_back_the_very_bytes() -> None:
    assert drop(put(FOREIGN).text).text == FOREIGN


def test_current_context_is_taken_on_request_and_given_up_on_removal() -> None:
    taken = put(FOREIGN, set_current=True)
    assert taken.current_context == "prod"
    left = drop(taken.text)
    assert left.current_context == ""
    assert yaml.safe_load(left.text or "")["current-context"] == ""
    assert ("current-context", "remove") in [(c.kind, c.action) for c in left.changes]


def test_nothing_is_left_of_a_file_that_was_only_ours() -> None:
    assert drop(put(None).text).text is None
    assert drop(None).changes == ()


def test_two_clusters_live_side_by_side() -> None:
    both = put(put(None, "staging").text, "prod").text
    assert both is not None
    assert yaml.safe_load(both)["current-context"] == "staging"
    assert drop(both, "prod").text == put(None, "staging").text


@pytest.mark.parametrize(
    "damage",
    [
        lambda t: t.replace(f"client-key-data: {KEY}", "client-key-data: cut"),
        lambda t: t.replace("server: https://cp1.example.com:6443", "server: https://other:6443"),
        lambda t: t.replace(f"    certificate-authority-data: {CA}\n", "    insecure-skip-tls-verify: true\n"),
        lambda t: t.replace("      user: prod-admin\n", ""),
        lambda t: t.replace("- name: prod-admin\n", "- name: prod-admin\n  extra: 1\n").replace(
            "  user:\n", "  user2:\n"
        ),
        lambda t: t[: t.index("users:")] + "users: []\n",
        lambda t: t[: t.index("users:")] + "users:\n",
        lambda t: t[: t.index("users:")],
        lambda t: t.replace("users:\n", "users:\n- {name: prod-admin, user: {token: a}}\n"),
    ],
)
def test_damaged_or_missing_entries_are_repaired(damage: object) -> None:
    good = put(FOREIGN.replace("users:", "uzers:")).text or ""
    assert callable(damage)
    broken = damage(good)
    assert broken != good
    plan = put(broken)
    assert plan.changes
    repaired = yaml.safe_load(plan.text or "")
    assert kubeconfig.read_source(yaml.safe_dump(repaired | {"current-context": "prod"}), "repaired") == CREDENTIALS
    assert put(plan.text).changes == ()


def test_what_the_admin_added_to_our_entries_stays() -> None:
    text = (put(None).text or "").replace("    user: prod-admin\n", "    user: prod-admin\n    namespace: shop\n")
    text = text.replace("    server:", "    proxy-url: socks5://localhost:1080\n    server:")
    assert put(text).changes == ()
    plan = put(text.replace("server: https://cp1", "server: https://cp9"))
    assert [c.kind for c in plan.changes] == ["cluster"]
    assert entry(plan.text or "", "clusters", "prod")["cluster"] == {
        "certificate-authority-data": CA,
        "proxy-url": "socks5://localhost:1080",
        "server": "https://cp1.example.com:6443",
    }


def test_rival_logins_do_not_stay_beside_ours() -> None:
    text = (put(None).text or "").replace("  user:\n", "  user:\n    token: old\n    exec: {command: x}\n")
    plan = put(text)
    assert plan.text == put(None).text
    assert "old" not in plan.before


def test_json_stays_json() -> None:
    text = json.dumps(yaml.safe_load(FOREIGN), indent=2, ensure_ascii=False)
    plan = put(text, set_current=True)
    data = json.loads(plan.text or "")
    assert data["current-context"] == "prod"
    assert [c["name"] for c in data["clusters"]] == ["work", "home", "prod"]
    assert put(plan.text, set_current=True).changes == ()
    assert json.loads(drop(plan.text).text or "")["clusters"] == json.loads(text)["clusters"]


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "{}", "null", "kind: Config", "clusters:\n"])
def test_nearly_empty_files_are_filled(text: str) -> None:
    plan = put(text)
    assert kubeconfig.read_source(plan.text or "", "written") == CREDENTIALS
    assert put(plan.text).changes == ()
    if "#" in text:
        assert (drop(plan.text).text or "").startswith(text)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("clusters:\n- name: a\n  cluster: {server: x\n", 4, "not valid YAML"),
        ("kind: Config\n\tclusters: []\n", 2, "not valid YAML"),
        ("- a\n- b\n", 1, "wanted a mapping at the top, found a list"),
        ("kind: Config\nclusters: nothing\n", 2, "'clusters' must be a list"),
        ("clusters:\n- name: a\n- cluster: {}\n", 3, "has no name"),
        ("users:\n- name: 12\n", 2, "put it in quotes"),
        ("users:\n- just text\n", 2, "must be a mapping with a name"),
        ("kind: Config\nusers: []\nusers: []\n", 3, "appears twice"),
        ("kind: Config\n---\nkind: Config\n", 2, "not valid YAML"),
        ("kind: Secret\n", 1, "not a kubeconfig"),
        ("current-context: [a]\n", 1, "must be a name"),
        ("kind: Config\nusers: []\x07\n", 2, "not valid YAML"),
        ("clusters: [*nobody]\n", 1, "not valid YAML"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(text: str, line: int, message: str) -> None:
    for attempt in (put, drop):
        with pytest.raises(KubeconfigError) as caught:
            attempt(text)
        assert str(caught.value).startswith(f"FILE:{line}:")
        assert message in str(caught.value)
        assert "It was left as it is" in str(caught.value)


def test_aliases_are_refused_rather_than_broken() -> None:
    text = "users:\n- &me\n  name: me\n  user: {token: a}\nx: *me\n"
    with pytest.raises(KubeconfigError, match=r"FILE:5: the alias \*me"):
        put(text)


def test_the_plan_shows_no_secret() -> None:
    text = put(FOREIGN).text or ""
    changed = text.replace(KEY, base64.b64encode(b"-----BEGIN PRIVATE KEY-----" + SECRET.encode()).decode())
    for plan in (put(FOREIGN), put(changed), drop(text), drop(changed)):
        for shown in (plan.before, plan.after, repr(plan)):
            assert "PRIVATE KEY" not in shown
            assert KEY not in shown
            assert SECRET not in shown
    assert "(secret)" in put(changed).before
    assert "(secret, new value)" in put(changed).after


def test_contexts_of_others_that_lose_their_cluster_are_named() -> None:
    text = (put(None).text or "").replace(
        "contexts:\n", "contexts:\n- {name: mine, context: {cluster: prod, user: prod-admin}}\n"
    )
    assert drop(text).dangling == ("mine",)


names = st.text("abcdefgh-.'\"#:{}[]", min_size=1, max_size=8)
words = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn", "Co"]), max_size=12)
bodies = st.dictionaries(st.sampled_from(["server", "namespace", "token", "x y", "ü"]), words, max_size=3)


def section(kind: str) -> st.SearchStrategy[list[dict[str, object]]]:
    return st.lists(st.fixed_dictionaries({"name": names, kind: bodies}), max_size=3, unique_by=lambda e: e["name"])


documents = st.fixed_dictionaries(
    {},
    optional={
        "apiVersion": st.just("v1"),
        "kind": st.just("Config"),
        "clusters": st.none() | section("cluster"),
        "contexts": st.none() | section("context"),
        "users": st.none() | section("user"),
        "current-context": st.none() | names,
        "preferences": st.dictionaries(words, words, max_size=2),
    },
)
styles = st.sampled_from(["block", "flow", "json", "mixed"])


@settings(max_examples=60, deadline=None)
@given(documents, styles, st.booleans())
def test_any_file_keeps_what_is_not_ours(data: dict[str, object], style: str, sort: bool) -> None:
    if style == "json":
        text = json.dumps(data, indent=1, ensure_ascii=False)
    else:
        flow = {"block": False, "flow": True, "mixed": None}[style]
        text = yaml.safe_dump(data, default_flow_style=flow, sort_keys=sort, allow_unicode=True)
    plan = put(text)
    after = yaml.safe_load(plan.text or "")
    for key in ("clusters", "contexts", "users"):
        assert [e for e in after[key] if not e["name"].startswith("prod")] == (data.get(key) or [])
    assert after.get("preferences", {}) == data.get("preferences", {})
    assert put(plan.text).changes == ()
    removed = yaml.safe_load(drop(plan.text).text or "{}")
    for key in ("clusters", "contexts", "users"):
        assert (removed.get(key) or []) == (data.get(key) or [])
    assert (removed.get("current-context") or "") == (data.get("current-context") or "")
