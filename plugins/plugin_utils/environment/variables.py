# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about variables as such: their names, their types, and that all hosts agree."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.model import (
    Inventory,
    Option,
    Problem,
    Setting,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Variables of the whole play. They belong to no role, so no argument_specs lists them.
PLAY_OPTIONS = {
    option.name: option
    for option in (
        Option("", "stagecraft_environment"),
        Option("", "stagecraft_domain"),
        Option("", "stagecraft_distribution"),
        Option("", "stagecraft_kubernetes_version", "raw"),
        Option("", "stagecraft_repository", "dict"),
        Option("", "stagecraft_api_access", choices=("direct", "ssh"), default="direct"),
        Option("", "stagecraft_ssh_agent", "bool", default=False),
    )
}
#: Written by the role sandbox into the inventories that it makes.
_OWN_PREFIXES = ("stagecraft_sandbox_",)

#: Names from upstream's flags, from other collections or from earlier releases, and what they are called here.
RENAMED = {
    "stagecraft_env": "stagecraft_environment",
    "stagecraft_distro": "stagecraft_distribution",
    "stagecraft_k8s_version": "stagecraft_kubernetes_version",
    "stagecraft_version": "stagecraft_kubernetes_version",
    "kubeadm_kubernetes_version": "kubeadm_version",
    "kubeadm_pod_network_cidr": "kubeadm_pod_cidr",
    "kubeadm_pod_subnet": "kubeadm_pod_cidr",
    "kubeadm_service_subnet": "kubeadm_service_cidr",
    "kubeadm_control_plane_endpoint": "kubeadm_api_endpoint",
    "kubeadm_apiserver_cert_extra_sans": "kubeadm_certificate_sans",
    "kubeadm_apiserver_bind_port": "kubeadm_api_port",
    "kubeadm_kubelet_extra_args": "kubeadm_kubelet_config",
    "kubeadm_cni": "cni_plugin",
    "cni_flannel_manifest": "cni_manifest",
    "containerd_registry_mirrors": "containerd_registries",
    "host_disable_swap": "host_swap",
    "host_ntp": "host_time_sync",
    "k3s_server_config": "k3s_config",
    "k3s_server_args": "k3s_config",
    "k3s_extra_server_args": "k3s_config",
    "k3s_extra_agent_args": "k3s_agent_config",
    "k3s_cluster_cidr": "k3s_pod_cidr",
    "k3s_cluster_domain": "k3s_service_domain",
    "k3s_tls_san": "k3s_certificate_sans",
    "k3s_token": "k3s_token_file",
    "k3s_node_ip": "k3s_node_address",
    "k3s_registries_yaml": "k3s_registries",
    "minikube_memory": "minikube_memory_mb",
    "minikube_disk_size": "minikube_disk_mb",
    "minikube_apiserver_port": "minikube_port",
    "kubeconfig_context": "kubeconfig_name",
    "kubeconfig_file": "kubeconfig_path",
    "artifacts_air_gap": "artifacts_bundle",
}
#: Variables that would make two clusters of one when hosts disagree.
_SHARED = (
    "stagecraft_environment",
    "stagecraft_distribution",
    "stagecraft_domain",
    "stagecraft_kubernetes_version",
    "kubeadm_pod_cidr",
    "kubeadm_service_cidr",
    "kubeadm_service_domain",
    "kubeadm_api_endpoint",
    "kubeadm_api_port",
    "cni_plugin",
    "cni_network_policy",
    "k3s_version",
    "k3s_port",
    "k3s_pod_cidr",
    "k3s_service_cidr",
    "k3s_service_domain",
    "k3s_datastore",
    "k3s_datastore_endpoint",
    "k3s_secrets_encryption",
    "k3s_restore_snapshot",
)
_NAMES_OF_TYPES = {
    "list": "a list",
    "dict": "a mapping",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
}


def names(inventory: Inventory) -> Iterator[Problem]:
    """Find variables that nothing reads, because their name is not quite the right one."""
    options = {**PLAY_OPTIONS, **inventory.known.options}
    prefixes = {f"{option.role}_" for option in inventory.known.options.values()} | {"stagecraft_"}
    for name in inventory.names():
        if name in options or "__" in name or name.startswith(_OWN_PREFIXES):
            continue
        for setting in inventory.settings(name) or [Setting(name, None, (), True, inventory.origin(name))]:
            prefix = next((p for p in sorted(prefixes, key=len, reverse=True) if name.startswith(p)), "")
            if name in RENAMED:
                right = RENAMED[name]
                yield Problem(
                    "variable-renamed", setting.subject, "nothing reads it", f"It is called {right}", setting.origin
                )
            elif prefix:
                yield _unknown(setting, prefix, list(options))
            elif near := get_close_matches(name, options, n=1, cutoff=0.9):
                found, fix = f"nothing here reads it, and it is nearly {near[0]}", f"If that is meant, write {near[0]}"
                yield Problem("variable-nearly", setting.subject, found, fix, setting.origin, "warning")
            break


def _unknown(setting: Setting, prefix: str, options: list[str]) -> Problem:
    owner = "of the play" if prefix == "stagecraft_" else f"of the role {prefix[:-1]}"
    same = [name for name in options if name.startswith(prefix)]
    near = get_close_matches(setting.name, same, n=1, cutoff=0.6) or get_close_matches(
        setting.name, options, n=1, cutoff=0.8
    )
    fix = f"Did you mean {near[0]}?" if near else f"There are {', '.join(sorted(same))}"
    found = f"no variable {owner} has this name; names that begin with {prefix} are kept for them"
    return Problem("variable-unknown", setting.subject, found, fix, setting.origin)


def types(inventory: Inventory) -> Iterator[Problem]:
    """Find values of the wrong type, and choices and ports that there are not."""
    for name, option in {**PLAY_OPTIONS, **inventory.known.options}.items():
        for setting in inventory.settings(name):
            if setting.value is None:
                continue
            wrong = _type_problem(option, setting)
            if wrong is not None:
                yield wrong
            elif option.choices:
                yield from _choices(option, setting)
            elif name.endswith("_port") and option.type == "int" and not 0 < int(setting.value) <= 65535:
                found = f"{setting.value} is no port"
                yield Problem("port-invalid", setting.subject, found, "Use a number from 1 to 65535", setting.origin)


def _choices(option: Option, setting: Setting) -> Iterator[Problem]:
    rule = "api-access-invalid" if option.name == "stagecraft_api_access" else "choice-invalid"
    for value in setting.value if isinstance(setting.value, list) else [setting.value]:
        if str(value) not in option.choices:
            near = get_close_matches(str(value), option.choices, n=1, cutoff=0.5)
            fix = f"Use one of {', '.join(option.choices)}" + (f"; did you mean {near[0]}" if near else "")
            yield Problem(rule, setting.subject, f"{value!r} is no value it can have", fix, setting.origin)


def _type_problem(option: Option, setting: Setting) -> Problem | None:
    value = setting.value
    if option.type == "bool":
        # Words from the command line (-e name=true) are text; any other text means true to some conditions.
        if isinstance(value, bool) or (isinstance(value, str) and value.lower() in ("true", "false")):
            return None
        meant = str(value).lower() in ("yes", "on", "1", "y", "enabled", "enable")
        fix = f"Write {str(meant).lower()} without quotes"
        return Problem("boolean-as-text", setting.subject, f"{value!r} is not a boolean", fix, setting.origin)
    if option.type not in _NAMES_OF_TYPES or _fits(option.type, value):
        return None
    found = f"{_shown(value)} is not {_NAMES_OF_TYPES[option.type]}"
    fix = f"Write {_NAMES_OF_TYPES[option.type]}"
    if option.type == "list" and isinstance(value, str):
        fix += f", for example [{value}]"
    return Problem("type-wrong", setting.subject, found, fix, setting.origin)


def _fits(wanted: str, value: Any) -> bool:
    if wanted == "list":
        return isinstance(value, list)
    if wanted == "dict":
        return isinstance(value, dict)
    if isinstance(value, bool):
        return False
    try:
        float(value) if wanted == "float" else int(str(value))
    except (TypeError, ValueError):
        return False
    return True


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def agreement(inventory: Inventory) -> Iterator[Problem]:
    """Find variables of the cluster that hosts give different values."""
    for name in _SHARED:
        settings = inventory.settings(name)
        holders = sum(len(setting.hosts) for setting in settings)
        if len(settings) > 1 or 0 < holders < len(inventory.hosts):
            parts = [f"{setting.value!r} for {', '.join(setting.hosts)}" for setting in settings]
            if holders < len(inventory.hosts):
                without = [host for host in inventory.hosts if inventory.hosts[host].get(name) is None]
                parts += [f"not set for {', '.join(without)}"] if without else []
            if len(parts) > 1:
                found = f"hosts of one cluster disagree: {'; '.join(parts)}"
                yield Problem("hosts-disagree", name, found, "Set it once, in group_vars/all.yml", settings[-1].origin)
