# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a backup and make sure that it can be read again, and exchange key Secrets with a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import apply
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import backup as backups
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.backup import LABEL, Backup, KeyRecord

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session


def read_backup(path: Path, identities: Sequence[Any]) -> Backup | None:
    """Read the backup at `path`; None where there is none yet. Raises AgeError, BackupError."""
    data = file.read(path)
    return None if data is None else backups.decode(file.decrypt(data, identities, str(path)), str(path))


def write_backup(path: Path, backup: Backup, recipients: Sequence[str], identities: Sequence[Any]) -> None:
    """Put a backup in the place of the old one after it has been read back and opened. Raises AgeError, BackupError.

    Whatever it says of its recipients, those that it is encrypted to are noted in it.
    """
    noted = replace(backup, recipients=file.comparable(recipients))
    file.write(path, backups.encode(noted), recipients, identities)


def key_secrets(session: Session, namespace: str) -> list[dict[str, Any]]:
    """Return the Secrets of the controller's namespace that hold sealing keys, whatever their state. Raises ApiError."""
    return session.items(f"/api/v1/namespaces/{namespace}/secrets", labelSelector=LABEL)


def apply_keys(session: Session, records: Sequence[KeyRecord], environment: str) -> None:
    """Bring keys into the cluster with their states. Raises KubeError."""
    objects = [backups.secret(record, environment) for record in records]
    # the label of a key that the controller made belongs to the controller, but its state is decided here
    applier = apply.Applier(session, apply.Options(force=True))
    applier.apply(objects, applier.plan(objects))
