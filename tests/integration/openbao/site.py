# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests declare of a server, and what the modules do with it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import (
    admin,
    configure,
    declaration,
    escrow,
    initialize,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.api import Api
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.escrow import Escrow
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.initialize import Wanted
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.observe import observe
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.plan import plan
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.integration.kube.api_server import issue
from tests.integration.openbao.bao import Bao, Kind

ADMIN, SAFE = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
RECIPIENTS = [str(ADMIN.to_public()), str(SAFE.to_public())]
REVIEWER, PASSWORD = "reviewer-jwt-QmZ1", "swordfish-7Hq2"

AUTHORITY = issue("kubernetes").pem.decode()
POLICY = 'path "kv/data/apps/*" {\n  capabilities = ["read"]\n}\n'
ROLE = {
    "bound_service_account_names": ["eso"],
    "bound_service_account_namespaces": ["external-secrets"],
    "audience": "openbao-staging",
    "token_policies": ["eso-staging"],
    "token_ttl": "20m",
}


def kubernetes(**config: Any) -> dict[str, Any]:
    return {
        "path": "kubernetes-staging",
        "type": "kubernetes",
        "description": "the cluster of staging",
        "max_lease_ttl": "1h",
        "config": {
            "kubernetes_host": "https://127.0.0.1:6443",
            "kubernetes_ca_cert": AUTHORITY,
            "token_reviewer_jwt": REVIEWER,
            "disable_local_ca_jwt": True,
            **config,
        },
        "roles": {"eso": ROLE},
    }


def jwt(pubkey: str) -> dict[str, Any]:
    return {
        "path": "jwt-production",
        "type": "jwt",
        "config": {"jwt_validation_pubkeys": [pubkey], "bound_issuer": "https://issuer"},
        "roles": {
            "deploy": {
                "user_claim": "sub",
                "bound_audiences": ["openbao"],
                "bound_subject": "system:serviceaccount:ci:deploy",
                "bound_claims": {"team": ["b", "a"]},
                "token_policies": ["eso-staging"],
                "token_max_ttl": "10m",
            }
        },
    }


def public_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


PUBLIC = public_key()


def whole(**changes: Any) -> dict[str, Any]:
    return {
        "mounts": [
            {
                "path": "kv",
                "type": "kv",
                "description": "secrets of applications",
                "max_versions": 10,
                "cas_required": True,
                "delete_version_after": "720h",
                "max_lease_ttl": "2h",
            },
            {"path": "transit", "type": "transit"},
        ],
        "policies": {"eso-staging": POLICY},
        "auth_methods": [kubernetes(), jwt(PUBLIC)],
        "secrets": [{"mount": "kv", "path": "apps/shop", "data": {"password": PASSWORD, "port": 5432}}],
        "audit": [],
        **changes,
    }


def prepared(bao: Bao) -> None:
    """Initialise the server, with the escrow beside it, and unseal it."""
    server = bao.server()
    wanted = Wanted("staging", bao.directory.parent / "keys.age", RECIPIENTS, 3, 2)
    kept = initialize.initialize(server, server.status(), wanted, [ADMIN])
    if kept.seal == "shamir":
        initialize.unseal(server, server.status(), kept, ["unseal"], 30)
    server.wait_until_active(30)


def kept_of(bao: Bao) -> Escrow:
    found = escrow.read(bao.directory.parent / "keys.age", [SAFE], "staging")
    assert found is not None
    return found


def run(bao: Bao, options: dict[str, Any]) -> list[str]:
    """What the module does; returns what it changed."""
    server, kept = bao.server(), kept_of(bao)
    status = configure.ready(server)
    entry = admin.enter(server, kept)
    with entry.api as api:
        wanted = configure.both(declaration.read(options), admin.declared())
        changes = plan(wanted, observe(api, wanted, status.cluster))
        if changes:
            configure.apply(api, changes, 20)
            configure.verify(api, wanted, status.cluster)
        steps = admin.plan(api, kept, entry.by)
        if steps:
            admin.apply(server, api, kept, steps, bao.directory.parent / "keys.age", RECIPIENTS, [ADMIN])
    return [*map(str, changes), *steps]


def as_admin(bao: Bao) -> Api:
    return admin.enter(bao.server(), kept_of(bao)).api


@dataclass(frozen=True)
class Sealing:
    """A seal by which a server unseals itself: its type, its settings, and settings with which it cannot."""

    type: str
    settings: Mapping[str, str]
    other: Mapping[str, str]

    @property
    def stanza(self) -> str:
        """The seal in a server's configuration."""
        lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in self.settings.items())
        return f'seal "{self.type}" {{\n{lines}\n}}'


@contextmanager
def self_unsealing(directory: Path, kind: Kind) -> Iterator[Sealing]:
    """Give a static key; with Vault, which has no such seal, a server that is there to unseal others."""
    if kind == "bao":
        keys = [os.urandom(32).hex() for _ in range(2)]
        settings, other = ({"current_key_id": "one", "current_key": key} for key in keys)
        yield Sealing("static", settings, other)
        return
    server = Bao(directory / "bao", kind=kind)
    server.start()
    try:
        prepared(server)
        token = kept_of(server).root_token
        with Api(server.server(), token) as api:
            api.write("POST", "sys/mounts/transit", {"type": "transit"}, "mount transit")
            for name in ("one", "two"):
                api.write("POST", f"transit/keys/{name}", {}, "make a key")
        common = {
            "address": server.url,
            "token": token,
            "mount_path": "transit/",
            "tls_ca_cert": server.ca_file,
            "disable_renewal": "true",
        }
        yield Sealing("transit", {**common, "key_name": "one"}, {**common, "key_name": "two"})
    finally:
        server.kill()
