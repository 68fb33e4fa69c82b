# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refused in words, with nothing half-trusted: a damaged artefact, a changed host key, a full disk."""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cluster.lab import SETUP, Lab, Run, cache, until
from tests.integration.cluster.test_disk import disks
from tests.integration.faults.conftest import make_bare

DAMAGED = "github.com/containerd/containerd/releases/download/v2.3.4/containerd-2.3.4-linux-amd64.tar.gz"
KEPT = "/var/tmp/first-host-key"


@pytest.fixture
def mirror() -> Iterator[Path]:
    """A mirror of hard links, in which one byte of one artefact is another one."""
    source, copy = cache() / "mirror", cache() / f"mirror-damaged-{os.getpid()}"
    files = [path for path in source.rglob("*") if path.is_file() and "apt" not in path.relative_to(source).parts]
    for path in files:
        target = copy / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(path)
    content = bytearray((copy / DAMAGED).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / DAMAGED).unlink()
    (copy / DAMAGED).write_bytes(content)
    yield copy
    for path in sorted(copy.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    copy.rmdir()


def words(run: Run) -> str:
    return " ".join(run.output.split())


def test_damaged_artefact(lab: Lab, bare: dict[str, Any], mirror: Path, tmp_path: Path) -> None:
    """Both digests are named; nothing of the damaged file, or of what belongs to it, gets on the host."""
    wanted = json.loads((mirror / "stagecraft-mirror.lock.json").read_text())["files"][DAMAGED]["sha256"]
    found = hashlib.sha256((mirror / DAMAGED).read_bytes()).hexdigest()
    options = {
        "artifacts_mirror": str(mirror),
        "artifacts_cache": str(tmp_path / "cache"),
        "artifacts_lock": str(tmp_path / "lock.json"),
    }
    run = lab.setup("-e", json.dumps(options))
    assert run.rc != 0
    assert wanted in run.output, words(run)[-3000:]
    assert found in run.output, words(run)[-3000:]
    present = lab.ssh(
        "cp1",
        "find /opt/stagecraft /usr/local/bin /usr/local/sbin /etc/containerd /var/lib/stagecraft/incoming -type f -o -type l",
        check=False,
    )
    assert not present.replace("/usr/local/sbin/stagecraft-sandbox-init", "").strip()


def test_changed_host_key(lab: Lab, bare: dict[str, Any], tmp_path: Path) -> None:
    """Nothing is sent to a host that cannot prove that it is the one we know; with its own key it is trusted again."""
    key = "/etc/ssh/ssh_host_ed25519_key"
    lab.ssh(
        "cp1",
        f"cp -a {key} {KEPT} && cp -a {key}.pub {KEPT}.pub && ssh-keygen -q -t ed25519 -N '' -f {key} <<<y && systemctl restart ssh",
    )
    before = disks(lab)
    # of its own: Ansible keeps connections open, and one that was made before the change stays good
    run = lab.setup(extra={"ANSIBLE_SSH_CONTROL_PATH_DIR": str(tmp_path)})
    assert run.rc != 0
    assert not run.changed
    assert "host key" in words(run).lower(), words(run)[-3000:]
    assert disks(lab) == before
    restore(lab, key)
    lab.setup("--check").must_work()


def restore(lab: Lab, key: str) -> None:
    """Put the first key back, from outside: nobody can log in meanwhile."""
    disk = lab.directory / "hosts" / "cp1" / "root"
    for suffix in ("", ".pub"):
        (disk / f"{key}{suffix}".lstrip("/")).write_bytes((disk / f"{KEPT}{suffix}".lstrip("/")).read_bytes())
    lab.power("rebooted", "cp1")


@pytest.mark.parametrize(("place", "room"), [("/opt/stagecraft", "200M"), ("/var/lib/stagecraft/incoming", "700M")])
def test_full_disk(lab: Lab, chance: random.Random, place: str, room: str) -> None:
    """Too small from the start, or filled by somebody else during a push: both are said. With room, the next run ends well."""
    make_bare(lab)
    lab.ssh("cp1", f"mkdir -p {place} && mount -t tmpfs -o size={room} tmpfs {place}")
    log = lab.state / "full.log"
    process = lab.start(SETUP, log=log)
    if place == "/var/lib/stagecraft/incoming":
        until("the largest push begins", 200, lambda: "Bring kubelet, kubeadm" in log.read_text(errors="replace"), 0.1)
        until("something is pushed", 60, lambda: lab.ssh("cp1", f"find {place} -type f", check=False), 0.05)
        time.sleep(chance.uniform(0, 0.5))
        lab.ssh("cp1", f"dd if=/dev/zero of={place}/filler bs=1M 2>/dev/null", check=False)
    assert process.wait(timeout=300) != 0
    text = " ".join(log.read_text(errors="replace").split())
    assert any(words in text for words in ("are needed", "filled up", "No space left on device")), text[-3000:]
    assert place in text
    lab.ssh("cp1", f"rm -f {place}/filler; mount -o remount,size=1g {place}")
    lab.setup().must_work()
    lab.setup().must_not_change()
