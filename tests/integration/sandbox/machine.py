# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the sandbox need: runs of the module, logins, and a list of what a sandbox could leave behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox.layout import Layout

ROOT = Path(__file__).parents[3]
STATE_ROOT = Path("/var/lib/stagecraft/sandbox")
INOTIFY = Path("/proc/sys/fs/inotify")


def environment() -> dict[str, str]:
    """Return the environment for Ansible's commands."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {
        **os.environ,
        "PATH": path,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    }


class Sandbox:
    """One sandbox under test, driven through the module as a user's play drives it."""

    def __init__(self, name: str, mirror: Path, cache: Path) -> None:
        self.name = name
        self.mirror = mirror
        self.cache = cache
        self.layout = Layout(name)

    def command(self, state: str, *flags: str, **options: Any) -> list[str]:
        """Return the command that brings the sandbox into a state."""
        arguments = {"name": self.name, "state": state, "mirror": str(self.mirror), "cache": str(self.cache), **options}
        module = "stagecraft.gitops.sandbox_hosts"
        return ["ansible", "localhost", "-c", "local", "-m", module, "-a", json.dumps(arguments), *flags]

    def bring(self, state: str, *flags: str, **options: Any) -> dict[str, Any]:
        """Bring the sandbox into a state; return the module's result, that of a failure too."""
        finished = subprocess.run(
            self.command(state, *flags, **options),
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        head, arrow, text = finished.stdout.partition("=> ")
        assert arrow, finished.stdout + finished.stderr
        result: dict[str, Any] = {"failed": "FAILED" in head, **json.JSONDecoder().raw_decode(text)[0]}
        return result

    def up(self, *hosts: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Bring hosts up; the result must be a success."""
        result = self.bring("present", hosts=list(hosts), **options)
        assert not result["failed"], result["msg"]
        return result

    def ssh(self, address: str, command: str) -> str:
        """Run a command on a host, its host key checked; return what it printed."""
        options = [
            f"UserKnownHostsFile={self.layout.known_hosts}",
            "StrictHostKeyChecking=yes",
            "BatchMode=yes",
            "ConnectTimeout=5",
        ]
        arguments = [item for option in options for item in ("-o", option)]
        return subprocess.run(
            ["ssh", "-F", "/dev/null", "-i", str(self.layout.key), *arguments, f"root@{address}", command],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()

    def boot_id(self, address: str) -> str:
        """Return the identity of a host's present boot."""
        return self.ssh(address, "cat /proc/sys/kernel/random/boot_id")

    def traces(self) -> set[str]:
        """Return all that this sandbox has outside, and the files of its state directory."""
        mine = (f"stagecraft-{self.name}.", f"/{self.name}/")
        found = {f"netns {path.name}" for path in Path("/run/netns").glob(f"stagecraft-{self.name}*")}
        found |= {f"link {name}" for name in os.listdir("/sys/class/net") if name == self.layout.link}
        for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines():
            point = line.split()[4]
            if any(mark in point + "/" for mark in mine):
                found.add(f"mount {point}")
        for directory, names, _ in os.walk("/sys/fs/cgroup"):
            found |= {f"cgroup {directory}/{name}" for name in names if mine[0] in name}
        for directory in ("/run/systemd/nspawn", "/tmp", "/run"):
            for path, names, files in os.walk(directory):
                found |= {f"file {path}/{name}" for name in [*names, *files] if mine[0] in name}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    words = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
                except OSError:
                    continue
                if any(mark in words for mark in mine) or f"stagecraft-{self.name} " in words:
                    found.add(f"process {words[:200]}")
        found |= {
            f"state {path}"
            for path in self.layout.directory.rglob("*")
            if "disk" not in path.parts and "root" not in path.parts
        }
        found |= {f"state {path}" for path in STATE_ROOT.glob(f".{self.name}*")} if STATE_ROOT.is_dir() else set()
        return found


def shared_state() -> dict[str, str]:
    """Return what all sandboxes of the machine have in common."""
    watched = ["/run/netns", "/run/systemd/nspawn", "/var/lib/stagecraft", "/var/lib/stagecraft/sandbox"]
    state = {path.name: path.read_text("ascii").strip() for path in sorted(INOTIFY.iterdir())}
    state |= {path: str(Path(path).exists()) for path in watched}
    state["routes"] = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=True).stdout
    state["ip_forward"] = Path("/proc/sys/net/ipv4/ip_forward").read_text("ascii").strip()
    return state


def other_sandboxes(*names: str) -> list[str]:
    """Return the sandboxes of this machine that are not ours."""
    return [path.name for path in STATE_ROOT.glob("[!.]*") if path.name not in names] if STATE_ROOT.is_dir() else []
