# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.environment_check; the module of the same name holds the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, ControllerAction, plain
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment import knowledge, variables
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.check import check
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.model import UNKNOWN, Inventory, Problem

try:
    from ansible._internal._datatag._tags import Origin
except ImportError:  # where values do not say where they come from, messages do without
    Origin = None

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONNECTION = (
    "ansible_connection",
    "ansible_host",
    "ansible_port",
    "ansible_private_key_file",
    "ansible_ssh_private_key_file",
)
_SECRETS = (
    "ansible_become_pass",
    "ansible_become_password",
    "ansible_password",
    "ansible_ssh_pass",
    "ansible_ssh_password",
    "ansible_sudo_pass",
)


#: Which playbook sets up which distribution.
PLAYBOOKS = {
    "minikube": "playbooks/setup-local.yml",
    "k3s": "playbooks/setup-staging.yml",
    "kubeadm": "playbooks/setup-production.yml",
}


class ActionModule(ControllerAction):
    """Check the whole inventory and report everything that is wrong with it."""

    errors = ()
    argument_spec = ArgumentSpec(options={"distribution": {"type": "str", "choices": list(PLAYBOOKS)}})

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Collect the inventory, apply all rules, fail when one of them finds an error."""
        inventory = collect(task_vars["groups"], task_vars["hostvars"])
        problems = [*other_playbook(inventory, options["distribution"]), *check(inventory)]
        errors = [str(problem) for problem in problems if problem.level == "error"]
        result: dict[str, Any] = {
            "changed": False,
            "problems": [
                {"rule": p.rule, "level": p.level, "subject": p.subject, "origin": p.origin} for p in problems
            ],
        }
        warnings = [str(problem) for problem in problems if problem.level == "warning"]
        if warnings:
            result["warnings"] = warnings
        if errors:
            count = "1 problem" if len(errors) == 1 else f"{len(errors)} problems"
            listed = "\n".join(f"- {error}" for error in errors)
            result |= {"failed": True, "msg": f"the inventory has {count}; nothing was changed:\n{listed}"}
        return result


def other_playbook(inventory: Inventory, distribution: str | None) -> list[Problem]:
    """Tell an inventory of another distribution than the play's (None: any) which playbook is meant for it."""
    declared = inventory.of("stagecraft_distribution")
    if distribution is None or declared == distribution or declared not in PLAYBOOKS:
        return []
    found = f"it is {declared}, and this playbook sets up {distribution}"
    fix = f"Run {PLAYBOOKS[declared]}, or use another inventory"
    origin = inventory.origin("stagecraft_distribution")
    return [Problem("playbook-of-other-distribution", "stagecraft_distribution", found, fix, origin)]


def collect(groups: Mapping[str, Any], hostvars: Mapping[str, Any]) -> Inventory:
    """Turn Ansible's groups and host variables into what the rules read: plain values, and where they were written."""
    members = {str(name): tuple(str(host) for host in hosts) for name, hosts in groups.items()}
    names = dict.fromkeys((*members.get("control_plane", ()), *members.get("workers", ())))
    cluster = list(names or dict.fromkeys(members.get("all", ())))
    options = {**variables.PLAY_OPTIONS, **knowledge.role_options()}
    prefixes = tuple({f"{option.role}_" for option in options.values() if option.role} | {"stagecraft_"})
    hosts: dict[str, dict[str, Any]] = {}
    origins: dict[tuple[str, str], str] = {}
    clear: dict[str, tuple[str, ...]] = {}
    for host in cluster:
        raw = hostvars.raw_get(host) if hasattr(hostvars, "raw_get") else hostvars[host]
        templated = hostvars[host]
        hosts[host] = {}
        for name in raw:
            wanted = name in _CONNECTION or name in options or name.startswith(prefixes)
            if wanted:
                hosts[host][name] = _value(templated, name)
            elif not name.startswith("ansible_"):
                hosts[host][name] = UNKNOWN
            if name in hosts[host] or name in _SECRETS:
                place = _origin(raw[name])
                if place:
                    origins[host, name] = place
        clear[host] = tuple(name for name in _SECRETS if name in raw and _is_clear(raw[name]))
    return Inventory(
        groups=members,
        hosts=hosts,
        known=knowledge.known(hosts),
        origins=origins,
        clear_secrets={host: found for host, found in clear.items() if found},
    )


def _value(templated: Mapping[str, Any], name: str) -> Any:
    try:
        return plain(templated[name])
    except AnsibleError:
        # It depends on something that only the run itself can tell, such as a fact of the host.
        return UNKNOWN


def _is_clear(value: Any) -> bool:
    """Say whether a value stands in the inventory as it is: not encrypted and not looked up elsewhere."""
    return isinstance(value, str) and bool(value) and type(value).__name__ != "EncryptedString" and "{{" not in value


def _origin(value: Any) -> str:
    tag = Origin.get_tag(value) if Origin is not None else None
    if tag is None or not tag.path:
        return ""
    try:
        path = str(Path(tag.path).relative_to(Path.cwd()))
    except ValueError:
        path = str(tag.path)
    return f"{path}:{tag.line_num}" if tag.line_num else path
