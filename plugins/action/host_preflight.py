# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.host_preflight; the module of the same name holds the documentation."""

from __future__ import annotations

import shlex
import time
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh import preflight
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh._action import SshAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import RemoteCommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEFAULTS = preflight.Requirements()
_CONNECTION = "ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.connection"
# Seconds for the second look at a host that has just been given Ansible's whole timeout.
_SECOND_LOOK = 5.0


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
                    "cgroup_v1_setting": {"type": "str", "default": ""},
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
        """Run the script over the connection that the tasks after this one will use.

        Where that fails, our own connection finds out why, and says it in words that name the setting to correct.
        """
        script = preflight.script(wanted.kernel_modules)
        sent = time.time()
        try:
            if self._is_pipelining_enabled("new"):
                answer = self._low_level_execute_command("sh -s", in_data=script.encode())
            else:
                # Standard input may be a terminal then, for a password to be typed in.
                answer = self._low_level_execute_command(f"sh -c {shlex.quote(script)}")
        except AnsibleError:
            if self._connection.transport != "ssh":
                raise
            return self._look_by_own_connection(script, task_vars)
        answered = time.time()
        if answer["rc"] == 0:
            return preflight.parse(answer["stdout"], sent, answered)
        if self._connection.transport == "ssh":
            return self._look_by_own_connection(script, task_vars)
        said = str(answer["stderr"]).strip()
        raise RemoteCommandError(
            f"the preflight script ended with status {answer['rc']} here: {said}", answer["rc"], answer["stdout"], said
        )

    def _look_by_own_connection(self, script: str, task_vars: Mapping[str, Any]) -> preflight.HostFacts:
        # paramiko costs a tenth of a second, and hosts that Ansible reaches do not need it.
        connection = import_module(_CONNECTION)
        target = self.target(task_vars)
        target = replace(target, timeout=min(target.timeout, _SECOND_LOOK))
        with connection.connect(target) as client:
            rights = connection.privilege(client, target)
            sent = time.time()
            answer = connection.run_script(client, script, rights)
            return preflight.parse(answer.stdout, sent, time.time())
