# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run other programs so that their output is kept, and none outlives the build."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, NamedTuple

from tests.mirror.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_TAIL_LINES = 40


class Output(NamedTuple):
    """What a command wrote."""

    stdout: str
    stderr: str

    @property
    def both(self) -> str:
        """Standard output, then standard error."""
        return self.stdout + self.stderr


class Runner:
    """Runs commands with their output in one log file; ``stop`` ends whatever runs and lets nothing new start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(
        self,
        command: Sequence[str],
        *,
        log: Path,
        directory: Path | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> Output:
        """Run ``command``, append its output to ``log`` and return the output.

        ``environment`` is added to the machine's own; ``timeout`` is in seconds. Raises BuildError when the command
        cannot be started, takes too long or (with ``check``) ends with another status than 0.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        shown = " ".join(command)
        with self._lock:
            if self._stopped:
                raise BuildError(f"not started, the build is being stopped: {shown}")
            try:
                process = subprocess.Popen(
                    command,
                    cwd=directory,
                    env={**os.environ, **(environment or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except OSError as error:
                raise BuildError(f"cannot start: {shown}: {error}") from error
            self._running.add(process)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            _kill(process)
            process.communicate()
            raise BuildError(f"took longer than {timeout:.0f} s: {shown}") from None
        finally:
            with self._lock:
                self._running.discard(process)
        output = Output(stdout.decode(errors="replace"), stderr.decode(errors="replace"))
        with log.open("a") as out:
            out.write(f"$ {shown}\n{output.both}\n")
        if check and process.returncode != 0:
            tail = "\n".join(output.both.splitlines()[-_TAIL_LINES:])
            raise BuildError(f"status {process.returncode}: {shown}\n{tail}\n(whole output: {log})")
        return output

    def stop(self) -> None:
        """End all running commands."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a command with all that it started: it leads a process group of its own."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
