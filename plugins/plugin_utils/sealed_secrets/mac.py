# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell that a ciphertext still holds a plaintext without being able to open it: a keyed MAC that binds both. Pure.

The MAC stands beside the ciphertext in Git and says nothing to whom the key is unknown. It binds the ciphertext: one
that somebody else sealed with the public certificate and put in its place does not keep its MAC. It binds environment,
sealing key, scope and label, so that a change of any of them seals anew.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError

ANNOTATION = "stagecraft.gitops/seal-mac"
KEY_BYTES = 32
_VERSION = b"seal-mac-v1"
_LENGTH = 16


@dataclass(frozen=True)
class MacKey:
    """The key of one environment, derived from the one in the plaintext source."""

    environment: str
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class Context:
    """What a MAC binds besides item, ciphertext and plaintext."""

    environment: str
    fingerprint: str
    scope: str
    label: bytes


def derive(text: str, environment: str) -> MacKey:
    """Derive an environment's key from the master, 32 random bytes as base64. Raises SealError for anything else."""
    try:
        master = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        master = b""
    if len(master) != KEY_BYTES:
        raise SealError(
            f"mac_key: wanted {KEY_BYTES} random bytes as base64, found something else ({len(text)} characters)."
            f" Make one with: openssl rand -base64 {KEY_BYTES}"
        )
    # HKDF of RFC 5869 with SHA-256, whose output of one block is all that is wanted
    extracted = hmac.digest(bytes(hashlib.sha256().digest_size), master, "sha256")
    return MacKey(environment, hmac.digest(extracted, _VERSION + b"\0" + environment.encode() + b"\x01", "sha256"))


def compute(key: MacKey, context: Context, item: str, ciphertext: str, plaintext: bytes) -> str:
    """Return the MAC of one item, as 32 hex digits. `ciphertext` is the base64 text."""
    bound = _joined(context.environment.encode(), context.fingerprint.encode(), context.scope.encode(), context.label)
    message = _joined(_VERSION, bound, item.encode(), ciphertext.encode(), plaintext)
    return hmac.digest(key.key, message, "sha256")[:_LENGTH].hex()


def matches(key: MacKey, context: Context, item: str, ciphertext: str, plaintext: bytes, mac: str) -> bool:
    """Say whether a MAC is that of an item."""
    return hmac.compare_digest(compute(key, context, item, ciphertext, plaintext), mac)


def _joined(*parts: bytes) -> bytes:
    """Put parts behind each other so that no two lists of parts give the same bytes."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)
