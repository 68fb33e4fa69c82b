# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of gitops_check: a repository of 1,000 Kustomizations and 10,000 files, cold, and with 1 % changed."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.gitops_repository import CLUSTER, change, write
from tests.benchmarks.hosts import BenchError
from tests.benchmarks.report import Row, Target
from tests.integration.gitops_check import kustomize

APPLICATIONS = 1000
MOST_RATIO = 0.2
_MODULE = "ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check"


def check(root: Path, cache: Path | None) -> float:
    """Return the wall seconds of the command, from its start to its end."""
    keep = ["--no-cache"] if cache is None else ["--cache", str(cache)]
    started = time.monotonic()
    argv = [sys.executable, "-m", _MODULE, "--repository", str(root), *keep, CLUSTER]
    answer = subprocess.run(argv, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    wanted = f"{APPLICATIONS + 1} Kustomizations, {APPLICATIONS * 9 + 3} objects: 0 errors, 0 warnings"
    if answer.returncode or wanted not in answer.stdout:
        raise BenchError(f"gitops_check: wanted {wanted!r}, found: {answer.stdout[-500:]}{answer.stderr[-500:]}")
    return seconds


def loop(root: Path, overlays: list[str]) -> float:
    """Return the wall seconds of one `kustomize build` after the other, which builds and checks nothing more."""
    program = kustomize.program()
    if program is None:
        raise BenchError("kustomize is not here, and no Go to build it with")
    started = time.monotonic()
    for overlay in overlays:
        if kustomize.build(program, root / overlay).returncode:
            raise BenchError(f"kustomize build {overlay} failed")
    return time.monotonic() - started


def _row(name: str, limit: float, ours: list[float], other: list[float]) -> Row:
    ratio = statistics.median(ours) / statistics.median(other)
    broken = [f"{ratio:.2f} of the loop, wanted at most {MOST_RATIO}"] if ratio > MOST_RATIO else []
    what = f"a loop of {APPLICATIONS} times kustomize build {kustomize.VERSION}"
    return Row(name, Target(limit, "seconds"), ours, other, what, broken)


def check_1000(rounds: int) -> Row:
    """Nothing is known of the repository."""
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        root = Path(work, "repository")
        overlays = write(root, APPLICATIONS)
        other = [loop(root, overlays)]
        return _row("check-1000", 10.0, [check(root, None) for _ in range(rounds)], other)


def check_1pct(rounds: int) -> Row:
    """One overlay in a hundred was changed since the last check; the loop has no memory."""
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        root, cache = Path(work, "repository"), Path(work, "cache")
        overlays = write(root, APPLICATIONS)
        check(root, cache)
        ours = []
        for number in range(rounds):
            change(root, APPLICATIONS, 0.01, number)
            ours.append(check(root, cache))
        return _row("check-1pct", 2.0, ours, [loop(root, overlays)])
