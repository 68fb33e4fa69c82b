# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""known_hosts files: who is meant by a line, what is trusted, and edits that leave everything else alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import (
    ChangedHostKeyError,
    SshError,
    UnknownHostKeyError,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.host_keys import (
    HostKey,
    check,
    decide,
    edit_known_hosts,
    keys_of,
    known_hosts_name,
    matches,
    normalise_fingerprint,
    parse_known_hosts,
    plan_pin,
    plan_unpin,
    prefer_key_types,
    read_known_hosts,
)
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable


def key(number: int, kind: str = "ssh-ed25519") -> HostKey:
    return HostKey(kind, base64.b64encode(kind.encode() + bytes([number]) * 32).decode())


def hashed(name: str) -> str:
    salt = b"s" * 20
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def line(names: str, of: HostKey, marker: str = "") -> str:
    return f"{marker} {names} {of.type} {of.base64}".strip() + "\n"


def test_a_fingerprint_is_the_one_that_ssh_keygen_prints() -> None:
    of = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl")
    assert of.fingerprint == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("host", "host", True),
        ("HOST", "host", True),
        ("host", "host2", False),
        ("*.example.com", "a.example.com", True),
        ("192.0.2.?", "192.0.2.7", True),
        ("[host]:2222", "[host]:2222", True),
        ("[host]:2222", "host", False),
        ("[abc]", "a", False),
        ("*,!bad", "bad", False),
        ("*,!bad", "good", True),
        ("!bad", "good", False),
    ],
)
def test_patterns_match_as_in_openssh(pattern: str, name: str, *, expected: bool) -> None:
    assert matches(pattern.split(","), name) is expected


def test_hashed_names_match_only_their_host() -> None:
    assert matches([hashed("host")], "host")
    assert not matches([hashed("host")], "hosu")
    assert not matches(["|1|notbase64|x", "|1|a"], "host")


def test_unreadable_lines_are_passed_over_and_line_numbers_stay() -> None:
    text = "# comment\n\nhost ssh-ed25519\nhost ssh-ed25519 ###\n" + line("host", key(1))
    entries = parse_known_hosts(text, "f")
    assert [(entry.where, entry.key) for entry in entries] == [("f:5", key(1))]


def test_a_known_key_is_accepted_whatever_other_types_are_pinned() -> None:
    text = line("host", key(1)) + line("host", key(2, "ssh-rsa"))
    check(parse_known_hosts(text, "f"), "host", key(2, "ssh-rsa"))


def test_an_unknown_host_and_a_changed_key_are_told_apart() -> None:
    entries = parse_known_hosts(line("other", key(1)) + line("host", key(2)), "/home/a/known_hosts")
    with pytest.raises(UnknownHostKeyError, match="no known_hosts file has a key for third"):
        check(entries, "third", key(1))
    with pytest.raises(ChangedHostKeyError) as caught:
        check(entries, "host", key(1))
    for part in (key(1).fingerprint, key(2).fingerprint, "/home/a/known_hosts:2", "ssh-keygen -R 'host'"):
        assert part in str(caught.value)


def test_the_changed_message_names_the_line_of_the_same_type() -> None:
    entries = parse_known_hosts(line("host", key(1, "ssh-rsa")) + line("host", key(2)), "f")
    with pytest.raises(ChangedHostKeyError, match="f:2"):
        check(entries, "host", key(3))


def test_a_key_of_a_type_that_is_not_pinned_is_a_change() -> None:
    with pytest.raises(ChangedHostKeyError):
        check(parse_known_hosts(line("host", key(1, "ssh-rsa")), "f"), "host", key(1))


def test_a_revoked_key_is_refused_even_where_it_is_pinned() -> None:
    entries = parse_known_hosts(line("*", key(1), "@revoked") + line("host", key(1)), "f")
    with pytest.raises(ChangedHostKeyError, match="f:1 marks as revoked"):
        check(entries, "host", key(1))
    with pytest.raises(ChangedHostKeyError, match="revoked"):
        decide(entries, "host", key(1), fingerprints=[key(1).fingerprint], replace=True)


def test_a_certificate_authority_does_not_vouch_for_a_plain_key() -> None:
    entries = parse_known_hosts(line("host", key(1), "@cert-authority"), "f")
    with pytest.raises(UnknownHostKeyError):
        check(entries, "host", key(1))


@pytest.mark.parametrize(
    ("pinned", "options", "expected"),
    [
        (1, {}, "keep"),
        (1, {"fingerprints": [key(1).fingerprint]}, "keep"),
        (None, {"trust_on_first_use": True}, "pin"),
        (None, {"fingerprints": [key(9).fingerprint, key(1).fingerprint]}, "pin"),
        (2, {"fingerprints": [key(1).fingerprint], "replace": True}, "replace"),
    ],
)
def test_what_is_decided(pinned: int | None, options: dict[str, object], expected: str) -> None:
    entries = parse_known_hosts(line("host", key(pinned)) if pinned else "", "f")
    assert decide(entries, "host", key(1), **options) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pinned", "options", "error"),
    [
        (None, {}, UnknownHostKeyError),
        (2, {}, ChangedHostKeyError),
        (2, {"trust_on_first_use": True}, ChangedHostKeyError),
        (2, {"replace": True}, ChangedHostKeyError),
        (2, {"replace": True, "trust_on_first_use": True}, ChangedHostKeyError),
        (2, {"fingerprints": [key(1).fingerprint]}, ChangedHostKeyError),
        # The admin vouches for another key: not even the pinned one is accepted.
        (1, {"fingerprints": [key(2).fingerprint]}, ChangedHostKeyError),
        (None, {"fingerprints": [key(2).fingerprint], "trust_on_first_use": True}, ChangedHostKeyError),
    ],
)
def test_what_is_refused(pinned: int | None, options: dict[str, object], error: type[Exception]) -> None:
    entries = parse_known_hosts(line("host", key(pinned)) if pinned else "", "f")
    with pytest.raises(error):
        decide(entries, "host", key(1), **options)  # type: ignore[arg-type]


def test_fingerprints_are_taken_as_people_paste_them() -> None:
    wanted = key(1).fingerprint
    assert {normalise_fingerprint(text) for text in (wanted, f" {wanted} ", wanted + "=", wanted[7:])} == {wanted}


@pytest.mark.parametrize("text", ["", "MD5:aa:bb", "SHA256:short", "SHA256:" + "ä" * 43, "aa:bb:cc"])
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(SshError, match="not a SHA256 fingerprint"):
        normalise_fingerprint(text)


def test_names_carry_the_port_where_it_is_not_22() -> None:
    assert (known_hosts_name("h", 22), known_hosts_name("h", 2222)) == ("h", "[h]:2222")


def test_pinning_adds_a_line_once_and_mends_a_missing_newline() -> None:
    plan = plan_pin("# mine\nother x y", "f", "host", [key(1), key(1)])
    assert plan.after == "# mine\nother x y\n" + line("host", key(1))
    assert not plan_pin(plan.after, "f", "host", [key(1)]).changed


def test_pinning_knows_hashed_lines() -> None:
    assert not plan_pin(line(hashed("host"), key(1)), "f", "host", [key(1)]).changed


def test_unpinning_takes_the_name_out_and_leaves_policy() -> None:
    text = (
        "# comment\n"
        + line("host", key(1))
        + line("a,host,b", key(2))
        + line("*.example.com,host", key(3))
        + line("ho*", key(4))
        + line("host", key(5), "@revoked")
        + line(hashed("host"), key(6))
        + "damaged line of host\n"
    )
    assert plan_unpin(text, "f", "host").after == (
        "# comment\n"
        + line("a,b", key(2))
        + line("*.example.com", key(3))
        + line("ho*", key(4))
        + line("host", key(5), "@revoked")
        + "damaged line of host\n"
    )


LINES = st.lists(
    st.one_of(
        st.text(alphabet="ab# \t|*!,é", max_size=12),
        st.builds(
            lambda names, number: line(",".join(names), key(number)).rstrip("\n"),
            st.lists(st.sampled_from(["host", "a", "b*", "!c", hashed("host")]), min_size=1, max_size=3),
            st.integers(0, 5),
        ),
    ),
    max_size=6,
)


@given(lines=LINES, number=st.integers(0, 5), newline=st.booleans())
def test_pin_then_unpin_never_touches_the_lines_of_others(lines: list[str], number: int, *, newline: bool) -> None:
    text = "\n".join(lines) + ("\n" if newline and lines else "")
    pinned = plan_pin(text, "f", "host", [key(number)])
    assert pinned.after.startswith(text)
    assert any(entry.key == key(number) for entry in keys_of(parse_known_hosts(pinned.after, "f"), "host"))
    removed = plan_unpin(pinned.after, "f", "host").after
    others = [part for part in text.splitlines() if not any(n in part for n in ("host", "|1|"))]
    # a line "host,a" that becomes "a" may equal another's line, so the others are looked for in their order
    left = iter(removed.splitlines())
    assert [part for part in others if part not in left] == []


def test_a_new_file_is_private_and_an_old_one_keeps_mode_and_link(tmp_path: Path) -> None:
    new = tmp_path / "dir" / "known_hosts"
    edit_known_hosts(str(new), lambda text: plan_pin(text, str(new), "host", [key(1)]))
    assert new.read_text() == line("host", key(1))
    assert (new.stat().st_mode & 0o777, new.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    new.chmod(0o644)
    link = tmp_path / "link"
    link.symlink_to(new)
    edit_known_hosts(str(link), lambda text: plan_pin(text, str(link), "host2", [key(1)]))
    assert link.is_symlink()
    assert new.read_text() == line("host", key(1)) + line("host2", key(1))
    assert new.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in new.parent.iterdir()] == ["known_hosts"]


def test_edits_of_several_at_once_are_all_kept(tmp_path: Path, run_in_forks: Callable[..., None]) -> None:
    path = str(tmp_path / "known_hosts")

    def pin(number: int) -> None:
        edit_known_hosts(path, lambda text: plan_pin(text, path, f"host{number}", [key(number)]))

    run_in_forks(pin, range(12))
    names = {entry.patterns[0] for entry in read_known_hosts([path])}
    assert names == {f"host{number}" for number in range(12)}


def test_missing_files_hold_nothing_and_unreadable_ones_are_named(tmp_path: Path) -> None:
    assert read_known_hosts([str(tmp_path / "none")]) == []
    with pytest.raises(SshError, match="cannot read the known_hosts file"):
        read_known_hosts([str(tmp_path)])


def test_the_pinned_type_is_asked_for_first() -> None:
    offered = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256")
    assert prefer_key_types(offered, ["ssh-rsa"])[:2] == ("rsa-sha2-512", "rsa-sha2-256")
    assert prefer_key_types(offered, ["unknown"]) == offered
