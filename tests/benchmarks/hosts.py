# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Throw-away hosts for a row, and timed commands against them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tools.check import environment
from tools.stages import ROOT

STATE = Path("/var/lib/stagecraft/sandbox")
LOGS = ROOT / ".dev" / "reports" / "bench"
#: As they call themselves; upstream's K3s is a k3s-server, the stand-in a k3s.
DAEMONS = ("kubelet", "containerd", "kube-apiserver", "k3s(-server|-agent)?")


class BenchError(Exception):
    """Something broke, so that there is nothing to measure."""


@dataclass(frozen=True)
class Run:
    """A command that succeeded: wall seconds and what it printed."""

    seconds: float
    output: str


def timed(command: Sequence[str], log: str, **extra: str) -> Run:
    """Run a command in the checkout; its output goes to the log of that name.

    Raises BenchError with the last lines when it fails.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{log}.log"
    with path.open("w", encoding="utf-8") as stream:
        started = time.monotonic()
        done = subprocess.run(
            command, cwd=ROOT, env={**environment([]), **extra}, stdout=stream, stderr=subprocess.STDOUT, check=False
        )
        seconds = time.monotonic() - started
    output = path.read_text(encoding="utf-8", errors="replace")
    if done.returncode:
        last = "\n".join(output.splitlines()[-25:])
        raise BenchError(
            f"this command failed (exit {done.returncode}): {' '.join(command)}\n{last}\nAll of it: {path}"
        )
    return Run(seconds, output)


@dataclass(frozen=True)
class Sandbox:
    """Hosts that are up."""

    name: str
    inventory: Path

    @property
    def variables(self) -> Mapping[str, Any]:
        """What the inventory says of all hosts."""
        found: Mapping[str, Any] = yaml.safe_load(self.inventory.read_text())["all"]
        return found

    def hosts(self) -> dict[str, str]:
        """Address by name."""
        return {name: str(of["ansible_host"]) for name, of in self.variables["hosts"].items()}

    def ssh_options(self) -> list[str]:
        """Options for ssh and scp: the sandbox's key and known hosts, nothing shared between two connections."""
        variables = self.variables["vars"]
        key = ["-i", str(variables["ansible_ssh_private_key_file"]), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
        return [*key, *str(variables["ansible_ssh_common_args"]).split()]

    def ssh(self, host: str, command: str) -> str:
        """Run a shell command on a host and return what it printed; raises BenchError when it fails."""
        argv = ["ssh", *self.ssh_options(), f"root@{self.hosts()[host]}", command]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(
                f"on {host}, this failed (exit {done.returncode}): {command}\n{done.stderr or done.stdout}"
            )
        return done.stdout

    def processes(self, host: str) -> str:
        """Return PID and start time of each running daemon of the cluster."""
        names = "|".join(DAEMONS)
        return self.ssh(host, f"ps -eo comm=,pid=,lstart= | grep -E '^({names}) ' | sort")

    def received(self, host: str) -> int:
        """Return how many bytes have come in on the host's network interfaces."""
        counters = self.ssh(host, "cat $(ls -d /sys/class/net/*/statistics/rx_bytes | grep -v /lo/)")
        return sum(int(word) for word in counters.split())

    def of(self, environment: str) -> Sandbox:
        """Return the hosts of one environment."""
        return Sandbox(self.name, self.inventory.parent / environment / self.inventory.name)

    def power(self, state: str, host: str, hosts: Sequence[Mapping[str, Any]], log: str) -> None:
        """Bring one host into a state; ``hosts`` is what the sandbox was made of."""
        timed(_playbook(self.name, state, hosts, host), log)

    def set_up(self, log: str, name: str = "setup-production.yml", **variables: str) -> Run:
        """Run a playbook against the hosts, as an admin would: with connections of its own."""
        playbook = ["ansible-playbook", "-i", str(self.inventory), f"playbooks/{name}"]
        with connections() as control:
            given = {"kubeconfig_path": f"{LOGS / self.name}.kubeconfig", **variables}
            return timed([*playbook, "-e", json.dumps(given)], log, ANSIBLE_SSH_CONTROL_PATH_DIR=control)


@contextlib.contextmanager
def connections() -> Iterator[str]:
    """Give a directory for ssh's shared connections, so that a run cannot use those of the run before it."""
    with tempfile.TemporaryDirectory(prefix="bench-") as control:
        try:
            yield control
        finally:
            for socket in Path(control).iterdir():
                subprocess.run(
                    ["ssh", "-O", "exit", "-o", f"ControlPath={socket}", "-"], capture_output=True, check=False
                )


def _playbook(name: str, state: str, hosts: Sequence[Mapping[str, Any]], *only: str) -> list[str]:
    settings = {"sandbox_name": name, "sandbox_state": state, "sandbox_hosts": list(hosts), "sandbox_only": only}
    return ["ansible-playbook", "playbooks/sandbox.yml", "-e", json.dumps(settings)]


def remove(name: str) -> None:
    """Remove a sandbox with all that was made for it; one that does not exist is fine."""
    timed(_playbook(name, "absent", []), f"{name}-absent")
    (LOGS / f"{name}.kubeconfig").unlink(missing_ok=True)


def create(name: str, hosts: Sequence[Mapping[str, Any]]) -> tuple[Sandbox, float]:
    """Make hosts; return them and the seconds until the command had ended."""
    run = timed(_playbook(name, "present", hosts), f"{name}-present")
    return Sandbox(name, STATE / name / "inventory" / "hosts.yml"), run.seconds


@contextlib.contextmanager
def sandbox(row: str, *hosts: Mapping[str, Any]) -> Iterator[Sandbox]:
    """Give hosts for a row and remove them in the end, whatever happened, and what a killed bench has left first."""
    name = f"bench-{row}"
    if (STATE / name).exists():
        remove(name)
    try:
        yield create(name, hosts)[0]
    finally:
        remove(name)


def control_plane(name: str) -> dict[str, Any]:
    """Return a control plane host for a sandbox."""
    return {"name": name, "groups": ["control_plane"], "memory_mb": 4096, "cpus": 2}


def worker(name: str) -> dict[str, Any]:
    """Return a worker host for a sandbox."""
    return {"name": name, "groups": ["workers"], "memory_mb": 2048, "cpus": 2}
