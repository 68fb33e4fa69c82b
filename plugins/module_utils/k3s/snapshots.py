# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The snapshots that a server has; ours are named after the version that wrote what is in them."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.host import DATA, Host

#: Copies of what is no etcd; etcd's own snapshots are where K3s keeps them.
COPIES = DATA + "/server/stagecraft-snapshots"
OURS = "stagecraft-v"


def base_name(version: str) -> str:
    """What a snapshot before leaving ``version`` is called: letters, digits, dots and dashes."""
    return "stagecraft-" + version.replace("+", "-")


def listed(host: Host) -> list[dict[str, str]]:
    """The snapshots on this server, oldest first: {name, version, path}; the version is "" where it is not one of ours."""
    directories = (host.path(DATA + "/server/db/snapshots"), host.path(COPIES))
    found = [
        (_time(entry), entry)
        for directory in directories
        if directory.is_dir()
        for entry in directory.iterdir()
        if not entry.name.endswith((".part", ".tmp"))
    ]
    return [{"name": entry.name, "version": _version(entry.name), "path": str(entry)} for _made, entry in sorted(found)]


def _time(entry: Path) -> float:
    """When a snapshot was made: by the time at the end of the name of one of ours, for a copy has the mtime of what was copied."""
    last = entry.name.rpartition("-")[2].partition(".")[0]
    return float(last) if _version(entry.name) and last.isdecimal() else entry.stat().st_mtime


def _version(name: str) -> str:
    """The version in a snapshot's name: stagecraft-v1.36.3-k3s1[-node-time] → v1.36.3+k3s1."""
    parts = name.split("-")
    return f"{parts[1]}+{parts[2]}" if name.startswith(OURS) and len(parts) > 2 else ""
