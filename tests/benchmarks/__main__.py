# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.benchmarks [--rounds N] [ROW ...]`: a line a row on standard output, the rest on standard error.

A row that is short is reported and fails nothing; the exit status is 1 when something broke.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
import time
from types import FrameType

from tests.benchmarks.hosts import LOGS, BenchError
from tests.benchmarks.report import load_report
from tests.benchmarks.rows import BENCHES, print_note
from tools.stages import ROOT


def _stop(number: int, _frame: FrameType | None) -> None:
    """Let the clean-up run when somebody ends the bench."""
    raise SystemExit(128 + number)


def main() -> int:
    """Measure the named rows, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"{', '.join(BENCHES)} (all)")
    parser.add_argument("--rounds", type=int, help="how often each row is measured (2 to 5, row by row)")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.rows if name not in BENCHES]:
        parser.error(f"wanted rows out of {', '.join(BENCHES)}, found {', '.join(unknown)}")
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error(f"--rounds: wanted 1 or more, found {arguments.rounds}")
    if os.geteuid() != 0:
        parser.error("the hosts can only be made by root: run it with sudo")
    signal.signal(signal.SIGTERM, _stop)
    LOGS.mkdir(parents=True, exist_ok=True)
    with open("/run/lock/stagecraft-bench.lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            parser.error("another bench is running on this machine: two at once would measure each other")
        return measure(arguments.rows or list(BENCHES), arguments.rounds)


def measure(names: list[str], rounds: int | None) -> int:
    """Measure rows one after the other; one that breaks does not stop the others."""
    broken = False
    for name in names:
        bench = BENCHES[name]
        print_note(f"{name}: {load_report(os.getloadavg()[0], os.cpu_count() or 1)}")
        started = time.monotonic()
        try:
            row = bench.measure(rounds or bench.rounds)
        except BenchError as error:
            broken = True
            print_note(f"{name}: broke after {time.monotonic() - started:.0f} s: {error}")
            continue
        print(row.line(), flush=True)
        print_note(f"{name}: {row.details()}; {time.monotonic() - started:.0f} s in all; logs in {LOGS}")
    return 1 if broken else 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
