# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode on a bare host completes and writes nothing: the host's disk is read from outside, before and after."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from functools import partial
from pathlib import Path

from tests.integration.cluster.lab import Lab, until

#: What a booted Debian writes by itself, whether or not anybody manages it (paths, and who writes them).
OWN_WRITERS = {
    r"var/log/journal(/.*)?": "systemd-journald",
    r"var/log/(wtmp|btmp|lastlog)": "sshd, at each login",
    r"var/lib/systemd/(random-seed|timesync/clock|timers/.*)": "systemd",
}


def listing(top: Path) -> dict[str, str]:
    """Every entry below ``top``: type and mode, owner, and what it holds (a digest, a link's target, a device's number)."""
    found = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if any(re.fullmatch(pattern, name) for pattern in OWN_WRITERS):
            continue
        status = path.lstat()
        content = ""
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(status.st_mode):
            content = str(path.readlink())
        elif stat.S_ISCHR(status.st_mode):
            content = str(status.st_rdev)
        found[name] = f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid} {content}"
    return found


def disks(lab: Lab) -> dict[str, dict[str, str]]:
    """The listing of each host's disk: the overlay's upper directory and the volumes beside it."""
    return {
        f"{host}/{part}": listing(lab.directory / "hosts" / host / part)
        for host in lab.hosts
        for part in ("disk/upper", "volumes")
    }


def booted(lab: Lab, host: str) -> bool:
    return "running" in lab.ssh(host, "systemctl is-system-running", check=False)


def test_remember(lab: Lab) -> None:
    for host in lab.hosts:
        until(f"{host} booted", 60, partial(booted, lab, host))
    (lab.state / "disk.json").write_text(json.dumps(disks(lab)))


def test_unchanged(lab: Lab) -> None:
    before = json.loads((lab.state / "disk.json").read_text())
    after = disks(lab)
    assert before.keys() == after.keys()
    changes = {
        f"{part}/{name}": (before[part].get(name), after[part].get(name))
        for part in after
        for name in before[part].keys() | after[part].keys()
        if before[part].get(name) != after[part].get(name)
    }
    assert not changes
    assert not lab.kubeconfig.exists(), "check mode wrote the admin's kubeconfig"
