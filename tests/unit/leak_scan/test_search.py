# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import json
import re
import textwrap
from collections.abc import Callable
from urllib.parse import quote

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan import needles, scan, search
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.errors import LeakScanError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.needles import Secret
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.search import Hit, Text
from hypothesis import given, settings
from hypothesis import strategies as st

VALUE = 'c0rrect h\'rse/stäple+"4711"'
SECRET = Secret("staging", "shop/db.password", VALUE.encode())
#: Random by eye, so that nothing else has it.
TOKEN = b"zQ8vN3kLp0sWx7Rt"


def find(data: bytes, *secrets: Secret) -> list[Hit]:
    return search.known([Text("f", data)], needles.needles(secrets or (SECRET,)))


def b64(data: bytes | str) -> bytes:
    return base64.b64encode(data if isinstance(data, bytes) else data.encode())


def wrapped(text: str) -> bytes:
    """A block of YAML as tools write it."""
    return b"  key: |\n" + textwrap.indent("\n".join(textwrap.wrap(text, 64)), "    ").encode()


FORMS: dict[str, Callable[[str], bytes]] = {
    "as it is": lambda v: v.encode(),
    "in a URL": lambda v: f"postgres://u:{quote(v, safe='')}@db/x".encode(),
    "in a URL, lower case": lambda v: re.sub("%..", lambda m: m[0].lower(), quote(v, safe="")).encode(),
    "in JSON": lambda v: json.dumps({"password": v}).encode(),
    "in JSON, not ASCII": lambda v: json.dumps({"password": v}, ensure_ascii=False).encode(),
    "in YAML": lambda v: yaml.safe_dump({"password": v}, allow_unicode=True, default_style="'").encode(),
    "hex": lambda v: v.encode().hex().encode(),
    "HEX": lambda v: v.encode().hex().upper().encode(),
    "base64": b64,
    "base64 for URLs": lambda v: base64.urlsafe_b64encode(v.encode()),
    "base64 without its end": lambda v: b64(v).rstrip(b"="),
    "base64 within text": lambda v: b"x" + b64(v) + b"yz",
    "base64 of user and password": lambda v: b64(f"admin:{v}"),
    "wrapped base64": lambda v: wrapped(b64("x" * 50 + v + "y" * 70).decode()),
    "base64 of base64": lambda v: b64(b64(f"u:{v}")),
    "base64 of base64 of base64": lambda v: b64(b64(b64(v))),
    "a registry's login": lambda v: (
        b".dockerconfigjson: " + b64(json.dumps({"auths": {"r": {"auth": b64(f"u:{v}").decode()}}}))
    ),
    "base64 of JSON": lambda v: b64(json.dumps({"a": [v]})),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_secret_is_found_in_every_form_and_never_shown(form: Callable[[str], bytes]) -> None:
    (hit,) = find(b"a: 1\n\nb: " + form(VALUE) + b"\nc: 2\n")
    assert (hit.where, hit.rule) == ("f", "known-secret")
    assert hit.line in (3, 4)
    assert hit.what.startswith("the secret staging: shop/db.password stands here (")
    assert "rse" not in hit.what
    assert VALUE not in repr(SECRET)


@settings(max_examples=150, deadline=None)
@given(
    value=st.binary(min_size=8, max_size=60),
    before=st.binary(max_size=7),
    after=st.binary(max_size=7),
    nested=st.integers(0, 2),
)
def test_base64_is_found_at_every_alignment(value: bytes, before: bytes, after: bytes, nested: int) -> None:
    text = base64.b64encode(before + value + after)
    for _ in range(nested):
        text = base64.b64encode(b"k=" + text)
    assert len(find(b"data: " + text + b"\n", Secret("e", "n", value))) == 1


@settings(max_examples=100, deadline=None)
@given(value=st.text(min_size=8, max_size=30), form=st.sampled_from(sorted(set(FORMS) - {"in YAML"})))
def test_any_text_is_found_in_any_form(value: str, form: str) -> None:
    assert find(b"x " + FORMS[form](value) + b"\n", Secret("e", "n", value.encode()))


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("length", [8, 10, 11, 12, 40])
def test_in_a_large_text_it_is_found_wherever_it_begins(place: int, length: int) -> None:
    """Large texts are looked at in groups of bytes first."""
    value = bytes(range(65, 65 + length))
    before = b"- _\n" * 20_000 + b" " * place
    for form in (
        value,
        value.hex().encode(),
        b64(value),
        b64(b"u:" + value),
        b64(b64(value)),
        base64.urlsafe_b64encode(value),
    ):
        hits = find(before + b"\n" + form + b"\n" + before, Secret("e", "n", value))
        assert [hit.line for hit in hits] == [20_002], form
        (url,) = find(
            before + base64.urlsafe_b64encode(b"\xff\xef" + value) + before, Secret("e", "n", b"\xff\xef" + value)
        )
        assert url.line == 20_001


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=3000))
def test_nothing_is_found_where_nothing_is(data: bytes) -> None:
    assert find(data + b64(data) + data.hex().encode(), Secret("e", "n", TOKEN)) == []


def test_the_value_of_another_environment_is_told_apart_and_each_place_once() -> None:
    other = Secret("production", "shop/db.password", b"another one 4711")
    hits = find(b"1\n" + b64(VALUE) + b"\n" + VALUE.encode() + b"\nanother one 4711\n", SECRET, other)
    assert sorted((hit.line, hit.what.split(" stands")[0]) for hit in hits) == [
        (2, "the secret staging: shop/db.password"),
        (4, "the secret production: shop/db.password"),
    ]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(("before", "after"), [("", "\n"), ("", "\r\n"), (" ", " \n\n"), ("\n", "")])
def test_white_space_around_a_value_hides_it_in_no_form(form: Callable[[str], bytes], before: str, after: str) -> None:
    """A block of a vault ends in a newline, and what is written into a file by hand does not."""
    secret = Secret("staging", "n", f"{before}{VALUE}{after}".encode())
    assert len(find(b"a: 1\nb: " + form(VALUE) + b"\n", secret)) == 1
    assert len(find(b"a: 1\nb: " + form(secret.value.decode()) + b"\n", secret)) == 1


LINES = [f"{letter}AAAAB3NzaC1yc2EAAAADAQABAAABgQ" + letter * (number == 1) for number, letter in enumerate("qrs")]
PRIVATE = "-----{} OPENSSH PRIVATE " + "KEY-----"
LONG = "\n".join([PRIVATE.format("BEGIN"), *LINES, PRIVATE.format("END"), ""])


def test_a_value_of_several_lines_is_found_by_one_of_them_and_not_by_its_heading() -> None:
    secret = Secret("staging", "key", LONG.encode())
    (hit,) = find(b"data:\n" + textwrap.indent(LONG, "    ").encode(), secret)
    assert hit.line == 3
    assert "(one of its lines)" in hit.what
    opening = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW"
    other = Secret("staging", "key", LONG.replace(LINES[0], opening).encode())
    text = "\n".join([PRIVATE.format("BEGIN"), opening, "another", PRIVATE.format("END"), ""]).encode()
    assert find(text, secret, other) == []


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_each_line_is_enough_in_every_form(form: Callable[[str], bytes], line: str) -> None:
    (hit,) = find(b"a: 1\nb: " + form(line) + b"\n", Secret("staging", "key", LONG.encode()))
    assert "one of its lines" in hit.what


def test_the_certificate_beside_a_key_may_be_shown_line_by_line() -> None:
    own = [f"{letter}IIDazCCAlOgAwIBAgIUF" for letter in "mn"]
    certificate = "\n".join(["-----BEGIN CERTIFICATE-----", *own, "-----END CERTIFICATE-----", ""])
    secret = Secret("staging", "tls", (certificate + LONG).encode())
    assert find(textwrap.indent(certificate, "  ").encode(), secret) == []
    assert len(find(textwrap.indent(LONG, "  ").encode(), secret)) == 1


KUBECONFIG = """\
apiVersion: client.example.com/v1
kind: ClusterConfiguration
current-context: admin@staging
clusters:
- cluster:
    certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSURC
    server: https://staging.example.com:6443
users:
- user:
    token: {token}
"""
ACCOUNT = """\
{{
  "type": "service_account",
  "auth_uri": "https://accounts.google.com/o/oauth2/auth",
  "token_uri": "https://oauth2.googleapis.com/token",
  "universe_domain": "googleapis.com",
  "private_key_id": "{token}"
}}
"""
IDENTITY = """\
# created: 2026-11-22T09:43:29Z
# public key: age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
{token}
"""
SCRIPT = """\
#!/usr/bin/env bash
# ==================
export TOKEN={token}
"""
OF_A_KIND = {"kubeconfig": KUBECONFIG, "account": ACCOUNT, "age identity": IDENTITY, "script": SCRIPT}


@pytest.mark.parametrize("text", OF_A_KIND.values(), ids=OF_A_KIND)
def test_what_files_of_a_kind_have_in_common_is_no_secret_and_the_rest_is(text: str) -> None:
    secret = Secret("staging", "file", text.format(token=TOKEN.decode()).encode())
    assert find(text.format(token="another-one").encode(), secret) == []
    assert find(textwrap.indent(text.format(token="another-one"), "    ").encode(), secret) == []
    (hit,) = find(textwrap.indent(text.format(token=TOKEN.decode()), "    ").encode(), secret)
    assert hit.line == text[: text.index("{token}")].count("\n") + 1
    assert "one of its lines" in hit.what


@pytest.mark.parametrize(
    "line", ["server: https://admin:s3cret@10.0.0.1", "# created: by hand, hunter2-hunter3", "kinds: of-a-secret-value"]
)
def test_a_line_that_only_looks_common_is_looked_for(line: str) -> None:
    (hit,) = find(b"    " + line.encode(), Secret("staging", "file", f"a: b\n{line}\n".encode()))
    assert "one of its lines" in hit.what


def test_a_short_secret_among_common_lines_is_found_in_a_block() -> None:
    value = "apiVersion: example.com/v1alpha1\npin: 4711xyz\n"
    secret = Secret("staging", "login", value.encode())
    assert [hit.line for hit in find(textwrap.indent(value, "    ").encode(), secret)] == [1]
    assert find(b"apiVersion: example.com/v1alpha1\n---\npin: 4711xyz\n", secret) == []


@pytest.mark.parametrize("indent", [0, 2, 4, 10])
def test_a_value_of_short_lines_is_found_in_a_block(indent: int) -> None:
    value = "user: admin\n\npass: 4711xyz\n"
    secret = Secret("staging", "login", value.encode())
    block = "data:\n  login: |\n" + textwrap.indent(value, " " * indent)
    assert [hit.line for hit in find(block.encode(), secret)] == [3]
    assert find(b"user: admin\n---\npass: 4711xyz\n", secret) == []


def test_texts_do_not_run_into_each_other() -> None:
    half = len(TOKEN) // 2
    texts = [Text("a", TOKEN[:half]), Text("b", TOKEN[half:])]
    assert search.known(texts, needles.needles([Secret("e", "n", TOKEN)])) == []
    texts = [Text(name, b"\n" * number + TOKEN + TOKEN) for number, name in enumerate("abc")]
    hits = search.known(texts, needles.needles([Secret("e", "n", TOKEN)]))
    assert [(hit.where, hit.line) for hit in hits] == [("a", 1), ("b", 2), ("c", 3)]


def test_short_values_are_named_as_weak_and_not_looked_for() -> None:
    short = Secret("staging", "pin", b"1234567")
    assert find(b"1234567", short) == []
    line = Secret("staging", "line", b"1234567\n")
    assert scan.judge([short, line, SECRET, Secret("e", "empty", b"")], ()) == (
        [],
        ["too short to be looked for (fewer than 8 bytes): staging: pin, staging: line"],
    )


def test_the_same_secret_in_two_environments_is_told_unless_it_is_shared() -> None:
    both = [SECRET, Secret("production", "shop/db.password", SECRET.value), Secret("production", "x", b"12345678")]
    (problem,) = scan.judge(both, ())[0]
    assert problem.startswith("staging: shop/db.password and production: shop/db.password are the same secret")
    assert VALUE not in problem
    assert scan.judge(both, ["shop/db.password"])[0] == []
    assert scan.judge([SECRET, Secret("staging", "again", SECRET.value)], ())[0] == []
    assert len(scan.judge([SECRET, Secret("production", "line", SECRET.value + b"\n")], ())[0]) == 1


def test_a_whole_vault_is_read() -> None:
    found = needles.read(
        {"staging": {"db": {"users": [{"password": "p"}], "port": 5432}, "on": True, "none": None, "raw": b"\0"}}
    )
    assert [(one.environment, one.name, one.value) for one in found] == [
        ("staging", "db.users[0].password", b"p"),
        ("staging", "db.port", b"5432"),
        ("staging", "raw", b"\0"),
    ]
    for wrong in (["x"], {"staging": "hunter22"}, None):
        with pytest.raises(LeakScanError, match="wanted a mapping of environments") as caught:
            needles.read(wrong)  # type: ignore[arg-type]
        assert "hunter22" not in str(caught.value)


KEY = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEowIBAAKCAQEAy\n"
PGP = "-----BEGIN PGP " + "PRIVATE KEY BLOCK-----\n\nlQOYBGQyZxYBCADEXAMPLE\n"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (f"a\n{KEY}", [2]),
        (json.dumps({"type": "service_account", "private_key": KEY}, indent=1), [3]),
        (json.dumps({"a": json.dumps({"private_key": KEY})}), [1]),
        (f"a: 1\nkey: {yaml.safe_dump(KEY.replace(chr(10), chr(13) + chr(10)), default_style=chr(34))}", [2]),
        (PGP, [1]),
        (PGP.replace("\n\n", "\nVersion: GnuPG v2\nComment: of two words\n\n"), [1]),
        (f"\n{json.dumps(PGP)}", [2]),
        (PGP.replace("PRIVATE", "PUBLIC"), []),
        (json.dumps("-----BEGIN " + "PRIVATE KEY-----\n...\n"), []),
        ("x: " + "AGE-SECRET-" + "KEY-1" + "Q" * 58, [1]),
        ("x: ghp_" + "a" * 36 + "\ny: gho_" + "b" * 36, [1, 2]),
        ("x: AKIA" + "Q" * 16, [1]),
        ("-----BEGIN PRIVATE KEY-----\n${KEY}\n", []),
        ("-----BEGIN PUBLIC KEY-----\nMIIEowIBAAKCAQEAy\n", []),
        ("ghp_short AKIAshort", []),
    ],
)
def test_private_keys_and_tokens_are_found_by_their_looks(text: str, lines: list[int]) -> None:
    assert [hit.line for hit in search.private_keys([Text("f", text.encode())])] == lines


SECRET_YAML = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop}\n"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (SECRET_YAML + "stringData: {a: b}\n", ["Secret shop/db"]),
        (SECRET_YAML + "data: {a: Yg==}\n", ["Secret shop/db"]),
        ("kind: ConfigMap\n---\n" + SECRET_YAML + "data: {a: Yg==}\n", ["Secret shop/db"]),
        ('{"apiVersion": "v1", "kind": "Secret", "data": {"a": "Yg=="}}', ["Secret "]),
        (
            "apiVersion: v1\nkind: List\nitems:\n- " + SECRET_YAML.replace("\n", "\n  ") + "data: {a: Yg==}\n",
            ["Secret shop/db"],
        ),
        (SECRET_YAML + "data: {a: 'ENC[AES256]'}\nsops: {mac: x}\n", []),
        (SECRET_YAML + "stringData: {a: '${PASSWORD}', b: ''}\n", []),
        (SECRET_YAML + "type: kubernetes.io/service-account-token\n", []),
        (SECRET_YAML, []),
        ("apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\n", []),
        ("kind: SecretStore\napiVersion: external-secrets.io/v1\n", []),
        ("kind: Secret\ndata: {{ template }}\n", ["this looks like a Secret, and cannot be read"]),
    ],
)
def test_secrets_in_clear_are_found(text: str, names: list[str]) -> None:
    hits = search.clear_secrets([Text("f", text.encode())])
    assert [hit.what[: len(name)] for hit, name in zip(hits, names, strict=True)] == names
