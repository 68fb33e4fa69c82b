# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run stages, each with its time, and sum them up in a table.

A failed stage does not stop the others, so that one run shows every problem; one marked ``required`` does, since
nothing after it could work. Stages run one after the other, or in lanes beside each other: then what a stage prints is
shown in one piece at its end. The tests that pytest ran are counted from its JUnit reports, and those that failed are
named after the table, each with its reason: the end of a log is often all that is kept of it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
_KEPT_LINES = 2000
_REASON_CHARACTERS = 600
_TASK_FAILED = re.compile(r"^(fatal|failed): ")
_IGNORED = "...ignoring"
# What Ansible, Molecule and most programs begin the line with that says why they stop.
_STOPPED = re.compile(r"^(\[ERROR\]: |ERROR\b|CRITICAL\b|Traceback |error: )")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
#: What Molecule puts before the lines of a program that it runs.
_MARGIN = " \t\r\n│"


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
    """What became of a stage: ``exit_code`` is None where it was not run, ``seconds`` is wall time.

    ``reason`` is why it failed, as far as its output tells; empty where the output was not kept.
    """

    stage: Stage
    exit_code: int | None
    seconds: float
    count: Count | None
    reason: str = ""

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


def failed_tests(path: Path) -> dict[str, str]:
    """Return the names of the failed tests of a JUnit report, each with its message; nothing where there is no report."""
    try:
        cases = list(ET.parse(path).getroot().iter("testcase"))
    except (OSError, ET.ParseError):
        return {}
    return {
        ".".join(filter(None, (case.get("classname"), case.get("name")))): trouble.get("message", "")
        for case in cases
        for trouble in (*case.findall("failure"), *case.findall("error"))
    }


def reason(lines: Sequence[str]) -> str:
    """Return in one line why a program stopped: the last task of Ansible that failed and was not ignored.

    Without one, the first line that reads like an error, and without that, the last that says anything.
    """
    task = before = failed = stopped = last = ""
    for line in (_COLOUR.sub("", line).strip(_MARGIN) for line in lines):
        if line.startswith("TASK ["):
            task = f"{line.rstrip('* ')}: "
        elif _TASK_FAILED.match(line):
            before, failed = failed, task + line
        elif line == _IGNORED:
            failed = before
        elif _STOPPED.match(line):
            stopped = stopped or line
        last = line or last
    return (failed or stopped or last)[:_REASON_CHARACTERS]


def _run(command: Sequence[str], environment: Mapping[str, str], output: TextIO | None) -> tuple[int, Sequence[str]]:
    """Run a command with its output shown, or written to ``output``: then its last lines are returned too."""
    if output is None:
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode, ()
    kept: deque[str] = deque(maxlen=_KEPT_LINES)
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.write(line)
            output.flush()
            kept.append(line)
    return process.returncode, kept


def run_stage(stage: Stage, environment: Mapping[str, str], output: TextIO | None = None) -> Outcome:
    """Run one stage with its output shown as the terminal's own, or written to ``output`` and a failure's reason kept."""
    print(f"\n=== {stage.name}: {stage.purpose}", file=output, flush=True)
    if stage.report:
        stage.report.unlink(missing_ok=True)
    started = time.monotonic()
    exit_code = 0
    lines: Sequence[str] = ()
    for command in stage.commands:
        try:
            exit_code, lines = _run(command, environment, output)
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
    outcome = Outcome(stage, exit_code, seconds, count, reason(lines) if exit_code else "")
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


def failures(outcomes: Sequence[Outcome]) -> str:
    """Return a line for each failed test, and for each failed stage that names none, with the reason."""
    found: list[tuple[str, str]] = []
    for outcome in outcomes:
        if outcome.ok or outcome.exit_code is None:
            continue
        tests = failed_tests(outcome.stage.report) if outcome.stage.report else {}
        found += [(f"{outcome.stage.name}: {name}", message) for name, message in tests.items()]
        if not tests:
            found.append((outcome.stage.name, outcome.reason))
    return "\n".join(f"FAILED {name}: {' '.join(why.split())[:_REASON_CHARACTERS]}".rstrip(": ") for name, why in found)


def total(outcomes: Sequence[Outcome]) -> Count:
    """Sum the tests of all stages; a stage that failed though none of its tests did counts as one failed."""
    result = Count()
    for outcome in outcomes:
        result += outcome.count or Count()
        if not outcome.ok and not (outcome.count and outcome.count.failed):
            result += Count(failed=1)
    return result
