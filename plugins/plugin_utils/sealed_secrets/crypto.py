# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cipher of Sealed Secrets, one item at a time. Pure but for the system's random numbers.

Source: pkg/crypto/crypto.go (HybridEncrypt, HybridDecrypt) and pkg/apis/sealedsecrets/v1alpha1/sealedsecret_expansion.go
(EncryptionLabel) of sealed-secrets. A blob is the length of the RSA part as two bytes, most significant first, then a
session key under RSA-OAEP (SHA-256, MGF1 with SHA-256, the item's label), then the plaintext under AES-256-GCM. The
nonce is twelve zero bytes, which is safe because a session key is used once.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import missing
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError, UnsealError

try:
    from cryptography import exceptions
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.ciphers import aead
except ImportError as error:
    exceptions = hashes = padding = aead = missing("cryptography", error)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

Scope = Literal["strict", "namespace-wide", "cluster-wide"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_NONCE = bytes(12)
_SESSION_KEY = 32
_TAG = 16
_SMALLEST_MODULUS = 256


def label(scope: Scope, namespace: str, name: str) -> bytes:
    """Return what binds a ciphertext to its place: ``namespace/name``, ``namespace``, or nothing."""
    texts = {"strict": f"{namespace}/{name}", "namespace-wide": namespace, "cluster-wide": ""}
    return texts[scope].encode()


def seal(key: rsa.RSAPublicKey, plaintext: bytes, bound_to: bytes) -> bytes:
    """Return the blob of one item. Two calls never return the same."""
    session = os.urandom(_SESSION_KEY)
    wrapped = key.encrypt(session, _padding(bound_to))
    return len(wrapped).to_bytes(2, "big") + wrapped + aead.AESGCM(session).encrypt(_NONCE, plaintext, None)


def unseal(keys: Sequence[rsa.RSAPrivateKey], blob: bytes, bound_to: bytes) -> tuple[bytes, int]:
    """Return the plaintext of a blob and the place in `keys` of the one that opens it. Raises UnsealError, SealError."""
    wrapped, rest = split(blob)
    for number, key in enumerate(keys):
        try:
            session = key.decrypt(wrapped, _padding(bound_to))
        except ValueError:
            continue
        try:
            return aead.AESGCM(session).decrypt(_NONCE, rest, None), number
        except (exceptions.InvalidTag, ValueError):
            raise UnsealError(
                "the ciphertext was changed after it was sealed (its authentication tag does not fit)"
            ) from None
    raise UnsealError(_why_not(keys, len(wrapped) * 8, bound_to))


def split(blob: bytes) -> tuple[bytes, bytes]:
    """Take a blob apart into the wrapped session key and the encrypted plaintext with its tag. Raises SealError."""
    size = int.from_bytes(blob[:2], "big")
    if len(blob) < 2 + size + _TAG or size < _SMALLEST_MODULUS:
        raise SealError(f"it is no ciphertext of Sealed Secrets, or is cut short ({len(blob)} bytes)")
    return blob[2 : 2 + size], blob[2 + size :]


def decode(text: str) -> bytes:
    """Return the blob that stands as base64 in a SealedSecret. Raises SealError."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise SealError(f"it is not base64 ({len(text)} characters)") from None


def encode(blob: bytes) -> str:
    """Return a blob as it stands in a SealedSecret."""
    return base64.b64encode(blob).decode()


def _padding(bound_to: bytes) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), bound_to)


def _why_not(keys: Sequence[rsa.RSAPrivateKey], bits: int, bound_to: bytes) -> str:
    shown = bound_to.decode("utf-8", "replace")
    if not keys:
        return "no private key is at hand"
    fitting = sum(key.key_size == bits for key in keys)
    if not fitting:
        return f"it was sealed for an RSA key of {bits} bits, and none of the {len(keys)} keys at hand has that size"
    return (
        f"none of the {fitting} keys at hand opens it with the label {shown!r}: it was sealed for another key, name,"
        " namespace or scope (the scope stands in the SealedSecret's own annotations), or its first part was changed"
    )
