# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a backup and make sure that it can be read again, and exchange key Secrets with a cluster."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import apply
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import backup as backups
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.backup import LABEL, Backup, KeyRecord
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import BackupError

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session


def read_backup(path: Path, identities: Sequence[Any]) -> Backup | None:
    """Read the backup at `path`; None where there is none yet. Raises BackupError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BackupError(f"{path}: the backup cannot be read: {error.strerror}") from None
    return backups.decrypt(data, identities, str(path))


def write_backup(path: Path, backup: Backup, recipients: Sequence[str], identities: Sequence[Any]) -> None:
    """Encrypt a backup, open it again, compare, and only then put it in the place of the old one. Raises BackupError.

    The bytes that are tested are those read back from the disk. The old file stays until the new one has passed.
    """
    data = backups.encrypt(backup, recipients)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            if not backups.same(backups.decrypt(temporary.read_bytes(), identities, str(path)), backup):
                raise BackupError(f"{path}: what was written is not what is read back. Is the disk in order?")
            temporary.replace(path)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise BackupError(f"{path}: the backup cannot be written: {error.strerror}") from None


def key_secrets(session: Session, namespace: str) -> list[dict[str, Any]]:
    """Return the Secrets of the controller's namespace that hold sealing keys, whatever their state. Raises ApiError."""
    return session.items(f"/api/v1/namespaces/{namespace}/secrets", labelSelector=LABEL)


def apply_keys(session: Session, records: Sequence[KeyRecord], environment: str) -> None:
    """Bring keys into the cluster with their states. Raises KubeError."""
    objects = [backups.secret(record, environment) for record in records]
    # the label of a key that the controller made belongs to the controller, but its state is decided here
    applier = apply.Applier(session, apply.Options(force=True))
    applier.apply(objects, applier.plan(objects))
