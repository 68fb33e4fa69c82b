# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run that is killed at any step leaves no trace, or a whole commit; the next run finishes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.release.lab import Lab

KILLER = """\
#!/bin/sh
# the git that a run gets: at call number KILL_AT it kills the run, before or after the work
count=$(cat "$KILL_COUNT" 2>/dev/null || echo 0)
count=$((count + 1))
echo $count > "$KILL_COUNT"
if [ "$count" = "$KILL_AT" ]; then
  [ "$KILL_WHEN" = after ] && "$REAL_GIT" "$@"
  kill -9 $PPID
  exit 1
fi
exec "$REAL_GIT" "$@"
"""
RUN = """\
import sys
from pathlib import Path
from tests.unit.release.lab import AUTHOR, NOW, Lab
lab = Lab.__new__(Lab)
lab.directory = Path(sys.argv[1])
lab.server = lab.directory / "server.git"
sys.exit(0 if getattr(lab, sys.argv[2])().get("changed") else 3)
"""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture
def killer(lab: Lab, tmp_path: Path) -> dict[str, str]:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "git").write_text(KILLER)
    (programs / "git").chmod(0o755)
    found = subprocess.run(["sh", "-c", "command -v git"], capture_output=True, text=True, check=True)
    return {
        **os.environ,
        "REAL_GIT": found.stdout.strip(),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "KILL_COUNT": str(tmp_path / "count"),
    }


@pytest.mark.parametrize("action", ["promote", "rollback"])
def test_a_run_that_is_killed_anywhere_is_finished_by_the_next(lab: Lab, killer: dict[str, str], action: str) -> None:
    """Kill at every call of git, before and after its work, until a run gets through."""
    if action == "rollback":
        lab.promote()
    before = lab.tree()
    start = lab.head()
    wanted = None
    killed = 0
    for number in range(1, 60):
        for when in ("before", "after"):
            lab.git("update-ref", "refs/heads/main", start, cwd=lab.server)
            Path(killer["KILL_COUNT"]).unlink(missing_ok=True)
            environment = {**killer, "KILL_AT": str(number), "KILL_WHEN": when}
            command = [sys.executable, "-c", RUN, str(lab.directory), action]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                assert killed > 10
                return
            assert done.returncode == -signal.SIGKILL, done.stderr
            killed += 1
            tree = lab.tree()
            if tree != before:
                # a whole commit: the next run finds nothing more to do
                assert lab.git("rev-list", "--count", f"{start}..main", cwd=lab.server) == "1"
                wanted = wanted or tree
                assert tree == wanted
            if action == "promote":
                again = lab.promote()
                assert again["changed"] is (tree == before)
            elif tree == before:
                assert lab.rollback()["changed"]
            wanted = wanted or lab.tree()
            assert lab.tree() == wanted
    raise AssertionError("no run ever got through")
