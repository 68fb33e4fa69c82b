# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.host_preflight; the module of the same name holds the documentation."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh import preflight
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh._action import SshAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.connection import connect, privilege, run_script
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import RemoteCommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEFAULTS = preflight.Requirements()


class ActionModule(SshAction):
    """Look at a host in one go and say everything that speaks against it."""

    argument_spec = ArgumentSpec(
        options={
            "environment": {"type": "str"},
            "fail_on_problems": {"type": "bool", "default": True},
            "requirements": {
                "type": "dict",
                "apply_defaults": True,
                "options": {
                    "minimum_cpus": {"type": "int", "default": _DEFAULTS.minimum_cpus},
                    "minimum_memory_mb": {"type": "int", "default": _DEFAULTS.minimum_memory_mb},
                    "minimum_disk_mb": {"type": "int", "default": _DEFAULTS.minimum_disk_mb},
                    "max_time_skew": {"type": "float", "default": _DEFAULTS.max_time_skew},
                    "free_ports": {"type": "list", "elements": "str", "default": []},
                    "open_ports": {"type": "list", "elements": "str", "default": []},
                    "supported_os": {"type": "list", "elements": "str", "default": list(_DEFAULTS.supported_os)},
                    "architectures": {"type": "list", "elements": "str", "default": list(_DEFAULTS.architectures)},
                    "minimum_cgroup_version": {"type": "int", "choices": [1, 2], "default": 1},
                    "kernel_modules": {"type": "list", "elements": "str", "default": list(_DEFAULTS.kernel_modules)},
                    "minimum_python": {"type": "str", "default": _DEFAULTS.minimum_python},
                    "ignored_leftovers": {"type": "list", "elements": "str", "default": []},
                },
            },
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Run the script and judge its answer."""
        requirements: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in options["requirements"].items()
        }
        wanted = preflight.Requirements(**requirements)
        preflight.wanted_ports(wanted.free_ports)
        environment = options["environment"] or str(self._templar.template(task_vars.get("stagecraft_environment", "")))
        facts = self._look(wanted, task_vars)
        report = preflight.evaluate(facts, wanted, environment)
        result: dict[str, Any] = {
            "changed": False,
            "facts": facts.as_dict(),
            "problems": [
                {"code": item.code, "wanted": item.wanted, "found": item.found, "fix": item.fix}
                for item in report.problems
            ],
            "notes": list(report.warnings),
        }
        if facts.marker is None:
            # Later runs know it already: a host that carries our marker was let in with these.
            for warning in report.warnings:
                self._display.warning(f"{task_vars.get('inventory_hostname')}: {warning}")
        if report.problems and options["fail_on_problems"]:
            lines = "".join(f"\n  * {problem}" for problem in report.problems)
            count = "1 problem" if len(report.problems) == 1 else f"{len(report.problems)} problems"
            result["failed"] = True
            result["msg"] = f"{task_vars.get('inventory_hostname')} is not fit, {count}, nothing was changed:{lines}"
        return result

    def _look(self, wanted: preflight.Requirements, task_vars: Mapping[str, Any]) -> preflight.HostFacts:
        script = preflight.script(wanted.kernel_modules)
        if self._connection.transport == "local":
            command = ["sudo", "-n", "sh", "-s"] if self._play_context.become else ["sh", "-s"]
            sent = time.time()
            done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RemoteCommandError(
                    f"the preflight script ended with status {done.returncode} here: {done.stderr.strip()}",
                    done.returncode,
                    done.stdout,
                    done.stderr,
                )
            return preflight.parse(done.stdout, sent, time.time())
        target = self.target(task_vars)
        with connect(target) as client:
            rights = privilege(client, target)
            sent = time.time()
            answer = run_script(client, script, rights)
            return preflight.parse(answer.stdout, sent, time.time())
