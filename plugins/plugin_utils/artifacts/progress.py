# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a download tells of itself: events for callers, and two reporters that write them to a stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TextIO

_MIB = 1 << 20


@dataclass(frozen=True)
class Event:
    """Something happened to one artefact.

    `done` and `total` are bytes (total None while unknown); `text` says why for retry and failed. Events of several
    artefacts come from several threads, one at a time.
    """

    key: str
    what: Literal["start", "bytes", "retry", "cached", "done", "failed"]
    done: int = 0
    total: int | None = None
    text: str = ""


Progress = Callable[[Event], None]


def quiet(event: Event) -> None:
    """Says nothing."""


def serialised(progress: Progress | None) -> Progress:
    """Wrap a callback so that it is called by one thread at a time."""
    if progress is None:
        return quiet
    guard = threading.Lock()

    def call(event: Event) -> None:
        with guard:
            progress(event)

    return call


def reporter(stream: TextIO, wanted: int) -> Progress:
    """Choose the reporter that fits a stream: one changing line on a terminal, plain lines elsewhere."""
    return TerminalReporter(stream, wanted) if stream.isatty() else PlainReporter(stream, wanted)


class PlainReporter:
    """One line when an artefact is there, and one every few seconds for a long download."""

    def __init__(self, stream: TextIO, wanted: int, every: float = 5.0) -> None:
        self._stream = stream
        self._wanted = wanted
        self._every = every
        self._finished = 0
        self._told: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Take note of an event and write what is due."""
        if event.what == "bytes":
            last = self._told.setdefault(event.key, time.monotonic())
            if time.monotonic() - last < self._every:
                return
            self._told[event.key] = time.monotonic()
            self._say(f"{event.key}: {_amount(event)}")
        elif event.what == "retry":
            self._say(f"{event.key}: trying again: {event.text}")
        elif event.what in ("done", "cached", "failed"):
            self._finished += 1
            said = {"done": f"{_amount(event)}", "cached": "already here", "failed": f"FAILED: {event.text}"}[
                event.what
            ]
            self._say(f"[{self._finished}/{self._wanted}] {event.key}: {said}")

    def _say(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()


class TerminalReporter:
    """One line that changes in place; failures and retries get lines of their own above it."""

    def __init__(self, stream: TextIO, wanted: int, every: float = 0.1) -> None:
        self._stream = stream
        self._wanted = wanted
        self._every = every
        self._finished = 0
        self._active: dict[str, Event] = {}
        self._painted = 0.0

    def __call__(self, event: Event) -> None:
        """Take note of an event and write what is due."""
        if event.what in ("start", "bytes"):
            self._active[event.key] = event
        elif event.what in ("done", "cached", "failed"):
            self._active.pop(event.key, None)
            self._finished += 1
        if event.what in ("retry", "failed"):
            self._stream.write(f"\r\x1b[K{event.key}: {event.what}: {event.text}\n")
        last = self._finished == self._wanted
        if last or event.what != "bytes" or time.monotonic() - self._painted >= self._every:
            self._paint(last)

    def _paint(self, last: bool) -> None:
        self._painted = time.monotonic()
        running = ", ".join(f"{key.split('/')[0]} {_amount(event)}" for key, event in self._active.items())
        line = f"{self._finished}/{self._wanted} {running}"[:110]
        self._stream.write(f"\r\x1b[K{line}" + ("\n" if last else ""))
        self._stream.flush()


def _amount(event: Event) -> str:
    done = f"{event.done / _MIB:.1f}"
    if event.total and event.total != event.done:
        return f"{done} of {event.total / _MIB:.1f} MiB ({100 * event.done // event.total} %)"
    return f"{done} MiB"
