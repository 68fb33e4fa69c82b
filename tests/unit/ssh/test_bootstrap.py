# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is missing for a login by key."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.bootstrap import (
    Access,
    AccessState,
    check_wanted,
    key_identity,
    parse,
    plan,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import SshError


def public(number: int, comment: str = "me@laptop") -> str:
    kind = b"ssh-ed25519"
    blob = len(kind).to_bytes(4, "big") + kind + bytes([number]) * 36
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} {comment}".strip()


HARD = {
    "passwordauthentication": "no",
    "kbdinteractiveauthentication": "no",
    "permitrootlogin": "without-password",
    "pubkeyauthentication": "yes",
}
WANTED = Access("admin", (public(1),))
DONE = AccessState(
    exists=True,
    home="/home/admin",
    shell="/bin/bash",
    keys=(public(1),),
    modes=("admin:700", "admin:600"),
    tools=("sudo", "visudo", "useradd"),
    sudoers="admin ALL=(ALL:ALL) NOPASSWD: ALL",
    included=True,
    sshd=HARD,
)
FRESH = AccessState(tools=("sudo", "visudo", "useradd"), included=True, sshd={**HARD, "passwordauthentication": "yes"})


def steps(state: AccessState, wanted: Access = WANTED) -> list[str]:
    return [change.step for change in plan(state, wanted)]


def test_a_host_that_is_as_it_should_be_needs_nothing() -> None:
    assert plan(DONE, WANTED) == []


def test_a_fresh_host_needs_everything() -> None:
    assert steps(FRESH) == ["user", "keys", "sudo", "sshd"]
    assert steps(replace(FRESH, exists=True, home="/root"), replace(WANTED, user="root")) == ["keys", "sshd"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"keys": (public(2),)}, ["keys"]),
        ({"keys": ("# note", public(1, "other comment"))}, []),
        # A key with options may not let us in: ours is added plainly.
        ({"keys": (f'from="192.0.2.1" {public(1)}',)}, ["keys"]),
        ({"modes": ("admin:755", "admin:644")}, ["modes"]),
        ({"modes": ("root:700", "admin:600")}, ["modes"]),
        ({"sudoers": "admin ALL=(ALL) ALL"}, ["sudo"]),
        ({"sshd": {**HARD, "permitrootlogin": "yes"}}, ["sshd"]),
        ({"sshd": {**HARD, "permitrootlogin": "no"}}, []),
        ({"sshd": {**HARD, "kbdinteractiveauthentication": "yes"}}, ["sshd"]),
        ({"sshd": {**HARD, "pubkeyauthentication": "no"}}, ["sshd"]),
    ],
)
def test_each_thing_that_may_be_missing(changes: dict[str, object], expected: list[str]) -> None:
    assert steps(replace(DONE, **changes)) == expected  # type: ignore[arg-type]


def test_keys_of_others_stay_unless_ours_are_exclusive() -> None:
    state = replace(DONE, keys=("# note", public(2), public(1)))
    assert steps(state) == []
    [change] = plan(state, replace(WANTED, exclusive=True))
    assert change.after.count("SHA256:") == 1
    assert change.before.count("SHA256:") == 2


def test_the_plan_shows_fingerprints_not_keys() -> None:
    [change] = plan(replace(DONE, keys=()), WANTED)
    identity = key_identity(public(1))
    assert identity is not None
    assert (change.before, change.after) == ("none", identity.fingerprint)


def test_what_cannot_be_done_is_said_at_once() -> None:
    with pytest.raises(SshError) as caught:
        plan(AccessState(), WANTED)
    for part in ("useradd", "sudo is not installed", "sshd -T"):
        assert part in str(caught.value)


def test_passwords_may_stay() -> None:
    assert steps(FRESH, replace(WANTED, disable_password_login=False)) == ["user", "keys", "sudo"]


@pytest.mark.parametrize(
    ("wanted", "match"),
    [
        (Access("Admin", (public(1),)), "not a user name"),
        (Access("a; reboot", (public(1),)), "not a user name"),
        (Access("admin", ()), "nobody could log in"),
        (Access("admin", ("ssh-ed25519 AAAA",)), "not a public key"),
        (Access("admin", ("-----BEGIN OPENSSH PRIVATE KEY-----",)), "not a public key"),
    ],
)
def test_wishes_that_cannot_be_right(wanted: Access, match: str) -> None:
    with pytest.raises(SshError, match=match):
        check_wanted(wanted)


def test_a_key_is_known_by_its_text() -> None:
    assert key_identity(public(1)) == key_identity(f"restrict,command=\"echo 'a b'\" {public(1, '')}")
    assert key_identity(public(1).replace("ssh-ed25519 ", "ssh-rsa ")) is None
    assert key_identity("# ssh-ed25519 comment") is None


def test_the_answer_of_the_host_is_read() -> None:
    text = (
        "@passwd admin:x:1000:1000::/home/admin:/bin/sh\n"
        f"@key {public(1)}\n@key \n@modes admin:700 admin:600 \n@tool sudo\n@sudoers line\n"
        "@dropin # c\n@dropin A b\n@include yes\n@sshd passwordauthentication yes\n@sshd port 22\n@finished\n"
    )
    state = parse(text)
    assert (state.exists, state.home, state.shell) == (True, "/home/admin", "/bin/sh")
    assert state.keys == (public(1), "")
    assert state.modes == ("admin:700", "admin:600")
    assert (state.drop_in, state.included, state.sudoers) == ("# c\nA b\n", True, "line")
    assert state.sshd == {"passwordauthentication": "yes", "port": "22"}
    with pytest.raises(SshError, match="incomplete"):
        parse(text.replace("@finished\n", ""))
    assert parse("@finished\n") == AccessState()
