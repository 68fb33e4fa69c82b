# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of a server's datastore that are named after a version, and the way back to one."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.host import (
    DATA,
    UNITS,
    Host,
    NodeError,
    journal_tail,
    last_lines,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.observe import datastore, version_of
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.snapshots import COPIES, base_name, listed
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.host import sync_directory

K3S = "/usr/local/bin/k3s"
KEEP = 3


def save(host: Host, version: str, timeout: float) -> str:
    """Save what this server's datastore holds, and return the snapshot's name.

    etcd is saved while it runs. SQLite is one file that only a stopped K3s leaves alone: the unit is stopped for the
    copy and **stays stopped**, for the caller is about to start another version.
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
        _copy_tree(host.path(DATA + "/server/db"), host.path(f"{COPIES}/{name}"))
        _tidy(host)
        return name
    return ""


def _copy_tree(source: Path, target: Path) -> None:
    """Copy a directory so that it is there whole or not at all."""
    temporary = target.with_name(target.name + ".tmp")
    shutil.rmtree(str(temporary), ignore_errors=True)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copytree(str(source), str(temporary), symlinks=True)
    os.chmod(str(temporary), 0o700)
    os.sync()
    os.replace(str(temporary), str(target))
    sync_directory(target.parent)


def _tidy(host: Host) -> None:
    """Keep the newest snapshots of ours; K3s prunes only its own."""
    ours = [entry for entry in listed(host) if entry["version"]]
    for entry in ours[: max(len(ours) - KEEP, 0)]:
        path = Path(entry["path"])
        if path.is_dir():
            shutil.rmtree(str(path))
        else:
            path.unlink()


def restore(host: Host, name: str, version: str, timeout: float) -> None:
    """Put this server's datastore back to a snapshot, by the program on disk, which must be ``version``. K3s is stopped.

    Nothing of the snapshot is consumed: killed at any point, the same call does it again.
    """
    known = {entry["name"]: entry for entry in listed(host)}
    if name not in known:
        raise NodeError(
            f"there is no snapshot {name!r} on this server; there are {', '.join(known) or 'none'} "
            f"(in {DATA}/server/db/snapshots and {COPIES})"
        )
    if version_of(host, K3S) != version:
        raise NodeError(f"{K3S} is {version_of(host, K3S) or 'missing'}, wanted {version}: nothing was restored")
    host.run(["systemctl", "stop", UNITS["server"]], timeout=timeout)
    path = Path(known[name]["path"])
    if path.is_dir():
        database = host.path(DATA + "/server/db")
        shutil.rmtree(str(database), ignore_errors=True)
        _copy_tree(path, database)
        return
    host.path(DATA + "/server/db/reset-flag").unlink(missing_ok=True)
    done = host.run(
        [K3S, "server", "--cluster-reset", f"--cluster-reset-restore-path={path}"],
        timeout=timeout,
    )
    if done.rc != 0:
        raise NodeError(
            f"k3s server --cluster-reset ended with {done.rc}: {last_lines(done.stderr or done.stdout)}\n"
            f"{journal_tail(host, UNITS['server'])}"
        )
