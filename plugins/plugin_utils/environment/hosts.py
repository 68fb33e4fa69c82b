# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about groups, hosts and how to reach them."""

from __future__ import annotations

import ipaddress
import re
from collections import defaultdict
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.model import UNKNOWN, Inventory, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_OTHER_NAMES = {
    "control_plane": (
        "control_planes", "controlplane", "control-plane", "kube_control_plane", "master", "masters", "servers"
    ),
    "workers": ("worker", "kube_node", "agent", "agents", "nodes", "node"),
}  # fmt: skip
_MOST_CONTROL_PLANES = 7
_MOST_PORTS = 65535
_NODE_ADDRESS = "host_node_ip: <address of the node as the other nodes reach it>"


def is_dns_name(name: str) -> bool:
    """Say whether `name` is a DNS subdomain as RFC 1123 and Kubernetes want it (lower case, at most 253 characters)."""
    return len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.split("."))


def groups(inventory: Inventory) -> Iterator[Problem]:
    """Find groups that are missing, misnamed or overlap, and counts of control planes that cannot work."""
    count = len(inventory.control_plane)
    if count == 0:
        misnamed = [g for g in inventory.groups if _meant(g) == "control_plane"]
        hint = f"The group {misnamed[0]!r} must be called control_plane" if misnamed else _EXAMPLE
        what = "is empty" if "control_plane" in inventory.groups else "is missing"
        more = f", but workers has {len(inventory.workers)}" if inventory.workers else ""
        yield Problem("control-plane-missing", "group control_plane", f"it {what}{more}", hint)
    elif count % 2 == 0 and not inventory.of("k3s_datastore_endpoint"):
        yield Problem(
            "control-plane-even",
            "group control_plane",
            f"it has {count} hosts ({', '.join(inventory.control_plane)}), an even number: etcd would survive no more "
            f"losses than with {count - 1}, and stops when half of them are gone",
            "Use 1, 3 or 5: take one out (perhaps to workers), or add one",
        )
    elif count > _MOST_CONTROL_PLANES:
        yield Problem(
            "control-plane-many",
            "group control_plane",
            f"it has {count} hosts; every write would wait for more than half of them",
            "Use 1, 3 or 5, and make the others workers",
        )
    if not inventory.workers:
        for name in inventory.groups:
            if _meant(name) == "workers" and set(inventory.groups[name]) - set(inventory.nodes):
                yield Problem(
                    "workers-misnamed",
                    f"group {name}",
                    f"its hosts ({', '.join(inventory.groups[name])}) are in neither control_plane nor workers",
                    "Call the group workers",
                )
    for host in sorted(set(inventory.control_plane) & set(inventory.workers)):
        yield Problem(
            "host-in-both-groups",
            f"host {host}",
            "it is in control_plane and in workers",
            "Leave it in control_plane; without workers a control plane takes other work by itself",
        )


_EXAMPLE = (
    "Put the hosts that run the API server into it, for example "
    "control_plane: {hosts: {cp1: {ansible_host: 192.0.2.11}}}"
)


def _meant(group: str) -> str:
    """Return the group of ours that a group of another name seems to mean, or ""."""
    if group in ("all", "ungrouped", *_OTHER_NAMES):
        return ""
    for ours, others in _OTHER_NAMES.items():
        if group.lower() in others or get_close_matches(group.lower(), [ours], cutoff=0.85):
            return ours
    return ""


def names(inventory: Inventory) -> Iterator[Problem]:
    """Find node names that Kubernetes would refuse, and names that two hosts share."""
    by_name: dict[str, list[str]] = defaultdict(list)
    variable = "k3s_node_name" if inventory.of("stagecraft_distribution") == "k3s" else "kubeadm_node_name"
    for host in inventory.nodes:
        name = inventory.of(variable, host) or host.lower()
        by_name[str(name).lower()].append(host)
        origin = inventory.origin(variable, host)
        if not is_dns_name(str(name)):
            better = re.sub(r"[^a-z0-9.-]+", "-", str(name).lower()).strip("-.") or "node1"
            yield Problem(
                "node-name-invalid",
                f"host {host}",
                f"its node name {name!r} is no DNS name (RFC 1123: lower-case letters, digits, '-' and '.', beginning "
                "and ending with a letter or digit, each part at most 63 characters)",
                f"Rename the host in the inventory, or set its {variable}, for example {better}",
                origin,
            )
    for name, hosts in by_name.items():
        if len(hosts) > 1:
            yield Problem(
                "node-name-twice",
                f"hosts {', '.join(hosts)}",
                f"they have the same node name {name!r} (case does not count)",
                f"Give each host a name of its own (its name in the inventory, or {variable})",
            )


def is_ipv6(text: str) -> bool:
    """Say whether `text` is an IPv6 address or network, or a list by commas with one in it."""
    for part in text.split(","):
        try:
            if ipaddress.ip_interface(part.strip()).version == 6:
                return True
        except ValueError:
            continue
    return False


def node_address(inventory: Inventory, host: str) -> tuple[str, Any]:
    """Return what the roles take for the address of `host`, and the variable that says it ("": its name does)."""
    for name in ("host_node_ip", "ansible_host"):
        value = inventory.hosts[host].get(name)
        if value:
            return name, value
    return "", host


def addresses(inventory: Inventory) -> Iterator[Problem]:
    """Find two entries for one machine, and addresses that no other node could reach."""
    by_login: dict[tuple[str, int], list[str]] = defaultdict(list)
    by_address: dict[str, list[str]] = defaultdict(list)
    for host in inventory.nodes:
        address = str(inventory.of("ansible_host", host) or host).lower()
        port = _port(inventory.of("ansible_port", host))
        by_login[address, port].append(host)
        if inventory.of("stagecraft_distribution") != "minikube":
            name, node = node_address(inventory, host)
            if node is not UNKNOWN:
                by_address[str(node).lower()].append(host)
                yield from _node_address(inventory, host, name, str(node))
            variable = (
                "k3s_node_address" if inventory.of("stagecraft_distribution") == "k3s" else "kubeadm_node_address"
            )
            own = inventory.of(variable, host)
            if own:
                yield from _node_address(inventory, host, variable, str(own))
    for (address, port), hosts in by_login.items():
        if len(hosts) > 1 and not all(_is_local(inventory, host) for host in hosts):
            yield Problem(
                "address-twice",
                f"hosts {', '.join(hosts)}",
                f"they have the same ansible_host and port, {address} port {port}: one machine cannot be two nodes",
                "Correct ansible_host, or remove one of the hosts",
                inventory.origin("ansible_host", hosts[-1]),
            )
    told = list(by_login.values())
    for address, hosts in by_address.items():
        if len(hosts) > 1 and hosts not in told:
            yield Problem(
                "node-address-twice",
                f"hosts {', '.join(hosts)}",
                f"they have the same address for the other nodes, {address}",
                f"Set {_NODE_ADDRESS}",
                inventory.origin("host_node_ip", hosts[-1]) or inventory.origin("ansible_host", hosts[-1]),
            )


def _node_address(inventory: Inventory, host: str, name: str, address: str) -> Iterator[Problem]:
    if is_ipv6(address):
        return
    try:
        ip = ipaddress.IPv4Address(address)
        bad = "an address that other nodes cannot reach"
        if not (ip.is_loopback or ip.is_unspecified or ip.is_multicast):
            return
    except ValueError:
        bad = "no IPv4 address"
    so = ", and the cluster would take it for the node's address" if name in ("", "ansible_host") else ""
    fix = f"Remove it, and set {_NODE_ADDRESS}" if name.endswith("_node_address") else f"Set {_NODE_ADDRESS}"
    yield Problem(
        "node-address-invalid",
        f"{name} of {host}" if name else f"host {host}",
        f"{address!r} is {bad}{so}",
        fix,
        inventory.origin(name, host),
    )


def connections(inventory: Inventory) -> Iterator[Problem]:
    """Find hosts that Ansible would not reach, or would mistake for the controller."""
    local = [host for host in inventory.nodes if _is_local(inventory, host)]
    if local and len(inventory.nodes) > 1:
        yield Problem(
            "local-with-several-hosts",
            f"ansible_connection of {', '.join(local)}",
            "it is local, so the controller itself would become a node beside the other hosts"
            if len(local) < len(inventory.nodes)
            else f"it is local for all {len(local)} hosts: they would all be the controller",
            "Remove ansible_connection: local, and set ansible_host",
            inventory.origin("ansible_connection", local[0]),
        )
    for setting in inventory.settings("ansible_port"):
        if not _is_port(setting.value):
            yield Problem(
                "ssh-port-invalid",
                setting.subject,
                f"{setting.value!r} is no port",
                f"Set it to a number from 1 to {_MOST_PORTS}, or leave it out for 22",
                setting.origin,
            )
    for name in ("ansible_ssh_private_key_file", "ansible_private_key_file"):
        for setting in inventory.settings(name):
            if isinstance(setting.value, str) and inventory.known.paths.get(setting.value, "file") != "file":
                yield Problem(
                    "key-file-missing",
                    setting.subject,
                    f"there is no file {setting.value} on the controller",
                    "Correct the path, or make the key with ssh-keygen -t ed25519",
                    setting.origin,
                )


def _is_local(inventory: Inventory, host: str) -> bool:
    connection = inventory.of("ansible_connection", host)
    if connection is None:
        return host in ("localhost", "127.0.0.1", "::1") and inventory.of("ansible_host", host) is None
    return connection in ("local", "ansible.builtin.local")


def _is_port(value: Any) -> bool:
    return not isinstance(value, bool) and str(value).isdecimal() and 0 < int(value) <= _MOST_PORTS


def _port(value: Any) -> int:
    return int(value) if _is_port(value) else 22
