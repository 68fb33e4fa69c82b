# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import crypto
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.crypto import SCOPES, Scope
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError, UnsealError
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sealed_secrets.samples import key, vector_key, vectors

VECTORS = vectors()["vectors"]
NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['scope']}-{len(v['plaintext'])}")
def test_upstreams_ciphertexts_open(vector: dict[str, Any]) -> None:
    bound_to = crypto.label(vector["scope"], vector["namespace"], vector["name"])
    assert bound_to.decode() == vector["label"]
    blob = crypto.decode(vector["ciphertext_b64"])
    assert crypto.unseal([vector_key().key], blob, bound_to) == (vector["plaintext"].encode(), 0)
    assert crypto.encode(blob) == vector["ciphertext_b64"]


def test_a_blob_has_upstreams_layout() -> None:
    own = key()
    blob = crypto.seal(own.key.public_key(), b"12345", b"")
    assert blob[:2] == (256).to_bytes(2, "big")
    assert len(blob) == 2 + 256 + 5 + 16
    assert crypto.encode(blob)[:2] == "AQ"


@settings(max_examples=40, deadline=None)
@given(plaintext=st.binary(max_size=300), scope=st.sampled_from(SCOPES), namespace=NAMES, name=NAMES)
def test_what_is_sealed_opens_with_its_label_and_with_no_other(
    plaintext: bytes, scope: Scope, namespace: str, name: str
) -> None:
    own = key()
    bound_to = crypto.label(scope, namespace, name)
    blob = crypto.seal(own.certificate.key, plaintext, bound_to)
    assert crypto.unseal([key("production").key, own.key], blob, bound_to) == (plaintext, 1)
    for other in SCOPES:
        if other != scope:
            with pytest.raises(UnsealError, match="with the label"):
                crypto.unseal([own.key], blob, crypto.label(other, namespace, name))
    with pytest.raises(UnsealError):
        crypto.unseal([own.key], blob, bound_to + b"x")


@settings(max_examples=60, deadline=None)
@given(place=st.integers(min_value=0, max_value=2 + 256 + 20 + 16 - 1), bit=st.integers(min_value=0, max_value=7))
def test_one_changed_bit_is_noticed(place: int, bit: int) -> None:
    own = key()
    blob = bytearray(crypto.seal(own.certificate.key, b"x" * 20, b"shop/db"))
    blob[place] ^= 1 << bit
    with pytest.raises(SealError):
        crypto.unseal([own.key], bytes(blob), b"shop/db")


def test_two_seals_of_the_same_differ() -> None:
    own = key()
    assert crypto.seal(own.certificate.key, b"x", b"") != crypto.seal(own.certificate.key, b"x", b"")


def test_what_went_wrong_is_told_apart() -> None:
    own, other = key(), key("production")
    blob = crypto.seal(own.certificate.key, b"value", b"shop/db")
    changed = blob[:-1] + bytes([blob[-1] ^ 1])
    larger = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    for keys, given_blob, words in (
        ([own.key], changed, "changed after it was sealed"),
        ([other.key], blob, "none of the 1 keys at hand opens it with the label 'shop/db'"),
        ([larger], blob, "an RSA key of 2048 bits, and none of the 1 keys"),
        ([], blob, "no private key is at hand"),
        ([own.key], blob[:200], "no ciphertext of Sealed Secrets, or is cut short"),
        ([own.key], b"", "cut short"),
    ):
        with pytest.raises(SealError, match=words) as caught:
            crypto.unseal(keys, given_blob, b"shop/db")
        assert "value" not in str(caught.value)


def test_what_is_no_base64_is_refused_without_quoting_it() -> None:
    with pytest.raises(SealError, match="not base64") as caught:
        crypto.decode("not-sealed-but-a-password!")
    assert "password" not in str(caught.value)
