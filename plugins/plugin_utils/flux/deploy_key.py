# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key with which one environment's Flux reads its repository: made here, kept in the cluster's Secret and nowhere else."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import missing

try:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519
except ImportError as error:
    serialization = ed25519 = missing("cryptography", error)

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class DeployKey:
    """An ed25519 key pair in OpenSSH's forms; the private half is in no representation."""

    public: str
    private: str = field(repr=False)


@dataclass(frozen=True)
class KeySecret:
    """What a Secret holds, without its private half: `complete` says that there is one."""

    public: str
    known_hosts: str
    complete: bool


def generate(comment: str) -> DeployKey:
    """Make a key pair; `comment` stands behind the public half and tells where it is used."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return DeployKey(f"{public.decode()} {comment}", private.decode())


def secret(name: str, namespace: str, key: DeployKey, known_hosts: str) -> dict[str, Any]:
    """Return the Secret that Flux reads."""
    content = {"identity": key.private, "identity.pub": key.public, "known_hosts": known_hosts}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "Opaque",
        "data": {entry: base64.b64encode(text.encode()).decode() for entry, text in content.items()},
    }


def read(found: Mapping[str, Any] | None) -> KeySecret | None:
    """Return what an admin may see of a Secret; None where there is none."""
    if found is None:
        return None
    data = found.get("data") or {}

    def text(entry: str) -> str:
        try:
            return base64.b64decode(str(data.get(entry) or ""), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return ""

    public = text("identity.pub").strip()
    return KeySecret(public, text("known_hosts"), bool(data.get("identity")) and bool(public))


def same_hosts(one: str, other: str) -> bool:
    """Whether two known_hosts texts pin the same keys: the order of their lines, and comments, say nothing."""

    def lines(text: str) -> set[str]:
        return {" ".join(line.split()) for line in text.splitlines() if line.strip() and not line.startswith("#")}

    return lines(one) == lines(other)
