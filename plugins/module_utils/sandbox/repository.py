# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# A program of its own, not part of a module: it prints, starts programs and exits as programs do.
# pylint: disable=ansible-bad-function
"""The HTTP server of a sandbox: serves the mirror, read-only, to the sandbox's hosts.

Run as ``python3 -m sandbox.repository LOCK ADDRESS PORT DIRECTORY``.  It holds LOCK while it lives.  The serving
process is a child that is started again when it dies.
"""

from __future__ import annotations

import functools
import http.server
import os
import signal
import sys
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any

from . import machine


class MirrorHandler(http.server.SimpleHTTPRequestHandler):
    """Files only: no directory listing, no way out of the mirror by a symbolic link, GET and HEAD only."""

    protocol_version = "HTTP/1.1"

    def send_head(self) -> Any:
        """Answer 404 for whatever is not a regular file inside the mirror."""
        path = os.path.realpath(self.translate_path(self.path))
        root = os.path.realpath(self.directory)
        if not path.startswith(root + os.sep) or not os.path.isfile(path):
            self.send_error(HTTPStatus.NOT_FOUND, "no such file in the mirror")
            return None
        return super().send_head()

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """Log refusals only."""
        if isinstance(code, int) and code >= 400:
            super().log_request(code, size)

    def list_directory(self, path: Any) -> Any:
        """Never list."""
        self.send_error(HTTPStatus.NOT_FOUND, "no such file in the mirror")


class Server(http.server.ThreadingHTTPServer):
    """Bound to the sandbox's own address, which may vanish and come back."""

    daemon_threads = True
    allow_reuse_address = True


def make_server(address: str, port: int, directory: str) -> Server:
    """Return a server that is bound and not yet serving."""
    return Server((address, port), functools.partial(MirrorHandler, directory=directory))


def serve(address: str, port: int, directory: str) -> None:
    """Serve until killed."""
    make_server(address, port, directory).serve_forever()


def main() -> int:
    """Keep a serving child alive."""
    lock_path, address, port, directory = sys.argv[1:5]
    lock = machine.Lock(Path(lock_path))
    if not any(lock.acquire(wait=False) for _unused in machine.poll(1.0)):
        print("the repository is served already", flush=True)
        return 3
    child: int | None = None

    def stop(_number: int, _frame: Any) -> None:
        if child:
            machine.kill(child, signal.SIGKILL)
        os._exit(0)

    parent = os.getpid()
    while True:
        child = os.fork()
        if child == 0:
            machine.die_with_parent(parent)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            try:
                serve(address, int(port), directory)
            except OSError as error:
                print(f"{time.strftime('%T')} {address}:{port}: {error}", flush=True)
            os._exit(1)
        signal.signal(signal.SIGTERM, stop)
        os.waitpid(child, 0)
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
