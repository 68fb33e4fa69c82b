# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What processes show while something runs: their arguments, and files that live for a moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

_PAUSE = 0.05
_LARGEST = 1_000_000


class Watch:
    """A context. Processes of sandbox hosts are among the machine's own; `directories` are looked through for files."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self.arguments: set[bytes] = set()
        self.files: dict[tuple[str, int], bytes] = {}
        self._directories = directories
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.arguments.add(process.read_bytes())
                except OSError:
                    continue
            for directory in self._directories:
                self._look(directory)
            time.sleep(_PAUSE)

    def _look(self, directory: Path) -> None:
        for path in directory.rglob("*"):
            try:
                status = path.lstat()
                if path.is_file() and not path.is_symlink() and status.st_size <= _LARGEST:
                    key = (str(path), status.st_mtime_ns)
                    if key not in self.files:
                        self.files[key] = path.read_bytes()
            except OSError:
                continue
