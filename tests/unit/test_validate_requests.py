# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For how long validate-deployment.yml tries a request: by ansible-playbook, against a server on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Server(ThreadingHTTPServer):
    """Answers 503 to the first `busy` requests, each after `seconds`, and then 200 and Welcome."""

    busy = 0
    seconds = 0.0
    asked = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked += 1
        time.sleep(self.server.seconds)
        status = 503 if self.server.asked <= self.server.busy else 200
        self.send_response(status)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"Welcome" if status == 200 else b"Not yet")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        del format, args


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


def validate(tmp_path: Path, server: Server, timeout: float, **wanted: Any) -> int:
    inventory = tmp_path / "hosts.ini"
    inventory.write_text("[control_plane]\nhere\n")
    request = {"url": f"http://127.0.0.1:{server.server_port}/", **wanted}
    variables = {"validate_requests": [request], "validate_timeout": timeout}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    playbook = ["ansible-playbook", "-i", str(inventory), "-e", json.dumps(variables)]
    done = subprocess.run(
        [*playbook, "playbooks/validate-deployment.yml"],
        cwd=ROOT,
        env={**os.environ, "PATH": path, "ANSIBLE_HOME": str(tmp_path / "ansible")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Send requests" in done.stdout, done.stdout + done.stderr
    return done.returncode


def test_a_server_that_refuses_at_once_is_asked_again_until_the_time_is_over(tmp_path: Path, server: Server) -> None:
    server.busy = 2
    assert validate(tmp_path, server, 11, contains="Welcome") == 0
    assert server.asked == 3


@pytest.mark.parametrize("wanted", [{"status": 204}, {"contains": "nobody writes this"}])
def test_another_answer_than_wanted_fails_in_the_end(tmp_path: Path, server: Server, wanted: dict[str, Any]) -> None:
    assert validate(tmp_path, server, 1, **wanted) != 0
    assert server.asked == 1


def test_a_server_that_takes_its_time_is_not_asked_after_the_deadline(tmp_path: Path, server: Server) -> None:
    server.busy, server.seconds = 100, 2.1
    assert validate(tmp_path, server, 4) != 0
    assert server.asked == 1
