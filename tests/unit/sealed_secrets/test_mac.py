# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import mac
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.mac import Context
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sealed_secrets.samples import MAC_KEY

CONTEXT = Context("staging", "SHA256:abc", "strict", b"shop/db")
KEY = mac.derive(MAC_KEY, "staging")
MAC = mac.compute(KEY, CONTEXT, "password", "AgBB", b"value")


def test_the_key_is_derived_as_rfc_5869_says() -> None:
    master = __import__("base64").b64decode(MAC_KEY)
    other = HKDF(hashes.SHA256(), 32, None, b"seal-mac-v1\0staging").derive(master)
    assert KEY.key == other
    assert KEY.key.hex() not in repr(KEY)


def test_a_mac_fits_what_it_was_made_of() -> None:
    assert len(MAC) == 32
    assert mac.matches(KEY, CONTEXT, "password", "AgBB", b"value", MAC)


@pytest.mark.parametrize(
    ("key", "context", "item", "ciphertext", "plaintext"),
    [
        (mac.derive(MAC_KEY, "production"), CONTEXT, "password", "AgBB", b"value"),
        (KEY, replace(CONTEXT, environment="production"), "password", "AgBB", b"value"),
        (KEY, replace(CONTEXT, fingerprint="SHA256:abd"), "password", "AgBB", b"value"),
        (KEY, replace(CONTEXT, scope="cluster-wide"), "password", "AgBB", b"value"),
        (KEY, replace(CONTEXT, label=b"shop/dc"), "password", "AgBB", b"value"),
        (KEY, CONTEXT, "passwort", "AgBB", b"value"),
        (KEY, CONTEXT, "password", "AgBC", b"value"),
        (KEY, CONTEXT, "password", "AgBB", b"valuf"),
        (KEY, CONTEXT, "password", "AgBBv", b"alue"),
    ],
)
def test_it_fits_nothing_else(key: mac.MacKey, context: Context, item: str, ciphertext: str, plaintext: bytes) -> None:
    assert not mac.matches(key, context, item, ciphertext, plaintext, MAC)


@given(st.lists(st.binary(max_size=6), max_size=4), st.lists(st.binary(max_size=6), max_size=4))
def test_no_two_messages_are_joined_to_the_same_bytes(one: list[bytes], other: list[bytes]) -> None:
    assert (mac._joined(*one) == mac._joined(*other)) == (one == other)


@pytest.mark.parametrize("text", ["", "hunter2-hunter2-hunter2", "AAAA", MAC_KEY + "AAAA"])
def test_a_weak_key_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(SealError, match="wanted 32 random bytes as base64") as caught:
        mac.derive(text, "staging")
    assert not text or text not in str(caught.value)
