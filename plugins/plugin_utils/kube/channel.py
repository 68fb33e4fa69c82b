# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a real socket of an SSH channel, because Python's TLS wants one.

A pair of connected sockets, not a listening port: no other user of the controller can get in.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import paramiko

_CHUNK = 65536


def as_socket(channel: paramiko.Channel) -> socket.socket:
    """Return a socket whose far end is `channel`. Closing the socket closes the channel, and the other way round."""
    ours, theirs = socket.socketpair()
    channel.settimeout(None)
    threading.Thread(target=_upload, args=(theirs, channel), name="api-upload", daemon=True).start()
    threading.Thread(target=_download, args=(channel, theirs), name="api-download", daemon=True).start()
    return ours


def _upload(source: socket.socket, channel: paramiko.Channel) -> None:
    with contextlib.suppress(OSError, EOFError):
        while data := source.recv(_CHUNK):
            channel.sendall(data)
    with contextlib.suppress(OSError, EOFError):
        channel.close()


def _download(channel: paramiko.Channel, target: socket.socket) -> None:
    with contextlib.suppress(OSError, EOFError):
        while data := channel.recv(_CHUNK):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
    target.close()
