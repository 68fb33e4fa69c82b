# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about the settings of Kubernetes' own programs, and about the pods' network."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.model import Inventory, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Keys of a pass-through that a role writes itself, and the variable (or the reason) to use instead.
_MANAGED: dict[str, dict[str, str]] = {
    "kubeadm_kubelet_config": {
        "apiVersion": "the role writes it",
        "kind": "the role writes it",
        "cgroupDriver": "containerd and the kubelet must have the same one, and both are set to systemd",
        "containerRuntimeEndpoint": "the role containerd sets it",
        "staticPodPath": "kubeadm puts the control plane's pods there",
        "clusterDNS": "it follows kubeadm_service_cidr",
        "clusterDomain": "set kubeadm_service_domain",
        "rotateCertificates": "certificates must go on being renewed",
    },
    "kubeadm_cluster_config": {
        "apiVersion": "the role writes it",
        "kind": "the role writes it",
        "clusterName": "set stagecraft_environment",
        "kubernetesVersion": "set stagecraft_kubernetes_version",
        "controlPlaneEndpoint": "set kubeadm_api_endpoint",
        "networking.podSubnet": "set kubeadm_pod_cidr",
        "networking.serviceSubnet": "set kubeadm_service_cidr",
        "networking.dnsDomain": "set kubeadm_service_domain",
        "apiServer.certSANs": "set kubeadm_certificate_sans",
        "etcd.external": "etcd runs on the control planes",
    },
    "kubeadm_kube_proxy_config": {
        "apiVersion": "the role writes it",
        "kind": "the role writes it",
        "clusterCIDR": "set kubeadm_pod_cidr",
    },
}
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
#: Labels below kubernetes.io that a kubelet may give itself; with any other it refuses to start.
_OWN_LABELS = (
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
)
_OWN_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")
_MOST_PORTS = 65535
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def managed(inventory: Inventory) -> Iterator[Problem]:
    """Find keys that the admin sets in a pass-through although a role sets them itself."""
    for name, keys in _MANAGED.items():
        for setting in inventory.settings(name):
            for key, instead in keys.items():
                if isinstance(setting.value, dict) and _has(setting.value, key.split(".")):
                    found = f"{key} is managed by this collection: {instead}"
                    yield Problem("setting-managed", setting.subject, found, f"Remove {key}", setting.origin)


def swap(inventory: Inventory) -> Iterator[Problem]:
    """Find hosts that keep swap beside a kubelet that refuses to start with it."""
    for setting in inventory.settings("host_swap"):
        kubelet = inventory.of("kubeadm_kubelet_config", setting.hosts[0])
        if setting.value == "keep" and not (isinstance(kubelet, dict) and kubelet.get("failSwapOn") is False):
            yield Problem(
                "swap-kept",
                setting.subject,
                "swap is kept, but the kubelet refuses to start with it",
                "Set kubeadm_kubelet_config: {failSwapOn: false, memorySwap: {swapBehavior: LimitedSwap}}, or "
                "host_swap: disabled",
                setting.origin,
            )


def preflight(inventory: Inventory) -> Iterator[Problem]:
    """Find a preflight that is switched off as a whole."""
    for setting in inventory.settings("kubeadm_ignore_preflight_errors"):
        if isinstance(setting.value, list) and "all" in [str(item).lower() for item in setting.value]:
            found = "'all' switches off every check of kubeadm, those for the leftovers of another cluster included"
            yield Problem("preflight-off", setting.subject, found, "Name the checks that may fail", setting.origin)


def labels(inventory: Inventory) -> Iterator[Problem]:
    """Find labels and taints with which a kubelet would not start."""
    for setting in inventory.settings("kubeadm_node_labels"):
        for key, value in setting.value.items() if isinstance(setting.value, dict) else ():
            wrong = _label_problem(str(key), value)
            if wrong:
                fix = 'Write it like example.com/role: "web", below a domain of your own'
                yield Problem("label-invalid", setting.subject, f"{key}: {value!r} {wrong}", fix, setting.origin)
    for setting in inventory.settings("kubeadm_node_taints"):
        for taint in setting.value if isinstance(setting.value, list) else ():
            if not isinstance(taint, dict) or not taint.get("key") or taint.get("effect") not in _EFFECTS:
                fix = f"Write {{key: example.com/x, value: y, effect: one of {', '.join(_EFFECTS)}}}"
                yield Problem("taint-invalid", setting.subject, f"{taint!r} is no taint", fix, setting.origin)


def _label_problem(key: str, value: Any) -> str:
    domain, _slash, name = key.rpartition("/")
    if not _LABEL_NAME.fullmatch(name):
        return "has a key that is no label name"
    if not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
        return "has a value that is no label value (text of at most 63 letters, digits, '.', '_' and '-')"
    kubernetes = any(domain == d or domain.endswith(f".{d}") for d in ("kubernetes.io", "k8s.io"))
    own = key in _OWN_LABELS or any(domain == d or domain.endswith(f".{d}") for d in _OWN_DOMAINS)
    return "is a label that a node may not give itself" if kubernetes and not own else ""


def firewall(inventory: Inventory) -> Iterator[Problem]:
    """Find firewall openings that would open nothing, or more than is meant."""
    for setting in inventory.settings("host_firewall_allow"):
        for rule in setting.value if isinstance(setting.value, list) else ():
            wrong = _opening_problem(rule)
            if wrong:
                fix = "Write {port: 443, protocol: tcp, from: 10.0.0.0/8}; port may be a range, 8000-8010, and without "
                fix += "from everybody is let in"
                yield Problem("firewall-invalid", setting.subject, f"{rule!r} {wrong}", fix, setting.origin)


def _opening_problem(rule: Any) -> str:
    if not isinstance(rule, dict):
        return "is no mapping"
    unknown = [str(key) for key in rule if key not in ("port", "protocol", "from")]
    if unknown:
        return f"has a key that nothing reads, {', '.join(unknown)}"
    port = str(rule.get("port", ""))
    ends = [int(part) for part in port.split("-")] if re.fullmatch(r"\d{1,5}(-\d{1,5})?", port) else []
    if not ends or not all(0 < end <= _MOST_PORTS for end in ends) or ends != sorted(ends):
        return f"has no valid port (1 to {_MOST_PORTS})"
    if rule.get("protocol", "tcp") not in ("tcp", "udp"):
        return "has a protocol that is neither tcp nor udp"
    return "" if _is_source(rule.get("from", "0.0.0.0/0")) else "lets in from what is neither a network nor an address"


def _is_source(text: Any) -> bool:
    try:
        return isinstance(text, str) and bool(ipaddress.ip_network(text))
    except ValueError:
        return False


def minimum(inventory: Inventory) -> Iterator[Problem]:
    """Find sizes of hosts that are none."""
    for setting in inventory.settings("host_minimum"):
        for key, value in setting.value.items() if isinstance(setting.value, dict) else ():
            if key not in ("cpus", "memory_mb", "disk_mb") or not str(value).isdecimal():
                fix = "Write {cpus: 2, memory_mb: 4096, disk_mb: 20000}, each a whole number"
                yield Problem("minimum-invalid", setting.subject, f"{key}: {value!r} is no size", fix, setting.origin)


def pod_network(inventory: Inventory) -> Iterator[Problem]:
    """Find network plugins that cannot serve these hosts. K3s and minikube bring their own."""
    if inventory.of("stagecraft_distribution") in ("k3s", "minikube"):
        return
    plugin = inventory.of("cni_plugin")
    manifest = inventory.of("cni_manifest")
    origin = inventory.origin("cni_plugin")
    if plugin == "bridge" and len(inventory.nodes) > 1:
        found = (
            f"the bridge plugin serves one node, and there are {len(inventory.nodes)}: pods could not reach other nodes"
        )
        yield Problem("cni-bridge-several-nodes", "cni_plugin", found, "Use flannel, or auto", origin)
    if plugin == "manifest" and not manifest:
        fix = "Set it to the file with the network's objects, or use cni_plugin: auto"
        yield Problem("cni-manifest-missing", "cni_manifest", "it is not set, and cni_plugin is manifest", fix, origin)
    elif plugin == "manifest" and inventory.known.paths.get(str(manifest)) != "file":
        found = f"there is no file {manifest} on the controller"
        yield Problem(
            "cni-manifest-not-found", "cni_manifest", found, "Correct the path", inventory.origin("cni_manifest")
        )
    elif manifest and plugin != "manifest":
        found = f"it is set, but cni_plugin is {plugin}, so nothing reads it"
        fix = "Set cni_plugin: manifest, or remove it"
        yield Problem("cni-manifest-unused", "cni_manifest", found, fix, inventory.origin("cni_manifest"))
    yield from _policies(inventory)


def _policies(inventory: Inventory) -> Iterator[Problem]:
    engine = inventory.of("cni_network_policy")
    source = str(inventory.of("artifacts_mirror") or inventory.of("artifacts_bundle") or "")
    mirror = inventory.known.mirrors.get(source)
    if engine not in ("auto", "kube-router") or mirror is None or not mirror.files:
        return
    directory = inventory.known.policy_image_directory
    if any(path.startswith(f"{directory}/") for path in mirror.files):
        return
    found = f"{source} does not hold kube-router's image ({directory}), the engine that enforces NetworkPolicies"
    if engine == "kube-router":
        fix = "Add the image to the mirror, or use cni_network_policy: none and know that policies have no effect"
        level = "error"
    else:
        found += ": policies will be accepted and not enforced"
        fix = "Add the image to the mirror, or say so with cni_network_policy: none"
        level = "warning"
    yield Problem(
        "network-policy-not-enforced",
        inventory.subject("cni_network_policy"),
        found,
        fix,
        inventory.origin("cni_network_policy"),
        "error" if level == "error" else "warning",
    )


def _has(value: Mapping[str, Any], path: list[str]) -> bool:
    for key in path[:-1]:
        inner = value.get(key)
        if not isinstance(inner, dict):
            return False
        value = inner
    return path[-1] in value
