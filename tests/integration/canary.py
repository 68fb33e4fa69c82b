# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look for a known secret where none may be: in texts and files, and meanwhile in the arguments of processes and in temporary files."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path


def forms_of(value: str) -> list[bytes]:
    """Return what is looked for: the value and its beginning (a part may be cut off), as they are and as base64."""
    return [
        form
        for text in (value, value[:16])
        for form in (text.encode(), base64.b64encode(text.encode())[:20].rstrip(b"="))
    ]


def in_files(forms: Sequence[bytes], places: Iterable[Path], without: Sequence[str] = ()) -> list[str]:
    """Name the files below `places` that show a form; those with a name in `without` hold it by right."""
    found = []
    for path in (path for place in places for path in place.rglob("*")):
        try:
            if path.is_file() and path.name not in without:
                content = path.read_bytes()
                found += [f"{path}: {form!r}" for form in forms if form in content]
        except FileNotFoundError:
            continue
    return found


class Watch:
    """Reads the arguments of all processes, and the files in directories of temporary ones, as fast as it can."""

    def __init__(self, forms: Sequence[bytes], temporary: Sequence[Path] = ()) -> None:
        self.found: set[str] = set()
        self._forms, self._temporary = forms, temporary
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
                    if any(form in process.read_bytes() for form in self._forms):
                        self.found.add(str(process))
                except OSError:
                    continue
            self.found |= set(in_files(self._forms, self._temporary))
            time.sleep(0.02)
