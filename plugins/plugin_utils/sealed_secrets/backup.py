# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of sealing keys: one age file with the keys as Secrets, which ``age -d`` and ``kubectl apply`` can restore, too.

It is encrypted to two recipients at least, and is only trusted after one of them has opened it again.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import BackupError, SealError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.keys import SealingKey, newest, read_key

State = Literal["active", "retired", "compromised"]
STATES: tuple[State, ...] = get_args(State)
#: The controller loads the keys whose label says "active" when it starts, and no others.
LABEL = "sealedsecrets.bitnami.com/sealed-secrets-key"
ENVIRONMENT = "stagecraft.gitops/environment"
RECIPIENTS = "stagecraft.gitops/recipients"


@dataclass(frozen=True)
class KeyRecord:
    """A sealing key as a cluster or a backup holds it. `name` is that of its Secret, `namespace` the controller's."""

    key: SealingKey
    state: State
    name: str
    namespace: str

    @property
    def fingerprint(self) -> str:
        """That of the key."""
        return self.key.fingerprint


@dataclass(frozen=True)
class Backup:
    """All sealing keys of one environment.

    `recipients` are those that it is encrypted to, as `file.comparable` writes them; empty where that was not noted.
    """

    environment: str
    records: tuple[KeyRecord, ...]
    recipients: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[SealingKey, ...]:
        """Every key, compromised ones too: they open what was sealed for them."""
        return tuple(record.key for record in self.records)

    @property
    def current(self) -> KeyRecord | None:
        """The key that the controller seals with."""
        active = {record.fingerprint: record for record in self.records if record.state == "active"}
        last = newest(record.key for record in active.values())
        return None if last is None else active[last.fingerprint]


def secret(record: KeyRecord, environment: str) -> dict[str, Any]:
    """Return the Secret that the controller loads."""
    data = {"tls.crt": record.key.certificate.pem, "tls.key": record.key.pem}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": record.name,
            "namespace": record.namespace,
            "labels": {LABEL: record.state},
            "annotations": {ENVIRONMENT: environment},
        },
        "type": "kubernetes.io/tls",
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in data.items()},
    }


def read_secret(item: Mapping[str, Any], where: str) -> KeyRecord:
    """Return the key that a Secret holds. Raises SealError, which never quotes it."""
    metadata = item.get("metadata") or {}
    named = f"{where}, Secret {metadata.get('namespace')}/{metadata.get('name')}"
    data = item.get("data") or {}
    try:
        private, certificate = (base64.b64decode(data[key], validate=True).decode() for key in ("tls.key", "tls.crt"))
    except (KeyError, TypeError, binascii.Error, UnicodeDecodeError):
        raise SealError(f"{named}: wanted tls.key and tls.crt, found something else") from None
    said = (metadata.get("labels") or {}).get(LABEL)
    # what is labelled otherwise, or not at all, is not loaded: that is what retiring means
    state: State = next((state for state in STATES if state == said), "retired")
    return KeyRecord(
        read_key(private, certificate, named), state, str(metadata.get("name")), str(metadata.get("namespace"))
    )


def encode(backup: Backup) -> bytes:
    """Return what is encrypted. Raises BackupError for a backup without keys."""
    if not backup.records:
        raise BackupError(
            f"wanted the sealing keys of {backup.environment} for a backup, found none: it would be empty. Is it the"
            " controller's namespace that was looked at?"
        )
    items = [secret(record, backup.environment) for record in _ordered(backup.records)]
    metadata = {"annotations": {RECIPIENTS: "\n".join(backup.recipients)}} if backup.recipients else {}
    return json.dumps({"apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items}, indent=1).encode()


def decode(text: bytes, where: str) -> Backup:
    """Read what was decrypted. Raises BackupError."""
    try:
        whole = json.loads(text)
        items = whole["items"]
        records = tuple(read_secret(item, where) for item in items)
        environments = {str(item["metadata"]["annotations"][ENVIRONMENT]) for item in items}
        noted = ((whole.get("metadata") or {}).get("annotations") or {}).get(RECIPIENTS, "")
        recipients = tuple(noted.splitlines())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BackupError(f"{where}: it opens, but holds no sealing keys in the form of this collection") from None
    if len(environments) != 1:
        raise BackupError(f"{where}: wanted the keys of one environment, found {len(environments)}")
    return Backup(environments.pop(), records, recipients)


def merge(*sets: Iterable[KeyRecord]) -> tuple[KeyRecord, ...]:
    """Put keys of several places together, each once; what a later place says of a key counts."""
    found: dict[str, KeyRecord] = {}
    for records in sets:
        found.update((record.fingerprint, record) for record in records)
    return tuple(_ordered(found.values()))


def _ordered(records: Iterable[KeyRecord]) -> list[KeyRecord]:
    return sorted(records, key=lambda record: (record.key.certificate.not_before, record.fingerprint))
