# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installed artefacts: versioned directories below the store, and the stamps that say what was put there.

A stamp is written last. It holds the artefact's digest and, for each installed file, digest, size, mtime (ns), inode
and mode, so that a look at the host costs one lstat per file; only a file whose stat differs is hashed again.
"""

from __future__ import annotations

import json
import os
import stat
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .spec import INCOMING, STORE, Artifact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .system import System

SCHEMA = 1
TEMPORARY_PREFIX = ".stagecraft-tmp-"
INCOMING_DAYS = 7


@dataclass(frozen=True)
class ArtifactStatus:
    """What is there of a declared artefact.

    `found` is words for a plan; `present` whether all of it is there with the right digest; `incoming` the size in
    bytes of a pushed file waiting to be installed, None without one; `refreshed` a stamp to replace one whose stat
    values are out of date while the content is right.
    """

    present: bool
    found: str = "absent"
    incoming: int | None = None
    refreshed: Mapping[str, Any] | None = field(default=None, compare=False)


def incoming_path(sha256: str) -> str:
    """Where a pushed artefact waits."""
    return f"{INCOMING}/{sha256}"


def main_file(artifact: Artifact) -> str:
    """Installed path of an artefact that is one file."""
    return f"{artifact.base}/{artifact.name}"


def entry_of(found: os.stat_result, sha256: str) -> dict[str, Any]:
    """Return what a stamp says of a file with this content."""
    return {
        "sha256": sha256,
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "inode": found.st_ino,
        "mode": stat.S_IMODE(found.st_mode),
    }


def _same_stat(entry: Mapping[str, Any], found: os.stat_result) -> bool:
    return (
        entry.get("size") == found.st_size
        and entry.get("mtime_ns") == found.st_mtime_ns
        and entry.get("inode") == found.st_ino
        and entry.get("mode") == stat.S_IMODE(found.st_mode)
    )


def read_stamp(system: System, artifact: Artifact) -> dict[str, Any] | None:
    """Return the stamp of an artefact; None when absent, damaged or of another layout."""
    try:
        stamp = json.loads(system.read(artifact.stamp) or b"null")
    except ValueError:
        return None
    if not isinstance(stamp, dict) or stamp.get("schema") != SCHEMA or not isinstance(stamp.get("files"), dict):
        return None
    same = stamp.get("base") == artifact.base and stamp.get("install") == artifact.install
    if not same or stamp.get("strip") != artifact.strip or stamp.get("members") != list(artifact.members):
        return None
    return stamp


def write_stamp(system: System, artifact: Artifact, sha256: str, files: Mapping[str, Any]) -> None:
    """Record what was installed; the last step of an installation."""
    stamp = {
        "schema": SCHEMA,
        "name": artifact.name,
        "version": artifact.version,
        "sha256": sha256,
        "install": artifact.install,
        "base": artifact.base,
        "strip": artifact.strip,
        "members": list(artifact.members),
        "files": files,
    }
    system.write_file(artifact.stamp, (json.dumps(stamp, indent=1, sort_keys=True) + "\n").encode())


def observe_artifact(system: System, artifact: Artifact, sha256: str) -> ArtifactStatus:
    """Compare what is installed with the artefact of digest `sha256`."""
    waiting = system.lstat(incoming_path(sha256))
    incoming = waiting.st_size if waiting is not None and stat.S_ISREG(waiting.st_mode) else None
    stamp = read_stamp(system, artifact)
    if artifact.install in ("binary", "none"):
        wanted_mode = 0o755 if artifact.install == "binary" else 0o644
        entries: Mapping[str, Any] = {artifact.name: {"sha256": sha256, "mode": wanted_mode}}
        if stamp is not None and stamp.get("sha256") == sha256:
            entries = {artifact.name: stamp["files"].get(artifact.name, entries[artifact.name])}
    elif stamp is None:
        there = system.stat(artifact.base) is not None and artifact.directory is None
        return ArtifactStatus(False, "incomplete" if there else "absent", incoming)
    elif stamp.get("sha256") != sha256:
        return ArtifactStatus(False, f"another build, sha256 {str(stamp.get('sha256'))[:12]}…", incoming)
    else:
        entries = stamp["files"]
    current: dict[str, Any] = {}
    for name, entry in entries.items():
        reason = _check_entry(system, f"{artifact.base}/{name}", entry, current, name)
        if reason:
            return ArtifactStatus(False, reason, incoming)
    fresh = stamp is not None and stamp.get("sha256") == sha256 and current == stamp["files"]
    return ArtifactStatus(True, "present", incoming, None if fresh else current)


def _check_entry(system: System, path: str, entry: Any, current: dict[str, Any], name: str) -> str:
    """Empty when the file is as the stamp says, else words on what it is; fills `current`."""
    found = system.lstat(path)
    if found is None:
        return "absent" if not current else f"incomplete, {path} is missing"
    if "link" in entry:
        current[name] = dict(entry)
        return "" if system.readlink(path) == entry["link"] else f"{path} was changed"
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is no regular file"
    if _same_stat(entry, found):
        current[name] = dict(entry)
        return ""
    if stat.S_IMODE(found.st_mode) != entry.get("mode") or system.sha256(path) != entry.get("sha256"):
        return f"{path} was changed" if "inode" in entry else f"{path} has other content or mode"
    current[name] = entry_of(found, str(entry["sha256"]))
    return ""


def tidy_incoming(system: System, artifacts: Iterable[Artifact], arch: str) -> None:
    """Remove pushed files that are installed already, and those that nobody has asked for in INCOMING_DAYS."""
    done = {artifact.digests[arch].sha256 for artifact in artifacts if arch in artifact.digests}
    for name in system.listdir(INCOMING):
        found = system.lstat(f"{INCOMING}/{name}")
        old = found is not None and time.time() - found.st_mtime > INCOMING_DAYS * 86400
        if name in done or old:
            system.unlink(f"{INCOMING}/{name}")


def installed_versions(system: System, name: str) -> tuple[str, ...]:
    """Versions of an artefact in the store, the one installed last first."""
    versions = []
    for version in system.listdir(f"{STORE}/{name}"):
        found = system.lstat(f"{STORE}/{name}/{version}")
        if found is not None and stat.S_ISDIR(found.st_mode) and not version.startswith(TEMPORARY_PREFIX):
            versions.append((found.st_mtime_ns, version))
    return tuple(version for _time, version in sorted(versions, reverse=True))


def store_names(system: System) -> tuple[str, ...]:
    """Names of the artefacts in the store."""
    return tuple(system.listdir(STORE))
