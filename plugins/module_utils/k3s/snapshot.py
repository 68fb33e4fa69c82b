# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of a server's datastore that are named after a version, and the way back to one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
import zipfile
from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.host import (
    DATA,
    SERVER_TOKEN,
    UNITS,
    Host,
    NodeError,
    journal_tail,
    last_lines,
    read_json,
    write_file,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.observe import (
    BEFORE,
    RESTORED,
    datastore,
    installed_version,
    unit_status,
    version_of,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.snapshots import COPIES, base_name, listed
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.version import numbers
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.host import sync_directory

K3S = "/usr/local/bin/k3s"
KEEP = 3
DATABASE = DATA + "/server/db"
#: etcd ends a snapshot with the SHA-256 of what is before it, and pages are of 512 bytes at least.
PAGE, DIGEST = 512, 32
STAYS_STOPPED = "K3s stays stopped and disabled on all servers; put this right and run again"


def save(host: Host, version: str, timeout: float) -> str:
    """Save what this server's datastore holds, and return the snapshot's name.

    etcd is saved while it runs. SQLite is one file that only a stopped K3s leaves alone: the unit is stopped for the
    copy and **stays stopped**, for the caller is about to start another version. Where the copy fails, K3s is started again.
    """
    kind = datastore(host)
    if kind == "etcd":
        done = host.run([K3S, "etcd-snapshot", "save", "--name", base_name(version)], timeout=timeout)
        if done.rc != 0:
            raise NodeError(f"k3s etcd-snapshot save ended with {done.rc}: {last_lines(done.stderr or done.stdout)}")
        names = [entry["name"] for entry in listed(host) if entry["name"].startswith(base_name(version))]
        if not names:
            raise NodeError(f"k3s said that the snapshot was saved, but there is none: {last_lines(done.stdout)}")
        _tidy(host)
        return names[-1]
    if kind == "sqlite":
        stopped = host.run(["systemctl", "stop", UNITS["server"]], timeout=timeout)
        if stopped.rc != 0:
            raise NodeError(f"k3s.service could not be stopped for a copy of its database: {stopped.stderr.strip()}")
        name = f"{base_name(version)}-{int(time.time())}"
        try:
            _copy_tree(host.path(DATABASE), host.path(f"{COPIES}/{name}"))
        except OSError as error:
            host.run(["systemctl", "start", "--no-block", UNITS["server"]])
            raise NodeError(
                f"the database in {DATABASE} could not be copied to {COPIES}: {error}. K3s is started again in the version that ran; "
                "make room there (df), then run again"
            ) from error
        _tidy(host)
        return name
    return ""


def _copy_tree(source: Path, target: Path) -> None:
    """Copy a directory so that it is there whole or not at all."""
    temporary = target.with_name(target.name + ".tmp")
    shutil.rmtree(str(temporary), ignore_errors=True)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        shutil.copytree(str(source), str(temporary), symlinks=True)
    except shutil.Error as error:
        shutil.rmtree(str(temporary), ignore_errors=True)
        raise OSError("; ".join(f"{path}: {reason}" for path, _to, reason in error.args[0])) from error
    os.chmod(str(temporary), 0o700)
    os.sync()
    os.replace(str(temporary), str(target))
    sync_directory(target.parent)


def _tidy(host: Host) -> None:
    """Keep the newest snapshots of ours, some of each version; K3s prunes only its own."""
    versions: dict[str, list[Path]] = {}
    for entry in listed(host):
        if entry["version"]:
            versions.setdefault(entry["version"], []).append(Path(entry["path"]))
    for paths in versions.values():
        for path in paths[: max(len(paths) - KEEP, 0)]:
            if path.is_dir():
                shutil.rmtree(str(path))
            else:
                path.unlink()


def verify(host: Host, name: str) -> Path:
    """Where a snapshot is, once it is clear that this server can go back to it; nothing is stopped or changed."""
    known = {entry["name"]: entry for entry in listed(host)}
    if name not in known:
        raise NodeError(
            f"there is no snapshot {name!r} on this server; there are {', '.join(known) or 'none'} "
            f"(in {DATABASE}/snapshots and {COPIES})"
        )
    path = Path(known[name]["path"])
    wrong = _wrong_copy(path) if path.is_dir() else _wrong_file(path)
    if wrong:
        raise NodeError(f"the snapshot {path} {wrong}: nothing was stopped or restored. Name another one")
    if not host.exists(SERVER_TOKEN):
        raise NodeError(
            f"{SERVER_TOKEN} is missing on this server, and K3s opens the snapshot's keys with it: nothing was stopped or restored. "
            "Put it back from a backup, or name a snapshot of another server"
        )
    return path


def _wrong_copy(path: Path) -> str:
    return "" if (path / "state.db").is_file() else "holds no state.db"


def _wrong_file(path: Path) -> str:
    """Say what is wrong with a snapshot of etcd, "" where nothing is; compressed ones are archives with checksums."""
    if path.suffix == ".zip":
        try:
            with zipfile.ZipFile(str(path)) as archive:
                damaged = archive.testzip()
        except (OSError, zipfile.BadZipFile) as error:
            return f"is no readable archive ({error})"
        return f"is damaged in {damaged}" if damaged else ""
    size = path.stat().st_size
    if size % PAGE != DIGEST or size <= DIGEST:
        return f"is incomplete: it has {size} bytes, and no checksum at its end"
    digest, left = hashlib.sha256(), size - DIGEST
    with path.open("rb") as stream:
        while left:
            block = stream.read(min(left, 1 << 20))
            digest.update(block)
            left -= len(block)
        stored = stream.read()
    return "" if stored == digest.digest() else "is damaged: its content does not have the checksum at its end"


def stop(host: Host, timeout: float) -> bool:
    """Stop K3s so that a reboot does not start it either: a server must not go on with what is given up. Says whether it ran."""
    _note_newer(host)
    unit = UNITS["server"]
    ran = bool(unit_status(host, unit)["pid"])
    done = host.run(["systemctl", "disable", "--now", unit], timeout=timeout)
    if unit_status(host, unit)["pid"]:
        raise NodeError(f"{unit} could not be stopped: {done.stderr.strip()}")
    return ran


def _note_newer(host: Host) -> None:
    """Write a program that is newer than what the journal has into it: it may have written to the datastore before it failed.

    Once the older program is on disk nothing else tells that, and a later run would start it on what the newer one has left.
    """
    member, installed = read_json(host.state / "member.json"), installed_version(host)
    if member and _order(installed) > _order(str(member.get("version", ""))):
        write_file(host.state / "member.json", json.dumps({**member, "version": installed}, sort_keys=True).encode())


def _order(version: str) -> tuple[int, ...]:
    """What versions are ordered by; what is none comes before all."""
    try:
        return numbers(version)
    except ValueError:
        return ()


def restore(host: Host, name: str, version: str, timeout: float) -> None:
    """Put this server's datastore back to a snapshot, by the program on disk, which must be ``version``. K3s is stopped.

    Nothing of the snapshot is consumed, and a copy takes the place of the database by a rename: killed at any point, the same
    call does it again.
    """
    path = verify(host, name)
    if version_of(host, K3S) != version:
        raise NodeError(f"{K3S} is {version_of(host, K3S) or 'missing'}, wanted {version}: nothing was restored")
    stop(host, timeout)
    try:
        if path.is_dir():
            _swap(host, path)
        else:
            _reset_cluster(host, path, timeout)
    except OSError as error:
        raise NodeError(f"the snapshot {path} could not be put into {DATABASE}: {error}. {STAYS_STOPPED}") from error


def _reset_cluster(host: Host, snapshot: Path, timeout: float) -> None:
    """Make this server the only member of etcd again, with what ``snapshot`` holds."""
    host.path(DATABASE + "/reset-flag").unlink(missing_ok=True)
    # with etcd-s3 in its configuration K3s would take the path for a name in the bucket; what is restored is a file here
    done = host.run(
        [K3S, "server", "--cluster-reset", f"--cluster-reset-restore-path={snapshot}", "--etcd-s3=false"],
        timeout=timeout,
    )
    if done.rc != 0:
        raise NodeError(
            f"k3s server --cluster-reset ended with {done.rc}: {last_lines(done.stderr or done.stdout)}\n"
            f"{journal_tail(host, UNITS['server'])}\n{STAYS_STOPPED}"
        )


def _swap(host: Host, snapshot: Path) -> None:
    """Put a copy of ``snapshot`` into the database's place; what was there goes last, but for etcd's own snapshots."""
    database, restored, before = host.path(DATABASE), host.path(RESTORED), host.path(BEFORE)
    for place in (database, before):
        # its content would go with what is given up
        if os.path.ismount(str(place / "snapshots")):
            raise OSError(errno.EBUSY, "a mount point is in the way, unmount it first", str(place / "snapshots"))
    shutil.rmtree(str(restored), ignore_errors=True)
    _copy_tree(snapshot, restored)
    if database.is_dir():
        _drop(database, before)
        os.replace(str(database), str(before))
    os.replace(str(restored), str(database))
    sync_directory(database.parent)
    _drop(database, before)


def _drop(database: Path, before: Path) -> None:
    kept = before / "snapshots"
    if kept.is_dir() and not (database / "snapshots").exists():
        os.replace(str(kept), str(database / "snapshots"))
    shutil.rmtree(str(before), ignore_errors=True)
