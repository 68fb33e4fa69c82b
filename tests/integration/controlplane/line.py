# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A line to a server on loopback that can be cut: nothing arrives any more, and nobody is told."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

_CHUNK = 4096
#: What a listener with a queue of none still takes, with room: Linux answers no more to who comes behind these.
_QUEUE = 4


class Line:
    """Relays TCP connections to `port` until it is cut; where it is, packets are lost as with a firewall that drops.

    Connections that are open go silent in both directions. New ones get no answer at all, as the queue of the listener
    is full. What is sent into the cut is delivered when the line is mended, as TCP's repetitions would.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._whole = threading.Event()
        self._whole.set()
        self._over = False
        self._left: int | None = None
        self._fillers: list[socket.socket] = []
        self._sides: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut_off = threading.Event()
        self._start(self._serve)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        self.mend()
        for side in (self._listener, *self._sides):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for side in (self._listener, *self._sides):
            side.close()

    def cut(self) -> None:
        """Lose every packet from now on."""
        self._whole.clear()
        self._listener.listen(0)
        for _ in range(_QUEUE):
            filler = socket.socket()
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(("127.0.0.1", self.port))
            self._fillers.append(filler)
        self.cut_off.set()

    def cut_after(self, count: int) -> None:
        """Cut it once so many bytes more have come, from either side."""
        self._left = count

    def mend(self) -> None:
        """Let everything pass again."""
        self._left = None
        while self._fillers:
            self._fillers.pop().close()
        self._listener.listen(100)
        self.cut_off.clear()
        self._whole.set()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self._sides.append(near)
            self._whole.wait()
            if self._over:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._sides.append(far)
            self._start(self._relay, near, far)
            self._start(self._relay, far, near)

    def _relay(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(_CHUNK):
                if self._left is not None:
                    self._left -= len(data)
                    if self._left <= 0:
                        self._left = None
                        self.cut()
                self._whole.wait()
                other.sendall(data)
        self._whole.wait()  # that one side has gone is told by a packet, too
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)
