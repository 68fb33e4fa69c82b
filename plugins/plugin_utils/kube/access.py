# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options `kubeconfig`, `context`, `api_access` and `ssh_host` that all controller-side modules share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.client import ApiAccess
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.target import target_from_vars

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

API_ACCESS_OPTIONS: dict[str, dict[str, Any]] = {
    "kubeconfig": {"type": "path"},
    "context": {"type": "str"},
    "api_access": {"type": "str", "choices": ["direct", "ssh"]},
    "ssh_host": {"type": "str"},
}
#: The play's variables that complete the options; an action hands them over templated.
API_ACCESS_VARIABLES = ("stagecraft_api_access", "stagecraft_environment", "kubeconfig_name", "kubeconfig_path")


def api_access(
    options: Mapping[str, Any],
    variables: Mapping[str, Any],
    task_vars: Mapping[str, Any],
    ssh_defaults: Callable[[], Mapping[str, Any]],
) -> ApiAccess:
    """Return how to reach the API server: the options, completed from `variables` (API_ACCESS_VARIABLES, templated).

    `task_vars` are asked for groups and host variables only; `ssh_defaults` for what the variables of the SSH host leave
    open, as for `target_from_vars`. Raises KubeError when a variable makes no sense, and SshError when those of the SSH
    host do not.
    """
    way = options["api_access"] or variables.get("stagecraft_api_access") or "direct"
    if way not in ("direct", "ssh"):
        raise KubeError(f"stagecraft_api_access is {way!r}; wanted direct or ssh.")
    context = options["context"] or variables.get("kubeconfig_name") or variables.get("stagecraft_environment") or None
    kubeconfig = Path(options["kubeconfig"] or variables.get("kubeconfig_path") or "~/.kube/config")
    if way == "direct":
        return ApiAccess(kubeconfig, context)
    host = options["ssh_host"] or first_control_plane(task_vars)
    if host not in task_vars["hostvars"]:
        raise KubeError(f"ssh_host is {host!r}, which is not a host of this inventory.")
    target = target_from_vars(task_vars["hostvars"][host], defaults=ssh_defaults())
    return ApiAccess(kubeconfig, context, "ssh", target)


def first_control_plane(task_vars: Mapping[str, Any]) -> str:
    """Return the first control plane that has not failed in this play, or the task's own host."""
    group = list((task_vars.get("groups") or {}).get("control_plane") or [])
    alive = set(task_vars.get("ansible_play_hosts") or [])
    candidates = [*(host for host in group if host in alive), *group, task_vars["inventory_hostname"]]
    return str(candidates[0])
