# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs ansible-playbook for tests, as an admin would at its most talkative."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

import yaml

COLLECTION = Path(__file__).parents[2]


class Play:
    """Runs playbooks in a directory of its own and returns what the tasks returned."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # Ansible puts a socket there, whose path must be short.
        made = Path(tempfile.mkdtemp(prefix="play-"))
        weakref.finalize(self, shutil.rmtree, made, ignore_errors=True)
        self.temporary = [made, directory / "tmp"]
        self.output = ""

    def run(
        self,
        tasks: list[dict[str, Any]],
        *arguments: str,
        variables: dict[str, Any] | None = None,
        gate: dict[str, Any] | None = None,
        cp1: dict[str, Any] | None = None,
        playbook: str = "",
    ) -> dict[str, Any]:
        """Run `tasks` (or a playbook) on the host cp1; `gate` are the variables of a second host. Returns exit code and recap."""
        local = {"ansible_host": "127.0.0.1", "ansible_connection": "local"}
        inventory = {
            "all": {
                "vars": {"ansible_python_interpreter": sys.executable, **(variables or {})},
                "hosts": {"gate": gate or {}},
                "children": {"control_plane": {"hosts": {"cp1": {**local, **(cp1 or {})}}}},
            }
        }
        (self.directory / "hosts.yml").write_text(yaml.safe_dump(inventory))
        play = {"name": "test", "hosts": "control_plane", "gather_facts": False, "tasks": tasks}
        (self.directory / "play.yml").write_text(yaml.safe_dump([play]))
        return self._run(playbook or "play.yml", *arguments)

    def playbook(self, name: str, *arguments: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Run a playbook of the collection, as `run` does tasks."""
        # Playbooks have variables of their own, which go before an inventory's.
        (self.directory / "variables.json").write_text(json.dumps(variables))
        playbook = str(COLLECTION / "playbooks" / f"{name}.yml")
        return self.run([], "-e", "@variables.json", *arguments, playbook=playbook)

    def _run(self, playbook: str, *arguments: str) -> dict[str, Any]:
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTION / ".dev" / "collections"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_CONFIG": str(self.directory / "ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": str(self.directory / "tmp"),
            "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(self.directory / "facts"),
            "TMPDIR": str(self.temporary[0]),
            "ANSIBLE_NOCOLOR": "1",
            "HOME": str(self.directory),
        }
        program = shutil.which("ansible-playbook") or str(Path(sys.executable).with_name("ansible-playbook"))
        done = subprocess.run(
            [program, "-i", "hosts.yml", playbook, "-vvv", *arguments],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.output = done.stdout + done.stderr
        recap = done.stdout.rpartition("PLAY RECAP")[2]
        numbers = re.findall(r"\b([a-z]+)=(\d+)\b", recap)
        return {"code": done.returncode, **{name: int(number) for name, number in numbers}}

    def result(self) -> dict[str, Any]:
        """The result of the last task, from the output."""
        last = self.output.rpartition(" => {")[2]
        parsed: dict[str, Any] = json.JSONDecoder().raw_decode("{" + last)[0]
        return parsed
