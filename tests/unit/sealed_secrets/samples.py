# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that are made once for all tests: small ones, for making a key of 4096 bits takes a second."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import keys, mac
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.keys import SealingKey
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.manifest import Declared
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.seal import Sealer

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
MAC_KEY = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="
FIXTURES = Path(__file__).resolve().parents[2] / "fixtures" / "sealed_secrets"


def vectors() -> dict[str, Any]:
    """Ciphertexts that upstream's own code made, with the key that opens them."""
    found: dict[str, Any] = json.loads((FIXTURES / "vectors.json").read_text())
    return found


def vector_key() -> SealingKey:
    found = vectors()
    return keys.read_key(found["key_pem"], found["cert_pem"], "vectors")


def key(environment: str = "staging", number: int = 0) -> SealingKey:
    """A key of an environment; a higher number is a newer one."""
    return _key(environment, number)


@cache
def _key(environment: str, number: int) -> SealingKey:
    return keys.generate(environment, NOW + timedelta(days=number), size=2048)


def sealer(environment: str = "staging", number: int = 0, *, private: bool = False, mac_key: bool = True) -> Sealer:
    own = key(environment, number)
    return Sealer(
        environment,
        own.certificate,
        (own,) if private else (),
        mac.derive(MAC_KEY, environment) if mac_key else None,
    )


def declared(**changes: Any) -> Declared:
    given: dict[str, Any] = {
        "path": "clusters/staging/secrets/db.yaml",
        "name": "db",
        "namespace": "shop",
        "items": {"password": b"correct horse", "user": b"shop"},
    }
    return Declared(**{**given, **changes})
