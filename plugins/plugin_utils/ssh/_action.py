# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host of a task as an SSH target, and the base of the actions that reach hosts by SSH themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible import constants
from ansible.plugins.loader import connection_loader
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ControllerAction, own_variables, plain

from .errors import SshError
from .target import VARIABLES, SshTarget, target_from_vars

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible.plugins.action import ActionBase

# Where ansible.cfg, the environment and the command line say what no variable says: our name, Ansible's option.
_SSH_OPTIONS = {
    "user": "remote_user",
    "key_file": "private_key_file",
    "ssh_args": "ssh_args",
    "common_args": "ssh_common_args",
    "extra_args": "ssh_extra_args",
    "host_key_checking": "host_key_checking",
    "port": "port",
    "timeout": "timeout",
}


def defaults_of(action: ActionBase, task_vars: Mapping[str, Any]) -> dict[str, Any]:
    """Collect what keywords, the command line and ansible.cfg say of every host, by the names in `VARIABLES`."""
    defaults: dict[str, Any] = {}
    connection_loader.get("ssh", class_only=True)
    for ours, option in _SSH_OPTIONS.items():
        value = constants.config.get_config_value(option, plugin_type="connection", plugin_name="ssh")
        if value not in {None, ""}:
            defaults[ours] = plain(value)
    if action._task.remote_user:
        defaults["user"] = plain(action._task.remote_user)
    # The context repeats a password in the variables of the task's own host, which is for that host alone.
    password, own = action._play_context.password, own_variables(action, task_vars)
    if password and not any(own.get(name) for name in VARIABLES["password"]):
        defaults["password"] = plain(password)
    return defaults


def target_of(action: ActionBase, task_vars: Mapping[str, Any], *, become: bool | None = None) -> SshTarget:
    """Build the SSH target of an action's host from all that Ansible knows of it.

    Variables are templated; keywords of play and task, the command line and ansible.cfg fill what they leave open.
    ``become`` overrides the task's own. TargetError when the host cannot be reached by SSH.
    """
    delegate = action._task.delegate_to
    task_vars = own_variables(action, task_vars)
    names = [name for group in VARIABLES.values() for name in group]
    # Connections made over the play's own transport say "smart" or "local" only where somebody wrote it down.
    variables = {
        name: plain(action._templar.template(task_vars[name])) for name in names if task_vars.get(name) is not None
    }
    context = action._play_context
    defaults = {"host": delegate or task_vars.get("inventory_hostname"), **defaults_of(action, task_vars)}
    for ours, value in (
        ("become_user", action._task.become_user),
        ("become_method", action._task.become_method),
        ("become_password", context.become_pass),
    ):
        if value:
            defaults[ours] = plain(value)
    wanted = become if become is not None else bool(context.become)
    return target_from_vars(variables, defaults=defaults, become=wanted)


class SshAction(ControllerAction):
    """An action that opens its own SSH connection to the task's host and needs no Python there."""

    errors = (SshError,)

    def target(self, task_vars: Mapping[str, Any], *, become: bool | None = None) -> SshTarget:
        """Build the task's host as a target; see `target_of`."""
        return target_of(self, task_vars, become=become)
