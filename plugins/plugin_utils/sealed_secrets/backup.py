# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of sealing keys: one age file with the keys as Secrets, which ``age -d`` and ``kubectl apply`` can restore, too.

A backup is encrypted to two recipients at least, and is only trusted after one of them has opened it again.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import missing
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import BackupError, SealError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.keys import SealingKey, newest, read_key

try:
    import pyrage
except ImportError as error:
    pyrage = missing("pyrage", error)

State = Literal["active", "retired", "compromised"]
STATES: tuple[State, ...] = get_args(State)
#: The controller loads the keys whose label says "active" when it starts, and no others.
LABEL = "sealedsecrets.bitnami.com/sealed-secrets-key"
ENVIRONMENT = "stagecraft.gitops/environment"
LEAST_RECIPIENTS = 2
_BEGIN, _END = b"-----BEGIN AGE ENCRYPTED FILE-----", b"-----END AGE ENCRYPTED FILE-----"


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
    """All sealing keys of one environment."""

    environment: str
    records: tuple[KeyRecord, ...]

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


def check_recipients(recipients: Sequence[str]) -> list[Any]:
    """Return the recipients as the library wants them. Raises BackupError with all that are none, or are too few."""
    problems, read = [], []
    wanted = list(dict.fromkeys(recipient.strip() for recipient in recipients))
    for text in wanted:
        try:
            read.append(_recipient(text))
        except pyrage.RecipientError as error:
            problems.append(f"{text[:24]!r} is no age recipient (age1... or an SSH public key): {error}")
    if len(wanted) < LEAST_RECIPIENTS:
        problems.append(
            f"wanted {LEAST_RECIPIENTS} different recipients at least, found {len(wanted)}: with the loss of the only"
            " identity every sealed secret would be lost"
        )
    if problems:
        raise BackupError("recipients of the backup: " + "; ".join(problems))
    return read


def read_identities(text: str, where: str) -> list[Any]:
    """Read an identity file: age identities a line each, or one SSH private key. Raises BackupError."""
    if "PRIVATE KEY-----" in text:
        try:
            return [pyrage.ssh.Identity.from_buffer(text.encode())]
        except pyrage.IdentityError:
            raise BackupError(
                f"{where}: the SSH private key cannot be used (is it encrypted with a passphrase?)"
            ) from None
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        found = [pyrage.x25519.Identity.from_str(line) for line in lines]
    except pyrage.IdentityError:
        raise BackupError(f"{where}: wanted lines AGE-SECRET-KEY-1..., found something else") from None
    if not found:
        raise BackupError(f"{where}: wanted an age identity, found none")
    return found


def encrypt(backup: Backup, recipients: Sequence[str]) -> bytes:
    """Return the backup's file. Raises BackupError for one without keys."""
    if not backup.records:
        raise BackupError(
            f"wanted the sealing keys of {backup.environment} for a backup, found none: it would be empty. Is it the"
            " controller's namespace that was looked at?"
        )
    items = [secret(record, backup.environment) for record in _ordered(backup.records)]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items}, indent=1)
    return bytes(pyrage.encrypt(text.encode(), check_recipients(recipients), armored=True))


def decrypt(data: bytes, identities: Sequence[Any], where: str) -> Backup:
    """Read a backup's file. Raises BackupError: not whole, not for these identities, changed, empty, no backup."""
    if not data.strip().startswith(_BEGIN):
        raise BackupError(f"{where}: wanted a backup of sealing keys (an armored age file), found something else")
    if not data.strip().endswith(_END):
        raise BackupError(
            f"{where}: the backup ends in the middle ({len(data)} bytes): it was not written or copied as a whole. Take"
            " another copy"
        )
    try:
        text = bytes(pyrage.decrypt(data, identities))
    except pyrage.DecryptError as error:
        if "No matching keys" in str(error):
            raise BackupError(
                f"{where}: the backup is not encrypted to the identities at hand. Name another one"
            ) from None
        raise BackupError(f"{where}: the backup was changed or damaged ({error}). Take another copy") from None
    try:
        items = json.loads(text)["items"]
        records = tuple(read_secret(item, where) for item in items)
        environments = {str(item["metadata"]["annotations"][ENVIRONMENT]) for item in items}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BackupError(f"{where}: it opens, but holds no sealing keys in the form of this collection") from None
    if len(environments) != 1:
        raise BackupError(f"{where}: wanted the keys of one environment, found {len(environments)}")
    return Backup(environments.pop(), records)


def merge(*sets: Iterable[KeyRecord]) -> tuple[KeyRecord, ...]:
    """Put keys of several places together, each once; what a later place says of a key counts."""
    found: dict[str, KeyRecord] = {}
    for records in sets:
        found.update((record.fingerprint, record) for record in records)
    return tuple(_ordered(found.values()))


def same(one: Backup, other: Backup) -> bool:
    """Say whether two backups hold the same: keys with their private halves, states and places."""
    return one.environment == other.environment and [secret(r, "") for r in _ordered(one.records)] == [
        secret(r, "") for r in _ordered(other.records)
    ]


def _ordered(records: Iterable[KeyRecord]) -> list[KeyRecord]:
    return sorted(records, key=lambda record: (record.key.certificate.not_before, record.fingerprint))


def _recipient(text: str) -> Any:
    return pyrage.ssh.Recipient.from_str(text) if text.startswith("ssh-") else pyrage.x25519.Recipient.from_str(text)
