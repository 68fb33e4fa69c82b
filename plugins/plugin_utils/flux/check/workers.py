# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units checked by several processes at once.

Workers are programs of their own, since Ansible's workers may not fork children that share their state. They get one
line of JSON for all units, then one for each unit, and answer with a line for each.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import CheckError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.findings import Finding
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.flux_objects import Unit
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.schemas import Schemas
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.tree import Tree
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.unit import UnitCheck, UnitResult

#: Fewer units than this are done before another process has started.
_WORTH_A_PROCESS = 40
_MODULE = "ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check"


class Job(NamedTuple):
    """A unit to check, with the values of its variables and the sources of values that are not there."""

    unit: Unit
    values: dict[str, str] | None
    missing: list[str]


class Pool:
    """Checks units in this process, and in further ones when there are many."""

    def __init__(self, root: str, version: str, custom: Mapping[tuple[str, str, str], Any], jobs: int) -> None:
        """Take the repository, the Kubernetes version, the schemas of custom resources, and how many processes."""
        self._root, self._version, self._custom, self._jobs = root, version, custom, jobs
        self._own: UnitCheck | None = None

    def run(self, jobs: Sequence[Job]) -> list[UnitResult]:
        """Return the results in the order of the jobs."""
        if self._jobs <= 1 or len(jobs) < _WORTH_A_PROCESS:
            if self._own is None:
                self._own = UnitCheck(Tree(Path(self._root)), Schemas(self._version, self._custom))
            return [self._own.run(*job) for job in jobs]
        return self._run_many(jobs)

    def _run_many(self, jobs: Sequence[Job]) -> list[UnitResult]:
        queue: SimpleQueue[int] = SimpleQueue()
        for number in range(len(jobs)):
            queue.put(number)
        results: dict[int, UnitResult] = {}
        problems: list[str] = []
        with self._processes(min(self._jobs, len(jobs) // 10)) as processes:
            threads = [
                threading.Thread(target=_serve, args=(process, queue, jobs, results, problems), daemon=True)
                for process in processes
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if problems:
            raise CheckError(problems[0])
        return [results[number] for number in range(len(jobs))]

    @contextmanager
    def _processes(self, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
        custom = [[*gvk, schema] for gvk, schema in self._custom.items()]
        setup = json.dumps({"root": self._root, "version": self._version, "custom": custom}).encode() + b"\n"
        search = [str(Path(__file__).parents[7]), *(path for path in sys.path if path)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(search))}
        argv = [sys.executable, "-c", f"from {_MODULE}.workers import work; work()"]
        processes = []
        try:
            for _unused in range(count):
                processes.append(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment))
                _send(processes[-1], setup)
            yield processes
        finally:
            for process in processes:
                for stream in (process.stdin, process.stdout):
                    if stream is not None:
                        with suppress(BrokenPipeError):
                            stream.close()
                process.wait()


def _send(process: subprocess.Popen[bytes], line: bytes) -> None:
    if process.stdin is not None:
        process.stdin.write(line)
        process.stdin.flush()


def _serve(
    process: subprocess.Popen[bytes],
    queue: SimpleQueue[int],
    jobs: Sequence[Job],
    results: dict[int, UnitResult],
    problems: list[str],
) -> None:
    """Give a process one unit after the other."""
    while not problems:
        try:
            number = queue.get_nowait()
        except Empty:
            return
        unit, values, missing = jobs[number]
        try:
            _send(process, json.dumps([unit.plain(), values, missing]).encode() + b"\n")
            answer = process.stdout.readline() if process.stdout else b""
        except BrokenPipeError:
            answer = b""
        if not answer:
            problems.append(f"a process of the check ended while it was at {unit.label}; its output is above")
            return
        decoded = json.loads(answer)
        if "problem" in decoded:
            problems.append(decoded["problem"])
            return
        results[number] = decode(decoded)


def encode(result: UnitResult) -> dict[str, Any]:
    """Return a result as plain values."""
    return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}


def decode(plain: Mapping[str, Any]) -> UnitResult:
    """Return a result from plain values."""
    return UnitResult(**{**plain, "findings": [Finding(*finding) for finding in plain["findings"]]})


def work() -> None:
    """Be a worker: read units from standard input until it ends."""
    source, answers = sys.stdin.buffer, sys.stdout.buffer
    setup = json.loads(source.readline())
    custom = {(group, version, kind): schema for group, version, kind, schema in setup["custom"]}
    check = UnitCheck(Tree(Path(setup["root"])), Schemas(setup["version"], custom))
    for line in source:
        unit, values, missing = json.loads(line)
        try:
            answer = encode(check.run(Unit(**unit), values, missing))
        except CheckError as error:
            answer = {"problem": str(error)}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()
