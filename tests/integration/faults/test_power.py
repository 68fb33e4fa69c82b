# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The power fails in the middle of ``kubeadm init`` and of ``kubeadm join``; with power, a normal run makes the cluster."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time

from tests.integration.cluster.lab import SETUP, Lab, not_ready, until
from tests.integration.faults.conftest import make_bare

BEGUN = "var/lib/stagecraft/kubeadm/begun.json"


def cut(lab: Lab, host: str, delay: float) -> None:
    """Start a set-up, and pull the host's plug ``delay`` seconds after kubeadm has begun there."""
    begun = lab.directory / "hosts" / host / "disk" / "upper" / BEGUN
    log = lab.state / f"cut-{host}.log"
    process = lab.start(SETUP, log=log)
    try:
        until(f"kubeadm begins on {host}", 300, begun.exists, 0.02)
        time.sleep(delay)
        assert begun.exists(), f"kubeadm had ended {delay:.1f} s after its beginning: too late for this test"
        lab.power("powered-off", host)
        assert process.wait(timeout=180) != 0, "the set-up does not say that its host was lost"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"the set-up hangs:\n{log.read_text(errors='replace')[-3000:]}") from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    text = log.read_text(errors="replace")
    assert "UNREACHABLE" in text.upper(), text[-3000:]
    print(f"power cut {delay:.1f} s after kubeadm began on {host}")
    lab.power("present", host)


def finish(lab: Lab) -> None:
    run = lab.setup().must_work()
    print(f"finished in {run.seconds:.1f} s, changed {run.changed}")
    until("all nodes are Ready", 60, lambda: not not_ready(lab))
    lab.setup().must_not_change()


def test_power_cut_in_an_initialization(lab: Lab, chance: random.Random) -> None:
    make_bare(lab)
    cut(lab, "cp1", chance.uniform(0.2, 4.0))
    finish(lab)


def test_power_cut_in_a_join(lab: Lab, chance: random.Random) -> None:
    """The cluster that is there goes on meanwhile. What only a single node needs is taken away."""
    lab.power("present", listed=[*lab.specification(), {"name": "w1", "groups": ["workers"], "memory_mb": 2048}])
    before = lab.pids("cp1")
    cut(lab, "w1", chance.uniform(0.1, 0.8))
    assert lab.pids("cp1") == before
    finish(lab)
    assert lab.pids("cp1") == before
    assert "pod-masquerade" not in lab.ssh("cp1", "systemctl list-units --all --no-legend 'stagecraft-*'")
