# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about the networks of pods, services and nodes, and about the API server's address."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.hosts import (
    is_dns_name,
    is_ipv6,
    node_address,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.model import Inventory, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

#: kube-apiserver and kubeadm take at most this many bits for services, and kubeadm wants at least ten addresses.
_MOST_SERVICE_BITS = 20
_LEAST_SERVICE_BITS = 4
#: The controller manager cuts the pods' network into pieces of this size, one for each node.
_NODE_PREFIX = 24
_RESERVED = tuple(
    ipaddress.IPv4Network(n) for n in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
)
#: The variables of the networks of pods and of services, by distribution.
_NETWORKS = {"kubeadm": ("kubeadm_pod_cidr", "kubeadm_service_cidr"), "k3s": ("k3s_pod_cidr", "k3s_service_cidr")}
_ADDRESSES = ("ansible_host", "host_node_ip", "kubeadm_node_address", "k3s_node_address")
_EXAMPLES = {
    "kubeadm_pod_cidr": "10.244.0.0/16",
    "kubeadm_service_cidr": "10.96.0.0/16",
    "k3s_pod_cidr": "10.42.0.0/16",
    "k3s_service_cidr": "10.43.0.0/16",
}


def _names(inventory: Inventory) -> tuple[str, str]:
    """Return the variables of this distribution for the networks of pods and of services."""
    return _NETWORKS["k3s" if inventory.of("stagecraft_distribution") == "k3s" else "kubeadm"]


def networks(inventory: Inventory) -> Iterator[Problem]:
    """Find networks that are none, overlap, or are of a size that Kubernetes cannot use."""
    valid: dict[str, ipaddress.IPv4Network] = {}
    pods, services = _names(inventory)
    for name in (pods, services):
        text = inventory.of(name)
        if text is None or is_ipv6(str(text)):
            continue
        try:
            valid[name] = ipaddress.IPv4Network(str(text))
        except ValueError:
            yield _invalid(inventory, name, str(text))
            continue
        if "/" not in str(text):
            del valid[name]
            yield _invalid(inventory, name, str(text))
        elif any(valid[name].overlaps(reserved) for reserved in _RESERVED):
            yield Problem(
                "cidr-reserved",
                inventory.subject(name),
                f"{text} overlaps a range that is reserved for loopback, link-local or multicast addresses",
                f"Choose a private range, for example {_EXAMPLES[name]}",
                inventory.origin(name),
            )
    if pods in valid:
        yield from _pods(inventory, pods, valid[pods])
    if services in valid:
        yield from _services(inventory, services, valid[services])
    if pods in valid and services in valid:
        yield from _together(inventory, (pods, services), valid[pods], valid[services])
    yield from _nodes(inventory, valid)


def families(inventory: Inventory) -> Iterator[Problem]:
    """Find IPv6: the firewall, the pods' network and the kubeconfig are made for IPv4 alone."""
    places = [
        (s.subject, s.value, s.origin)
        for name in (*_names(inventory), "cni_pod_cidr")
        for s in inventory.settings(name)
    ]
    for setting in inventory.settings("kubeadm_api_endpoint"):
        host = str(setting.value).rpartition(":")[0].strip("[]")
        places.append((setting.subject, host, setting.origin))
    for host in inventory.nodes:
        places.append((f"host {host}", host, ""))
        places += [(f"{name} of {host}", inventory.of(name, host), inventory.origin(name, host)) for name in _ADDRESSES]
    for subject, value, origin in places:
        if is_ipv6(str(value)):
            found = f"not supported yet: {'dual-stack' if ',' in str(value) else 'IPv6'} ({value})"
            yield Problem("ipv6-unsupported", subject, found, "Use IPv4 alone", origin)


def _invalid(inventory: Inventory, name: str, text: str) -> Problem:
    try:
        fix = f"Write {ipaddress.IPv4Network(text, strict=False)}" if "/" in text else ""
        found = (
            f"{text!r} is an address in a network, not the network itself" if fix else f"{text!r} has no prefix length"
        )
    except ValueError:
        found, fix = f"{text!r} is no network", ""
    example = f"Write an address and a prefix length, for example {_EXAMPLES[name]}"
    return Problem("cidr-invalid", inventory.subject(name), found, fix or example, inventory.origin(name))


def _pods(inventory: Inventory, name: str, pods: ipaddress.IPv4Network) -> Iterator[Problem]:
    room = 2 ** (_NODE_PREFIX - pods.prefixlen) if pods.prefixlen <= _NODE_PREFIX else 0
    if room < len(inventory.nodes):
        bits = max(len(inventory.nodes) - 1, 0).bit_length()
        yield Problem(
            "pod-cidr-too-small",
            inventory.subject(name),
            f"{pods} has room for {room} nodes (a /{_NODE_PREFIX} each), and there are {len(inventory.nodes)}",
            f"Use a /{_NODE_PREFIX - bits} or larger, better a /16; it cannot be changed later",
            inventory.origin(name),
        )


def _services(inventory: Inventory, name: str, services: ipaddress.IPv4Network) -> Iterator[Problem]:
    bits = services.max_prefixlen - services.prefixlen
    origin = inventory.origin(name)
    subject = inventory.subject(name)
    if bits > _MOST_SERVICE_BITS:
        smallest = services.max_prefixlen - _MOST_SERVICE_BITS
        found = f"{services} is too large for services: kube-apiserver refuses anything beyond a /{smallest}"
        yield Problem(
            "service-cidr-too-large", subject, found, f"Use a /{smallest} or smaller; a /16 is plenty", origin
        )
    if bits < _LEAST_SERVICE_BITS:
        largest = services.max_prefixlen - _LEAST_SERVICE_BITS
        found = f"{services} has {services.num_addresses} addresses: DNS takes the tenth, which must be in it"
        yield Problem("service-cidr-too-small", subject, found, f"Use a /{largest} or larger, better a /16", origin)


def _together(
    inventory: Inventory, names: tuple[str, str], pods: ipaddress.IPv4Network, services: ipaddress.IPv4Network
) -> Iterator[Problem]:
    origin = inventory.origin(names[1]) or inventory.origin(names[0])
    subject = " and ".join(names)
    if pods.overlaps(services):
        found = f"{pods} and {services} overlap, so an address could mean a pod or a service"
        fix = "Choose networks that have no address in common, for example " + " and ".join(
            _EXAMPLES[name] for name in names
        )
        yield Problem("cidr-overlap", subject, found, fix, origin)


def _nodes(inventory: Inventory, valid: dict[str, ipaddress.IPv4Network]) -> Iterator[Problem]:
    for host in inventory.nodes:
        name, text = node_address(inventory, host)
        try:
            address = ipaddress.IPv4Address(str(text))
        except ValueError:
            continue
        for variable, network in valid.items():
            if address in network:
                yield Problem(
                    "node-in-cluster-network",
                    f"{name} of {host}" if name else f"host {host}",
                    f"{address} lies in {variable} {network}, so pods or services would hide the node",
                    f"Choose a {variable} that holds no address of the nodes, or correct the address",
                    inventory.origin(name, host),
                )


def api_server(inventory: Inventory) -> Iterator[Problem]:
    """Find addresses and ports of the API server, and names in its certificate, that cannot work."""
    for setting in inventory.settings("kubeadm_api_endpoint"):
        wrong = _endpoint_problem(str(setting.value)) if setting.value else ""
        if wrong:
            yield Problem(
                "endpoint-invalid",
                setting.subject,
                f"{setting.value!r} {wrong}",
                "Write HOST:PORT of the load balancer before the API servers, for example api.example.com:6443, or "
                "leave it empty: every node then runs a small one for itself",
                setting.origin,
            )
    api, balancer = inventory.of("kubeadm_api_port"), inventory.of("kubeadm_api_balancer_port")
    if not inventory.of("kubeadm_api_endpoint") and api is not None and str(api) == str(balancer):
        yield Problem(
            "port-twice",
            "kubeadm_api_port and kubeadm_api_balancer_port",
            f"both are {api}: on a control plane the API server and the load balancer would want the same port",
            "Use kubeadm_api_port: 6443, or choose another kubeadm_api_balancer_port",
            inventory.origin("kubeadm_api_balancer_port") or inventory.origin("kubeadm_api_port"),
        )
    for setting in inventory.settings("kubeadm_certificate_sans"):
        wrong_names = [str(n) for n in setting.value if not _is_san(str(n))] if isinstance(setting.value, list) else []
        if wrong_names:
            yield Problem(
                "certificate-name-invalid",
                setting.subject,
                f"{', '.join(map(repr, wrong_names))} cannot stand in a certificate",
                "Write DNS names (*.example.com allowed) and IP addresses, without scheme or port",
                setting.origin,
            )


def _endpoint_problem(endpoint: str) -> str:
    if "://" in endpoint:
        return "is a URL"
    host, colon, port = endpoint.rpartition(":")
    if not colon:
        return "has no port"
    if not port.isdecimal() or not 0 < int(port) <= 65535:
        return f"has no valid port ({port!r})"
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        return "" if is_dns_name(host.lower()) else f"has no valid host ({host!r})"
    return "is a loopback address, which is another machine on every node" if loopback else ""


def _is_san(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return is_dns_name(name.lower().removeprefix("*."))
    return True
