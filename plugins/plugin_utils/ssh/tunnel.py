# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A port on the controller's loopback that leads, through an SSH connection, to a port that only the host can reach.

Whoever can use a socket-like object takes `connection.open_channel`; this is for programs that want an address.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .connection import open_channel
from .errors import SshError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import paramiko

_BLOCK = 65536


@dataclass(slots=True)
class Forward:
    """A listener that is up. ``errors`` holds why connections could not be passed on, oldest first."""

    address: str
    port: int
    errors: list[SshError] = field(default_factory=list)


@contextlib.contextmanager
def forward(client: paramiko.SSHClient, host: str, port: int, timeout: float = 10.0) -> Iterator[Forward]:
    """Listen on a free port of 127.0.0.1 and pass every connection on to ``host:port`` as the far host sees it.

    The listener and all its connections end with the ``with`` block. A connection that the far host refuses is closed
    at once, and the reason is kept in ``errors``. ``timeout`` (seconds) bounds opening one.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    made = Forward(*listener.getsockname()[:2])
    pairs: list[tuple[socket.socket, paramiko.Channel]] = []
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                near, _peer = listener.accept()
            except OSError:
                return
            try:
                far = open_channel(client, host, port, timeout)
            except SshError as error:
                made.errors.append(error)
                near.close()
                continue
            pairs.append((near, far))
            for function in (_upwards, _downwards):
                thread = threading.Thread(target=function, args=(near, far), daemon=True)
                threads.append(thread)
                thread.start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield made
    finally:
        # close() alone does not wake a thread that waits in accept().
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(timeout)
        for near, far in pairs:
            far.close()
            with contextlib.suppress(OSError):
                near.shutdown(socket.SHUT_RDWR)
            near.close()
        for thread in threads:
            thread.join(timeout)


def _upwards(near: socket.socket, far: paramiko.Channel) -> None:
    with contextlib.suppress(OSError, EOFError):
        while block := near.recv(_BLOCK):
            far.sendall(block)
    with contextlib.suppress(OSError, EOFError):
        far.shutdown_write()


def _downwards(near: socket.socket, far: paramiko.Channel) -> None:
    with contextlib.suppress(OSError, EOFError):
        while block := far.recv(_BLOCK):
            near.sendall(block)
    with contextlib.suppress(OSError):
        near.shutdown(socket.SHUT_WR)
