# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``ansible-playbook`` is killed (-9, with all its children) at ten moments of a set-up; a normal run finishes what it left."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from tests.integration.cluster.lab import SETUP, Lab, not_ready
from tests.integration.faults.conftest import make_bare

MOMENTS = 10


@pytest.fixture(scope="module")
def length(lab: Lab) -> float:
    """The seconds of a normal set-up, from a bare host."""
    make_bare(lab)
    run = lab.setup().must_work()
    lab.setup().must_not_change()
    return run.seconds


@pytest.mark.parametrize("part", range(MOMENTS))
def test_killed(lab: Lab, length: float, chance: random.Random, part: int) -> None:
    """One moment at random out of each tenth of the set-up."""
    make_bare(lab)
    moment = length * (part + chance.random()) / MOMENTS
    log = lab.state / f"killed-{part}.log"
    process = lab.start(SETUP, log=log)
    time.sleep(moment)
    alive = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    tasks = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("TASK")]
    last = tasks[-1] if tasks else "before the first task"
    print(f"killed after {moment:.1f} of {length:.1f} s{'' if alive else ' (it had ended)'}: {last}")
    finished = lab.setup().must_work()
    print(f"finished by a normal run in {finished.seconds:.1f} s, changed {finished.changed}")
    assert not not_ready(lab)
    lab.setup().must_not_change()
