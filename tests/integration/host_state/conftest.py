# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox host with systemd and sshd, and plays with one host_state task on it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox import preflight

from tests.integration.sandbox.machine import ROOT, STATE_ROOT, Sandbox, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "host-state-test"
KUBELET = "dl.k8s.io/release/v{version}/bin/linux/amd64/kubelet"
VERSIONS = ("1.35.8", "1.36.2", "1.36.3")


class Machine:
    """One host; `declare` runs a play with one task."""

    def __init__(self, sandbox: Sandbox, address: str, source: dict[str, Any], directory: Path) -> None:
        self.sandbox = sandbox
        self.address = address
        self.source = source
        self.directory = directory

    def ssh(self, command: str) -> str:
        """Run a command on the host and return what it printed."""
        return self.sandbox.ssh(self.address, command)

    def command(self, state: dict[str, Any], *flags: str) -> list[str]:
        """Return the command of a play that declares `state`."""
        task = {"stagecraft.gitops.host_state": {"state": state, "artifact_source": self.source}}
        play = self.directory / "play.yml"
        play.write_text(yaml.safe_dump([{"hosts": "n1", "gather_facts": False, "tasks": [task]}]))
        return ["ansible-playbook", "-i", str(self.directory / "inventory.yml"), *flags, str(play)]

    def declare(self, state: dict[str, Any], *flags: str) -> dict[str, Any]:
        """Declare a state and return the task's result, a failed one too."""
        done = subprocess.run(
            self.command(state, *flags),
            cwd=ROOT,
            env={
                **environment(),
                "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
                "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        _before, brace, text = f"\n{done.stdout}".partition("\n{\n")
        assert brace, done.stdout + done.stderr
        report = json.loads("{" + text)
        result: dict[str, Any] = report["plays"][0]["tasks"][0]["hosts"]["n1"]
        return result

    def disk(self) -> set[str]:
        """Return every file of the host with size and time, but for what every login and minute changes."""
        skipped = " -o ".join(
            f"-path {path}"
            for path in ("/proc", "/sys", "/run", "/dev", "/tmp", "/var/log", "/root/.ansible", "/var/tmp")
        )
        listing = self.ssh(f"find / \\( {skipped} \\) -prune -o -printf '%y %m %U %G %s %C@ %p %l\\n'")
        return {line for line in listing.splitlines() if not line.split()[6].endswith(("__pycache__", ".pyc"))}

    def unit(self, name: str) -> dict[str, str]:
        """Return some properties of a unit."""
        text = self.ssh(f"systemctl show -p MainPID,ActiveState,UnitFileState,NRestarts {name}")
        return dict(line.split("=", 1) for line in text.splitlines())


@pytest.fixture(scope="session")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror whose kubelets are programs that sleep: real processes with a real /proc/PID/exe."""
    root = tmp_path_factory.mktemp("mirror")
    program = Path(shutil.which("sleep") or "/bin/sleep").read_bytes()
    files = {}
    for version in VERSIONS:
        data = program + version.encode() + bytes(3_000_000)
        path = KUBELET.format(version=version)
        (root / path).parent.mkdir(parents=True)
        (root / path).write_bytes(data)
        files[path] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    lock = {"schema": 1, "origin": "built", "built_by": "a test", "created": "2026-01-01T00:00:00Z", "files": files}
    (root / "stagecraft-mirror.lock.json").write_text(json.dumps(lock))
    (root / "apt/debian/bookworm").mkdir(parents=True)
    (root / "apt/debian/bookworm/Packages").write_text("")
    return root


@pytest.fixture(scope="session")
def sandbox(mirror: Path) -> Iterator[Sandbox]:
    """The sandbox, removed whatever happens."""
    reasons = preflight.problems(preflight.gather(STATE_ROOT), preflight.missing_packages(), install=False)
    if reasons:
        pytest.skip("no sandbox on this machine: " + "; ".join(reasons))
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    cache = Path(os.environ.get("STAGECRAFT_CACHE") or home / "stagecraft") / "sandbox"
    sandbox = Sandbox(NAME, mirror, cache)
    try:
        yield sandbox
    finally:
        sandbox.bring("absent")


@pytest.fixture
def machine(sandbox: Sandbox, mirror: Path, tmp_path: Path) -> Iterator[Machine]:
    """A fresh host for each test."""
    result = sandbox.up({"name": "n1", "memory_mb": 512}, inventory=str(tmp_path / "inventory.yml"))
    source = {
        "mirror": str(mirror),
        "trust_built_mirror": True,
        "cache": str(tmp_path / "cache"),
        "lock": str(tmp_path / "lock.json"),
    }
    try:
        yield Machine(sandbox, result["hosts"]["n1"]["address"], source, tmp_path)
    finally:
        sandbox.bring("absent")
