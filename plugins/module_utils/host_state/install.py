# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting checked artefacts in their places, stamp last. Imported only where there is something to install."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from . import archive, store
from .errors import HostStateError
from .spec import INCOMING, STORE, Artifact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .system import System


def check_incoming(system: System, what: str, sha256: str) -> None:
    """Hash a pushed file; a wrong or incomplete one is removed and refused. `what` names it in messages."""
    path = store.incoming_path(sha256)
    found = system.lstat(path)
    if found is None or not stat.S_ISREG(found.st_mode):
        raise HostStateError(f"{what}: nothing was pushed to {path}")
    actual = system.sha256(path)
    if actual != sha256:
        system.unlink(path)
        raise HostStateError(
            f"{what} was refused and removed, nothing was installed: the pushed file has sha256 "
            f"{actual} ({found.st_size} bytes), wanted {sha256}; check the mirror or cache it comes from and run again"
        )


def _sync_file(system: System, path: str) -> None:
    handle = os.open(system.path(path), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def install(system: System, artifact: Artifact, sha256: str) -> None:
    """Put a checked incoming artefact in its place, stamp last, then drop the incoming file."""
    files = (
        _install_archive(system, artifact, sha256)
        if artifact.install == "archive"
        else _install_single(system, artifact, sha256)
    )
    store.write_stamp(system, artifact, sha256, files)
    system.unlink(store.incoming_path(sha256))


def _install_single(system: System, artifact: Artifact, sha256: str) -> dict[str, Any]:
    source, target = store.incoming_path(sha256), store.main_file(artifact)
    system.ensure_directory(artifact.base)
    mode = 0o755 if artifact.install == "binary" else 0o644
    system.set_owner_and_mode(source, mode, *_root_ids(system))
    _sync_file(system, source)
    if _device(system, INCOMING) == _device(system, artifact.base):
        system.rename(source, target)
    else:
        system.copy_file(source, target, mode)
    found = system.lstat(target)
    if found is None:
        raise HostStateError(f"artifact {artifact.key}: {target} vanished while it was being installed")
    return {artifact.name: store.entry_of(found, sha256)}


def _root_ids(system: System) -> tuple[int, int]:
    uid, gid = system.uid("root"), system.gid("root")
    return (0 if uid is None else uid, 0 if gid is None else gid)


def _device(system: System, path: str) -> int:
    return os.stat(system.path(system.existing_parent(path)) or "/").st_dev


def _install_archive(system: System, artifact: Artifact, sha256: str) -> dict[str, Any]:
    parent = artifact.base if artifact.directory else f"{STORE}/{artifact.name}"
    temporary = f"{parent}/{store.TEMPORARY_PREFIX}{artifact.name}-{artifact.version}"
    system.ensure_directory(parent)
    _remove_leftovers(system, parent, artifact)
    system.ensure_directory(temporary)
    source = store.incoming_path(sha256)
    try:
        unpacked = archive.unpack(
            system.path(source), system.path(temporary), artifact.strip, artifact.members, f"artifact {artifact.key}"
        )
    except BaseException:
        system.remove_tree(temporary)
        raise
    if artifact.directory:
        for name in unpacked:
            system.ensure_directory(os.path.dirname(f"{artifact.base}/{name}"))
            system.rename(f"{temporary}/{name}", f"{artifact.base}/{name}")
        system.remove_tree(temporary)
    else:
        old = f"{parent}/{store.TEMPORARY_PREFIX}old-{artifact.version}"
        system.remove_tree(old)
        if system.lstat(artifact.base) is not None:
            system.rename(artifact.base, old)
        system.rename(temporary, artifact.base)
        system.remove_tree(old)
    return {name: _with_stat(system, f"{artifact.base}/{name}", entry) for name, entry in unpacked.items()}


def _remove_leftovers(system: System, parent: str, artifact: Artifact) -> None:
    """Remove what interrupted runs left of this artefact, in whatever version."""
    starts = (f"{store.TEMPORARY_PREFIX}{artifact.name}-", f"{store.TEMPORARY_PREFIX}old-")
    for name in system.listdir(parent):
        if name.startswith(starts):
            system.remove_tree(f"{parent}/{name}")


def _with_stat(system: System, path: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    found = system.lstat(path)
    if "link" in entry or found is None:
        return dict(entry)
    return store.entry_of(found, str(entry["sha256"]))


def remove_version(system: System, name: str, version: str) -> None:
    """Remove a version from the store, its stamp first."""
    system.unlink(Artifact(name, version, "binary").stamp)
    system.remove_tree(f"{STORE}/{name}/{version}")
