# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run stages, each with its time, and sum them up in a table.

A failed stage does not stop the others, so that one run shows every problem; one marked ``required`` does, since
nothing after it could work. Stages run one after the other, or in lanes beside each other: then what a stage prints is
shown in one piece at its end. The tests that pytest ran are counted from its JUnit reports.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Count:
    """How many tests passed, failed (errors included) and were skipped."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{skipped}"


@dataclass(frozen=True)
class Stage:
    """Commands that run in order in the checkout until one fails; ``report`` is the JUnit file that they write.

    A stage that ran no test counts as failed, unless it ``may_be_idle``: it takes work off another one.
    """

    name: str
    purpose: str
    commands: Sequence[Sequence[str]]
    required: bool = False
    report: Path | None = None
    may_be_idle: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a stage: ``exit_code`` is None where it was not run, ``seconds`` is wall time."""

    stage: Stage
    exit_code: int | None
    seconds: float
    count: Count | None

    @property
    def ok(self) -> bool:
        """Tell whether the stage ran and succeeded."""
        return self.exit_code == 0

    @property
    def word(self) -> str:
        """Return the state as it stands in the table."""
        if self.exit_code is None:
            return "not run"
        return "ok" if self.ok else f"FAILED (exit {self.exit_code})"


def read_report(path: Path) -> Count:
    """Count the tests of a JUnit report; a report that is missing or cut short counts as nothing run."""
    try:
        suites = ET.parse(path).getroot().iter("testsuite")
        numbers = [[int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")] for suite in suites]
    except (OSError, ET.ParseError):
        return Count()
    tests, failures, errors, skipped = (sum(column) for column in zip(*numbers, strict=True)) if numbers else (0,) * 4
    return Count(tests - failures - errors - skipped, failures + errors, skipped)


def run_stage(stage: Stage, environment: Mapping[str, str], output: TextIO | None = None) -> Outcome:
    """Run one stage with its output shown, or written to a file."""
    print(f"\n=== {stage.name}: {stage.purpose}", file=output, flush=True)
    if stage.report:
        stage.report.unlink(missing_ok=True)
    started = time.monotonic()
    exit_code = 0
    for command in stage.commands:
        try:
            exit_code = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=output, stderr=output and subprocess.STDOUT, check=False
            ).returncode
        except FileNotFoundError as error:
            print(f"the command {command[0]} is not installed ({error}): run `make dev`", file=output, flush=True)
            exit_code = 127
        if exit_code:
            break
    seconds = time.monotonic() - started
    count = read_report(stage.report) if stage.report else None
    if count is not None and exit_code == 0 and not count.passed and not stage.may_be_idle:
        print(f"{stage.name}: no test passed, which proves nothing", file=output, flush=True)
        exit_code = 5
    outcome = Outcome(stage, exit_code, seconds, count)
    tests = f", {count}" if count else ""
    print(f"=== {stage.name}: {outcome.word} after {seconds:.1f} s{tests}", file=output, flush=True)
    return outcome


def run_stages(
    stages: Sequence[Stage],
    environment: Mapping[str, str],
    run: Callable[[Stage, Mapping[str, str]], Outcome] = run_stage,
) -> list[Outcome]:
    """Run the stages in order; after a failed required one the rest is listed as not run."""
    outcomes: list[Outcome] = []
    for stage in stages:
        if any(outcome.stage.required and not outcome.ok for outcome in outcomes):
            outcomes.append(Outcome(stage, None, 0.0, None))
        else:
            outcomes.append(run(stage, environment))
    return outcomes


def run_lanes(lanes: Sequence[Sequence[Stage]], environment: Mapping[str, str]) -> list[Outcome]:
    """Run lanes of stages beside each other, each lane in its order; return the outcomes lane by lane.

    Lanes must not get into each other's way: nothing here tells one what another has made. A lane alone shows its
    output as it comes.
    """
    lanes = [lane for lane in lanes if lane]
    if len(lanes) < 2:
        return [outcome for lane in lanes for outcome in run_stages(lane, environment)]
    one_at_a_time = Lock()

    def in_one_piece(stage: Stage, environment: Mapping[str, str]) -> Outcome:
        with one_at_a_time:
            print(f"... {stage.name} begins", flush=True)
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            outcome = run_stage(stage, environment, output)
            output.seek(0)
            with one_at_a_time:
                sys.stdout.write(output.read())
                sys.stdout.flush()
        return outcome

    with ThreadPoolExecutor(len(lanes)) as threads:
        running = [threads.submit(run_stages, lane, environment, in_one_piece) for lane in lanes]
        return [outcome for lane in running for outcome in lane.result()]


def summary(outcomes: Sequence[Outcome], seconds: float | None = None) -> str:
    """Return the table: a line for each stage with state, seconds and tests, and a line for all.

    ``seconds`` is the wall time of all together, where stages ran beside each other.
    """
    width = max((len(outcome.stage.name) for outcome in outcomes), default=0)
    lines = [
        f"{outcome.stage.name:<{width}}  {outcome.seconds:8.1f} s  {outcome.word}"
        + (f"  ({outcome.count})" if outcome.count else "")
        for outcome in outcomes
    ]
    failed = sum(not outcome.ok for outcome in outcomes)
    state = f"{failed} of {len(outcomes)} stages FAILED or not run" if failed else f"all {len(outcomes)} stages ok"
    together = sum(outcome.seconds for outcome in outcomes) if seconds is None else seconds
    lines.append(f"{'total':<{width}}  {together:8.1f} s  {state}")
    return "\n".join(lines)


def total(outcomes: Sequence[Outcome]) -> Count:
    """Sum the tests of all stages; a stage that failed though none of its tests did counts as one failed."""
    result = Count()
    for outcome in outcomes:
        result += outcome.count or Count()
        if not outcome.ok and not (outcome.count and outcome.count.failed):
            result += Count(failed=1)
    return result
