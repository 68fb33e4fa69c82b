# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about the settings of Minikube: what it would refuse half-way, or pass over."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.hosts import is_dns_name
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.model import Inventory, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The only profile that the driver none has (validateBareMetal in cmd/minikube/cmd/start.go).
_BARE_PROFILE = "minikube"
#: Below these kubeadm refuses the node, or Minikube itself does (minRecommendedMem, minimumCPUS in start.go), and Flux would not fit.
_LEAST = {"minikube_cpus": (2, ""), "minikube_memory_mb": (2048, " MiB")}
_COMPONENTS = ("apiserver", "controller-manager", "etcd", "kubeadm", "kubelet", "proxy", "scheduler")
_SETTING = re.compile(rf"({'|'.join(_COMPONENTS)})\.[A-Za-z0-9.-]+=.*")
#: Arguments that the role writes itself, and the variables to use instead.
_MANAGED = {
    "addons": "minikube_addons",
    "apiserver-ips": "minikube_certificate_sans",
    "apiserver-names": "minikube_certificate_sans",
    "apiserver-port": "minikube_port",
    "binary-mirror": "minikube_binary_mirror",
    "container-runtime": "minikube_container_runtime",
    "cpus": "minikube_cpus",
    "disk-size": "minikube_disk_mb",
    "driver": "minikube_driver",
    "extra-config": "minikube_extra_config",
    "image-repository": "minikube_image_repository",
    "kubernetes-version": "minikube_kubernetes_version",
    "memory": "minikube_memory_mb",
    "profile": "minikube_profile",
}


def _is_minikube(inventory: Inventory) -> bool:
    return bool(inventory.of("stagecraft_distribution") == "minikube")


def driver(inventory: Inventory) -> Iterator[Problem]:
    """Find what a driver cannot do."""
    if not _is_minikube(inventory):
        return
    chosen = inventory.of("minikube_driver")
    profile, user = inventory.of("minikube_profile"), inventory.of("minikube_user")
    if chosen == "none" and profile not in (None, "", _BARE_PROFILE):
        found = f"it is {profile}, and with the driver none Minikube knows one profile, {_BARE_PROFILE}"
        yield Problem("minikube-profile", "minikube_profile", found, "Remove it", inventory.origin("minikube_profile"))
    if chosen == "none" and user not in (None, "", "root"):
        found = f"it is {user}, and the driver none changes the machine itself, as root"
        yield Problem("minikube-user", "minikube_user", found, "Remove it", inventory.origin("minikube_user"))
    if chosen == "none" and inventory.of("minikube_container_runtime") != "containerd":
        found = (
            f"it is {inventory.of('minikube_container_runtime')}; with the driver none containerd is what is installed"
        )
        origin = inventory.origin("minikube_container_runtime")
        yield Problem("minikube-runtime", "minikube_container_runtime", found, "Remove it", origin)
    machine = inventory.of("minikube_ssh") or {}
    if chosen == "ssh" and not (isinstance(machine, dict) and machine.get("address")):
        found = "it names no address, and minikube_driver is ssh"
        fix = "Set it, for example {address: 192.0.2.31, user: root, key: /home/me/.ssh/id_ed25519}"
        yield Problem("minikube-ssh", "minikube_ssh", found, fix, inventory.origin("minikube_ssh"))


def sizes(inventory: Inventory) -> Iterator[Problem]:
    """Find nodes that would be too small."""
    for name, (least, unit) in _LEAST.items() if _is_minikube(inventory) else ():
        for setting in inventory.settings(name):
            if str(setting.value).isdecimal() and int(setting.value) < least:
                found = f"{setting.value}{unit} is too little for a node"
                yield Problem("minikube-size", setting.subject, found, f"Use {least}{unit} or more", setting.origin)


def names(inventory: Inventory) -> Iterator[Problem]:
    """Find names for /etc/hosts that are none, or that belong in DNS."""
    for setting in inventory.settings("minikube_host_names") if _is_minikube(inventory) else ():
        for name in setting.value if isinstance(setting.value, list) else ():
            if not (is_dns_name(str(name)) and str(name).endswith(".local")):
                found = f"{name!r} is no name below .local"
                fix = "Write names such as app.stagecraft.local; others belong in DNS"
                yield Problem("minikube-host-name", setting.subject, found, fix, setting.origin)


def arguments(inventory: Inventory) -> Iterator[Problem]:
    """Find settings of components and arguments that Minikube would refuse, or that the role writes itself."""
    if not _is_minikube(inventory):
        return
    for setting in inventory.settings("minikube_extra_config"):
        for item in setting.value if isinstance(setting.value, list) else ():
            if not _SETTING.fullmatch(str(item)):
                fix = f"Write COMPONENT.KEY=VALUE, with one of {', '.join(_COMPONENTS)}"
                found = f"{item!r} is no setting of a component"
                yield Problem("minikube-extra-config", setting.subject, found, fix, setting.origin)
    for setting in inventory.settings("minikube_start_arguments"):
        for item in setting.value if isinstance(setting.value, list) else ():
            name = str(item).partition("=")[0].removeprefix("--")
            if name in _MANAGED:
                found = f"{item} is set by the role"
                yield Problem(
                    "minikube-argument-managed", setting.subject, found, f"Set {_MANAGED[name]}", setting.origin
                )
