# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Gitea on loopback, from the archive that tests/mirror builds."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.mirror.store import default_layout
from tests.programs import lacking

USER = "ada"
_START = 60.0
_CONFIG = """\
RUN_MODE = prod
WORK_PATH = {home}
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
RUN_USER = {user}
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = http://127.0.0.1:{port}/
START_SSH_SERVER = true
BUILTIN_SSH_SERVER_USER = git
SSH_DOMAIN = 127.0.0.1
SSH_LISTEN_HOST = 127.0.0.1
SSH_PORT = {ssh_port}
SSH_LISTEN_PORT = {ssh_port}
SSH_ROOT_PATH = {home}/.ssh
STATIC_ROOT_PATH = {program}
APP_DATA_PATH = {home}/data
OFFLINE_MODE = true
LFS_START_SERVER = false
[database]
DB_TYPE = sqlite3
PATH = {home}/gitea.db
[repository]
ROOT = {home}/repositories
DEFAULT_BRANCH = main
[security]
INSTALL_LOCK = true
SECRET_KEY = of-a-server-that-lives-for-a-minute
[oauth2]
ENABLED = false
[log]
MODE = file
ROOT_PATH = {home}/log
LEVEL = Warn
[cron]
ENABLED = false
[actions]
ENABLED = false
"""


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class Gitea:
    """The running server, with SSH on `ssh_port`. `token` is of a user that may do everything with its own repositories."""

    def __init__(self, directory: Path) -> None:
        archives = sorted((default_layout().mirror / "test").glob("gitea-*.tar.gz"))
        if not archives:
            lacking("Gitea has not been built: run `python -m tests.mirror build`")
        with tarfile.open(archives[-1]) as archive:
            archive.extractall(directory, filter="data")
        (program,) = directory.glob("gitea-*/gitea")
        port, self.ssh_port = _free_ports(2)
        self.home = directory / "home"
        self.home.mkdir()
        self.url = f"http://127.0.0.1:{port}"
        self._config = self.home / "app.ini"
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        self._config.write_text(
            _CONFIG.format(home=self.home, port=port, ssh_port=self.ssh_port, program=program.parent, user=user)
        )
        self._program = program
        self._environment = {**os.environ, "HOME": str(self.home), "USER": user, "GITEA_WORK_DIR": str(self.home)}
        self.command("migrate")
        self._process = subprocess.Popen(
            [str(program), "--config", str(self._config), "web"],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.token = ""
        try:
            self._wait()
            create = ["admin", "user", "create", "--username", USER, "--random-password", "--email", "a@example.com"]
            self.command(*create, "--admin", "--must-change-password=false")
            made = self.command(
                "admin",
                "user",
                "generate-access-token",
                "--username",
                USER,
                "--scopes",
                "all",
                "--token-name",
                "t",
                "--raw",
            )
            self.token = made.strip().splitlines()[-1]
        except BaseException:
            self.close()
            raise

    def command(self, *arguments: str) -> str:
        """Run Gitea's own command line."""
        done = subprocess.run(
            [str(self._program), "--config", str(self._config), *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the API for JSON."""
        text = self._ask(method, path, body)
        return json.loads(text) if text else None

    def text(self, path: str) -> str:
        """Ask the API for a file."""
        return self._ask("GET", path, None)

    def _ask(self, method: str, path: str, body: Any) -> str:
        headers = {"Authorization": f"token {self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return str(answer.read().decode())

    def _wait(self) -> None:
        ends = time.monotonic() + _START
        while time.monotonic() < ends:
            try:
                with urllib.request.urlopen(f"{self.url}/api/v1/version", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise AssertionError(f"Gitea does not answer at {self.url}")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
