# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sandbox and the cluster on it, as the tests see them: its hosts by SSH, its API by kubectl, the playbooks as an admin runs them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tools.recap import recaps

ROOT = Path(__file__).resolve().parents[3]
SANDBOXES = Path("/var/lib/stagecraft/sandbox")
#: A token that lets a node join.
JOIN_TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")
SETUP = "playbooks/setup-production.yml"
#: How the tests in pods are called: the image is in the mirror, see molecule/resources/image.yml.
BUSYBOX = "docker.io/library/busybox:1.35.0"
#: Reads the processes of a host: for each program the pids with the kernel's start time, which no second process has.
PROCESSES = """
import json, os
found = {}
for entry in filter(str.isdigit, os.listdir('/proc')):
    try:
        name = os.path.basename(os.readlink(f'/proc/{entry}/exe').replace(' (deleted)', ''))
        start = open(f'/proc/{entry}/stat').read().rpartition(')')[2].split()[19]
    except OSError:
        continue
    found.setdefault(name, []).append([int(entry), start])
print(json.dumps({name: sorted(value) for name, value in found.items()}))
"""


def cache() -> Path:
    """Return the cache directory of the controller."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("STAGECRAFT_CACHE") or f"{home}/stagecraft")


def environment() -> dict[str, str]:
    """Return the environment of an admin in this checkout, whatever Molecule has put into ours."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "MOLECULE_"))},
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".dev" / "collections"),
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
    }


class CommandFailedError(AssertionError):
    """A command that had to work did not; the message holds what it wrote."""


@dataclass(frozen=True)
class Run:
    """A finished run of ansible-playbook: exit code, both outputs in one text, wall time in seconds."""

    rc: int
    output: str
    seconds: float

    @property
    def changed(self) -> dict[str, int]:
        """How many tasks changed each host that was changed."""
        return {host: recap.changed for host, recap in recaps(self.output).items() if recap.changed}

    @property
    def hosts(self) -> set[str]:
        """The hosts of the recap."""
        return set(recaps(self.output))

    def must_work(self) -> Run:
        """Return itself; fail with the output where the run failed."""
        if self.rc != 0:
            raise CommandFailedError(
                f"ansible-playbook ended with {self.rc} after {self.seconds:.1f} s:\n{self.output[-12000:]}"
            )
        return self

    def must_not_change(self, *hosts: str) -> None:
        """Fail unless the run was good, had a recap, and changed nothing (on ``hosts``, or anywhere)."""
        self.must_work()
        assert self.hosts, f"no recap in\n{self.output[-4000:]}"
        changed = {host: count for host, count in self.changed.items() if not hosts or host in hosts}
        assert not changed, f"wanted changed=0, found {changed}:\n{self.output[-12000:]}"


def run_playbook(arguments: Sequence[str], timeout: float, extra: Mapping[str, str] | None = None) -> Run:
    """Run ansible-playbook in the checkout for at most ``timeout`` seconds."""
    started = time.monotonic()
    done = subprocess.run(
        ["ansible-playbook", *arguments],
        cwd=ROOT,
        env={**environment(), **(extra or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        check=False,
    )
    return Run(done.returncode, done.stdout.decode(errors="replace"), time.monotonic() - started)


@dataclass(frozen=True)
class Lab:
    """One sandbox. ``state`` is a directory that the steps of a scenario share; ``variables`` go to each playbook run."""

    sandbox: str
    state: Path
    kubeconfig: Path
    variables: Mapping[str, Any] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        return SANDBOXES / self.sandbox

    @property
    def inventory(self) -> Path:
        return self.directory / "inventory" / "hosts.yml"

    @property
    def hosts(self) -> dict[str, str]:
        """Address of each host by name."""
        record = json.loads((self.directory / "sandbox.json").read_text())
        return {name: host["address"] for name, host in record["hosts"].items()}

    def group(self, name: str) -> list[str]:
        """The hosts of an inventory group."""
        children = yaml.safe_load(self.inventory.read_text())["all"]["children"]
        return list((children.get(name) or {}).get("hosts") or {})

    @property
    def control_planes(self) -> list[str]:
        return self.group("control_plane")

    @property
    def nodes(self) -> list[str]:
        return self.control_planes + self.group("workers")

    @property
    def context(self) -> str:
        """The environment's name, under which the roles merge the cluster's credentials."""
        return f"sandbox-{self.sandbox}"

    def ssh_command(self, host: str, *options: str) -> list[str]:
        """Return the start of an ssh command line to a host; its key is pinned."""
        return [
            "ssh", "-q", "-i", str(self.directory / "id_ed25519"), "-o", f"UserKnownHostsFile={self.directory / 'known_hosts'}",
            "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=10", "-o", "BatchMode=yes", *options, f"root@{self.hosts[host]}",
        ]  # fmt: skip

    def ssh(self, host: str, script: str, check: bool = True, stdin: bytes | None = None, timeout: float = 120) -> str:
        """Run a shell script on a host and return its output."""
        done = subprocess.run(
            [*self.ssh_command(host), script], input=stdin, capture_output=True, timeout=timeout, check=False
        )
        output = done.stdout.decode(errors="replace")
        if check and done.returncode:
            raise CommandFailedError(
                f"{host}: {script!r} ended with {done.returncode}: {output}{done.stderr.decode(errors='replace')}"
            )
        return output

    def read(self, host: str, path: str) -> bytes:
        """The content of a file on a host."""
        done = subprocess.run(
            [*self.ssh_command(host), f"cat {shlex.quote(path)}"], capture_output=True, timeout=60, check=False
        )
        if done.returncode:
            raise CommandFailedError(f"{host}: cannot read {path}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def processes(self, host: str) -> dict[str, list[list[Any]]]:
        """The pids of each program that runs on a host, with the time each was started."""
        result: dict[str, list[list[Any]]] = json.loads(self.ssh(host, "python3 -", stdin=PROCESSES.encode()))
        return result

    def pids(self, host: str) -> dict[str, list[Any]]:
        """The processes that a run without work must leave alone: the oldest of each program."""
        seen = self.processes(host)
        return {
            name: seen[name][0]
            for name in ("kubelet", "containerd", "kube-apiserver", "etcd", "haproxy")
            if name in seen
        }

    def kubectl(
        self, *words: str, check: bool = True, stdin: str | None = None, via: str = "", timeout: float = 60
    ) -> str:
        """Run kubectl with the admin's kubeconfig that the roles wrote; ``via`` asks the API server of that control plane."""
        release = sorted((cache() / "mirror/dl.k8s.io/release").glob("v*"))[-1]
        program = release / "bin/linux/amd64/kubectl"
        where = ["--server", f"https://{self.hosts[via]}:6443"] if via else []
        done = subprocess.run(
            [str(program), "--kubeconfig", str(self.kubeconfig), "--context", self.context, "--request-timeout=20s", *where, *words],
            input=stdin, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        if check and done.returncode:
            raise CommandFailedError(
                f"kubectl {' '.join(words)} ended with {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done.stdout

    def objects(self, *words: str, via: str = "") -> list[dict[str, Any]]:
        """``kubectl get`` as objects."""
        items: list[dict[str, Any]] = json.loads(self.kubectl("get", *words, "-o", "json", via=via))["items"]
        return items

    def start(self, playbook: str, *options: str, log: Path) -> subprocess.Popen[bytes]:
        """Start ansible-playbook in a process group of its own, its output in ``log``."""
        command = ["ansible-playbook", "-i", str(self.inventory), "-e", json.dumps(self.settings()), *options, playbook]
        with log.open("wb") as stream:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def settings(self) -> dict[str, Any]:
        """The extra variables of each run."""
        return {"kubeconfig_path": str(self.kubeconfig), **self.variables}

    def playbook(
        self, playbook: str, *options: str, timeout: float = 600, extra: Mapping[str, str] | None = None
    ) -> Run:
        """Run ansible-playbook to its end; ``extra`` is added to its environment."""
        return run_playbook(
            ["-i", str(self.inventory), "-e", json.dumps(self.settings()), *options, playbook], timeout, extra
        )

    def setup(self, *options: str, timeout: float = 600, extra: Mapping[str, str] | None = None) -> Run:
        """Run the set-up playbook."""
        return self.playbook(SETUP, *options, timeout=timeout, extra=extra)

    def power(self, state: str, *hosts: str, listed: list[dict[str, Any]] | None = None) -> Run:
        """Bring the sandbox (or only some hosts of it) into a state of role sandbox."""
        settings: dict[str, Any] = {"sandbox_name": self.sandbox, "sandbox_state": state, "sandbox_only": list(hosts)}
        settings["sandbox_hosts"] = self.specification() if listed is None else listed
        return run_playbook(["-i", "localhost,", "-e", json.dumps(settings), "playbooks/sandbox.yml"], 300).must_work()

    def specification(self) -> list[dict[str, Any]]:
        """The hosts as ``sandbox_hosts`` wants them; empty where there is no sandbox."""
        record = self.directory / "sandbox.json"
        if not record.exists():
            return []
        keys = ("name", "groups", "memory_mb", "cpus", "environment")
        return [{key: host[key] for key in keys} for host in json.loads(record.read_text())["hosts"].values()]

    def secrets_of(self, host: str) -> dict[str, str]:
        """What must never be shown of a control plane: lines of its private keys, the encryption key, the admin's key."""
        found: dict[str, str] = {}
        for path in self.ssh(host, "find /etc/kubernetes/pki -name '*.key'").split():
            for line in self.read(host, path).decode().splitlines():
                if len(line) == 64:
                    found[line] = path
        for path, pattern in {
            "/etc/kubernetes/admin.conf": r"client-key-data: (\S+)",
            "/etc/kubernetes/stagecraft/encryption.yaml": r"secret: ([A-Za-z0-9+/=]+)",
        }.items():
            for value in re.findall(pattern, self.read(host, path).decode()):
                found[value[:60]] = path
        return found


def until(what: str, seconds: float, probe: Callable[[], Any], pause: float = 0.5) -> float:
    """Call ``probe`` until it returns something true; return how long that took. Fail with the last answer after ``seconds``."""
    started = time.monotonic()
    last: object = None
    while time.monotonic() - started < seconds:
        try:
            last = probe()
        except (CommandFailedError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
            last = error
        else:
            if last:
                return time.monotonic() - started
        time.sleep(pause)
    raise AssertionError(f"{what}: not after {seconds:.0f} s, last seen: {last!r}")


def pods_of(lab: Lab, *words: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and object of each pod that ``kubectl get pods`` selects by ``words``."""
    for pod in lab.objects("pods", *words):
        yield pod["metadata"]["name"], pod


def not_running(lab: Lab, *words: str) -> list[str]:
    """The pods that do not run with all their containers ready."""
    return [
        f"{name}: {pod['status'].get('phase')}"
        for name, pod in pods_of(lab, *words)
        if pod["status"].get("phase") != "Running"
        or not all(c["ready"] for c in pod["status"].get("containerStatuses", [{"ready": False}]))
    ]


def not_ready(lab: Lab, via: str = "") -> list[str]:
    """The hosts of the inventory whose node is missing or not Ready, as seen by the API server of ``via``."""
    ready = {
        node["metadata"]["name"]
        for node in lab.objects("nodes", via=via)
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready" and condition["status"] == "True"
    }
    return sorted(set(lab.nodes) - ready)
