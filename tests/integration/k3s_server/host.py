# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One K3s server without a node, as a plain process, beside what it needs: a database or a bucket.

All of it runs in a network of its own: the ports are those that everybody knows, and nobody else's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import yaml
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.host import DATA, Completed, Host
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.snapshot import K3S

from tests.integration.play import COLLECTION, Play

TOKEN = "a-token-of-the-test"
READY = "k3s is up and running"
_WAIT = 240.0


class EndedError(Exception):
    """A program ended that was to go on."""


def until(what: str, reached: Callable[[], bool], seconds: float = _WAIT) -> None:
    """Wait until ``reached``. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not reached within {seconds:g} s: {what}")
        time.sleep(0.2)


class Network:
    """A network namespace with loopback alone; it goes with the process that holds it."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout
        if self._holder.stdout.readline() != "up\n":
            raise EndedError("no network namespace could be made")

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return a command that runs in this network."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", *command]

    def answers(self, port: int) -> bool:
        """Tell whether somebody listens at a port of loopback."""
        heard = subprocess.run(self.inside(["ss", "-Hltn"]), capture_output=True, text=True, check=True).stdout
        return f":{port} " in heard

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


class Program:
    """A program that runs in a network and writes to a log."""

    def __init__(self, command: Sequence[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.log = log
        self._from = log.stat().st_size if log.exists() else 0
        with log.open("a") as out:
            self.process = self._started(command, out, environment)

    @staticmethod
    def _started(command: Sequence[str], out: TextIO, environment: dict[str, str] | None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
        )

    def output(self) -> str:
        """Return what it has said since it was started."""
        with self.log.open() as said:
            said.seek(self._from)
            return said.read()

    def says(self, text: str) -> None:
        """Wait until it has said something. Raises EndedError where it ended before."""

        def said() -> bool:
            over = self.process.poll() is not None
            if text in self.output():
                return True
            if over:
                raise EndedError(
                    f"wanted {text!r}, found an end with {self.process.returncode}:\n{self.output()[-4000:]}"
                )
            return False

        try:
            until(f"{self.log.name} says {text!r}", said)
        except TimeoutError as error:
            raise TimeoutError(f"{error}:\n{self.output()[-4000:]}") from None

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end and wait for that; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(60)


class K3s:
    """A server whose data lies in ``directory``, of the program that the mirror holds."""

    def __init__(self, program: Path, directory: Path, network: Network) -> None:
        self.program = program
        self.directory = directory
        self.network = network
        self.data = directory / "data"
        self.config = directory / "config.yaml"
        self.secrets = directory / "config.yaml.d" / "50-stagecraft-secrets.yaml"
        self.environment = {"K3S_CONFIG_FILE": str(self.config)}
        self.log = directory / "k3s.log"
        self.running: Program | None = None

    def configure(self, play: Play, datastore: str, **variables: Any) -> None:
        """Write what role k3s writes for these variables, in this directory instead of /etc/rancher/k3s."""
        own = {
            "data-dir": str(self.data),
            "write-kubeconfig": str(self.directory / "k3s.yaml"),
            "token-file": str(self.directory / "token"),
            "agent-token-file": str(self.directory / "agent-token"),
            "disable": ["coredns", "servicelb", "traefik", "local-storage", "metrics-server"],
            "disable-agent": True,
            "disable-scheduler": True,
        }
        for name in ("token", "agent-token"):
            (self.directory / name).write_text(f"{name} {TOKEN}\n".replace(" ", "-"))
        given = {
            "stagecraft_kubernetes_version": "v1.36.3+k3s1",
            "k3s__topology": {"servers": {}, "datastore": datastore},
            **variables,
            "k3s_config": {**own, **variables.get("k3s_config", {})},
        }
        role = COLLECTION / "roles" / "k3s"
        tasks: list[dict[str, Any]] = [
            {"ansible.builtin.include_vars": str(role / "defaults" / "main.yml")},
            {"ansible.builtin.include_vars": str(role / "vars" / "main.yml")},
            {
                "ansible.builtin.debug": {
                    "msg": {"open": "{{ k3s__open_config }}", "files": "{{ k3s__optional_files }}"}
                }
            },
        ]
        (play.directory / "given.json").write_text(json.dumps(given))
        assert play.run(tasks, "-e", "@given.json")["code"] == 0, play.output
        written = play.result()["msg"]
        self.config.write_text(yaml.safe_dump(written["open"]))
        self.config.chmod(0o600)
        (secrets,) = [file for file in written["files"] if file["path"].endswith(f"config.yaml.d/{self.secrets.name}")]
        self.secrets.parent.mkdir(mode=0o700, exist_ok=True)
        self.secrets.unlink(missing_ok=True)
        if "content" in secrets:
            self.secrets.touch(int(secrets["mode"], 8))
            self.secrets.write_text(secrets["content"])

    def start(self, *arguments: str) -> Program:
        """Start the server; it is not ready yet."""
        command = self.network.inside([str(self.program), "server", *arguments])
        self.running = Program(command, self.log, self.environment)
        return self.running

    def ready(self) -> Program:
        """Start the server and wait until it is ready."""
        started = self.start()
        started.says(READY)
        return started

    def stop(self) -> None:
        if self.running:
            self.running.end()
            self.running = None

    def forget(self) -> None:
        """Lose everything that the server has on its disk, but for its programs."""
        self.stop()
        shutil.rmtree(self.data / "server", ignore_errors=True)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of K3s beside the server."""
        return subprocess.run(
            self.network.inside([str(self.program), *arguments]),
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=_WAIT,
            check=False,
        )

    def kubectl(self, *arguments: str) -> str:
        """Ask the API. Raises AssertionError with what it said."""
        done = self.run("kubectl", f"--kubeconfig={self.directory / 'k3s.yaml'}", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, name: str) -> None:
        """Write an object."""
        self.kubectl("create", "configmap", name, f"--from-literal=word={name}")

    def read(self, name: str) -> str:
        """Return what `write` has written; "" where it is not there."""
        return self.kubectl("get", "configmap", name, "--ignore-not-found", "-o", "jsonpath={.data.word}")


@dataclasses.dataclass(frozen=True)
class Managed(Host):
    """The host as the role's modules see it, with a server of ours in the place of K3s and its unit."""

    k3s: K3s = dataclasses.field(kw_only=True)

    @classmethod
    def of(cls, k3s: K3s) -> Managed:
        """The data of a server where modules look for it."""
        root = k3s.directory / "root"
        place = root / DATA.lstrip("/")
        if not place.is_symlink():
            place.parent.mkdir(parents=True)
            place.symlink_to(k3s.data)
        return cls(root, k3s=k3s)

    def run(self, argv: Sequence[str], timeout: float = 60.0, input_text: str | None = None) -> Completed:
        if argv[0] == K3S:
            done = self.k3s.run(*argv[1:])
            return Completed(done.returncode, done.stdout, done.stderr)
        if argv[0] == "systemctl" and argv[1] != "show":
            assert list(argv[1:3]) == ["disable", "--now"], f"wanted K3s to be stopped, found {argv}"
            self.k3s.stop()
        return Completed(0, "", "")


@contextlib.contextmanager
def ending(program: Program) -> Iterator[Program]:
    """End a program with the context."""
    try:
        yield program
    finally:
        program.end(signal.SIGKILL)
