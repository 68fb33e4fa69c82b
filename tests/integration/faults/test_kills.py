# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``ansible-playbook`` is killed (-9) at ten moments of a set-up; a normal run finishes what they left.

Each run after a kill goes on from what it finds, also where a program of the run before still works on the host.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from pathlib import Path

import pytest

from tests.integration.cluster.lab import SETUP, Lab, not_ready
from tests.integration.faults.conftest import make_bare

KILLS = 10
TASK = re.compile(r"^TASK \[(.+?)\] \**$", re.MULTILINE)


def tasks_of(output: str) -> list[str]:
    """The names of the tasks that a run came to, each once, in their order."""
    return list(dict.fromkeys(TASK.findall(output)))


@pytest.fixture(scope="module")
def tasks(lab: Lab) -> list[str]:
    """The tasks of a normal set-up, from a bare host."""
    make_bare(lab)
    run = lab.setup().must_work()
    lab.setup().must_not_change()
    return tasks_of(run.output)


def killed_in(lab: Lab, task: str, delay: float, log: Path) -> bool:
    """Start a set-up and kill it ``delay`` seconds after it came to a task; false where it ended before."""
    process = lab.start(SETUP, log=log)
    while process.poll() is None and task not in tasks_of(log.read_text(errors="replace")):
        time.sleep(0.05)
    time.sleep(delay)
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive


def test_killed_ten_times(lab: Lab, tasks: list[str], chance: random.Random) -> None:
    """In ten tasks by chance. A task that has nothing left to do is not come to again, so one bare host may not be enough."""
    kills = 0
    for host in range(1, 4):
        make_bare(lab)
        for task in sorted(chance.sample(tasks, KILLS - kills), key=tasks.index):
            delay = chance.uniform(0, 2)
            alive = killed_in(lab, task, delay, lab.state / f"killed-{kills}.log")
            print(f"host {host}: {'killed' if alive else 'had ended'} {delay:.1f} s into [{task}]")
            kills += alive
        finished = lab.setup().must_work()
        print(f"finished by a normal run in {finished.seconds:.1f} s, changed {finished.changed}")
        assert not not_ready(lab)
        lab.setup().must_not_change()
        if kills == KILLS:
            break
    assert kills == KILLS
