# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about the settings of K3s: flags that there are not, and what could not start or not be undone."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.model import Inventory, Problem, Setting
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.k3s.flags import load_flags, wrong_type

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Flags that the role writes itself, and what to use instead.
_MANAGED = {
    "agent-token": "the first server makes it",
    "agent-token-file": "the first server makes it",
    "cluster-cidr": "set k3s_pod_cidr",
    "cluster-domain": "set k3s_service_domain",
    "cluster-init": "set k3s_datastore: etcd",
    "cluster-reset": "set k3s_restore_snapshot",
    "cluster-reset-restore-path": "set k3s_restore_snapshot",
    "config": "the role writes the file that K3s reads by itself",
    "data-dir": "K3s keeps its data in /var/lib/rancher/k3s; mount a disk there",
    "datastore-endpoint": "set k3s_datastore_endpoint",
    "etcd-snapshot-dir": "snapshots are looked for in /var/lib/rancher/k3s/server/db/snapshots; mount a disk there",
    "https-listen-port": "set k3s_port",
    "kubelet-arg": "set k3s_kubelet_arguments",
    "node-ip": "set host_node_ip",
    "node-label": "set k3s_node_labels",
    "node-name": "set k3s_node_name",
    "node-taint": "set k3s_node_taints",
    "secrets-encryption": "set k3s_secrets_encryption",
    "server": "the role knows the servers from the inventory",
    "service-cidr": "set k3s_service_cidr",
    "tls-san": "set k3s_certificate_sans",
    "token": "set k3s_token_file",
    "token-file": "set k3s_token_file",
    "with-node-id": "set k3s_node_name",
    "write-kubeconfig": "the role kubeconfig reads /etc/rancher/k3s/k3s.yaml",
    "write-kubeconfig-mode": "the administrator's credentials are for root alone",
}
#: Flags of older releases, and what they are called today.
_RENAMED = {
    "cluster-secret": "set k3s_token_file",
    "disable-selinux": "use selinux: false",
    "kube-cloud-controller-arg": "use kube-cloud-controller-manager-arg",
    "kube-controller-arg": "use kube-controller-manager-arg",
    "no-deploy": "use disable",
    "no-flannel": "use flannel-backend: none",
}
_SCHEMES = ("etcd", "http", "https", "mysql", "nats", "postgres", "postgresql")
_TAINT = re.compile(r"[A-Za-z0-9./_-]+(=[A-Za-z0-9._-]*)?:(NoSchedule|PreferNoSchedule|NoExecute)")


def _is_k3s(inventory: Inventory) -> bool:
    return bool(inventory.of("stagecraft_distribution") == "k3s")


def flags(inventory: Inventory) -> Iterator[Problem]:
    """Find keys of the configuration that K3s does not have, or that the role writes itself, and values it would refuse."""
    for name, known, other in (
        ("k3s_config", load_flags().server, {}),
        ("k3s_agent_config", load_flags().agent, load_flags().server),
    ):
        for setting in inventory.settings(name) if _is_k3s(inventory) else ():
            for key, value in setting.value.items() if isinstance(setting.value, dict) else ():
                yield from _flag(setting, str(key), value, known=dict(known), other=dict(other))
            yield from _components(setting)
            yield from _s3(inventory, setting)


def _flag(setting: Setting, key: str, value: Any, *, known: dict[str, str], other: dict[str, str]) -> Iterator[Problem]:
    plain = key.replace("_", "-").removesuffix("+")
    if key in _MANAGED:
        found, fix = f"{key} is set by the role", _sentence(_MANAGED[key])
        yield Problem("k3s-flag-managed", setting.subject, found, fix, setting.origin)
    elif key in _RENAMED:
        found = f"{key} is the name that older releases had for it"
        yield Problem("k3s-flag-renamed", setting.subject, found, _sentence(_RENAMED[key]), setting.origin)
    elif key not in known:
        if key in other:
            found, fix = f"{key} is a flag of servers, and agents have none of this name", "Move it to k3s_config"
        else:
            near = [plain] if plain in known else get_close_matches(plain, known, n=1, cutoff=0.6)
            found = f"K3s has no flag {key}, and would pass over it with a line in its log"
            fix = f"Did you mean {near[0]}?" if near else "Look at k3s server --help"
        yield Problem("k3s-flag-unknown", setting.subject, found, fix, setting.origin)
    elif wrong := wrong_type(known[key], value):
        found = f"{key}: {value!r} {wrong}"
        yield Problem("k3s-flag-value", setting.subject, found, "Correct the value", setting.origin)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _components(setting: Setting) -> Iterator[Problem]:
    wanted = setting.value.get("disable", []) if isinstance(setting.value, dict) else []
    known = load_flags().disable
    for item in [wanted] if isinstance(wanted, str) else wanted if isinstance(wanted, list) else []:
        for part in str(item).split(","):
            if part.strip() not in known:
                found = f"disable: K3s has no component {part.strip()!r}"
                fix = f"There are {', '.join(known)}"
                yield Problem("k3s-component-unknown", setting.subject, found, fix, setting.origin)


def _s3(inventory: Inventory, setting: Setting) -> Iterator[Problem]:
    value = setting.value if isinstance(setting.value, dict) else {}
    if value.get("etcd-s3") is not True:
        return
    if not value.get("etcd-s3-bucket") and not value.get("etcd-s3-config-secret"):
        found = "etcd-s3 is true, and neither etcd-s3-bucket nor etcd-s3-config-secret says where to"
        yield Problem("k3s-s3-without-bucket", setting.subject, found, "Set etcd-s3-bucket", setting.origin)
    if _datastore(inventory) != "etcd":
        found = f"etcd-s3 is true, and the datastore is {_datastore(inventory)}, of which K3s makes no snapshots"
        yield Problem("k3s-s3-without-etcd", setting.subject, found, "Set k3s_datastore: etcd", setting.origin)


def _datastore(inventory: Inventory) -> str:
    """Return what a new cluster of this inventory would have."""
    chosen = str(inventory.of("k3s_datastore") or "auto")
    if inventory.of("k3s_datastore_endpoint"):
        return "external"
    if chosen != "auto":
        return chosen
    return "etcd" if len(inventory.control_plane) > 1 else "sqlite"


def datastore(inventory: Inventory) -> Iterator[Problem]:
    """Find datastores that contradict the servers, or that K3s does not know."""
    if not _is_k3s(inventory):
        return
    chosen, endpoint = inventory.of("k3s_datastore"), str(inventory.of("k3s_datastore_endpoint") or "")
    origin = inventory.origin("k3s_datastore")
    if chosen == "external" and not endpoint:
        found = "it is external, and k3s_datastore_endpoint is not set"
        fix = "Set k3s_datastore_endpoint, for example postgres://USER:PASSWORD@HOST:5432/k3s"
        yield Problem("k3s-datastore-endpoint-missing", "k3s_datastore", found, fix, origin)
    elif endpoint and chosen not in (None, "auto", "external"):
        found = f"it is {chosen}, and k3s_datastore_endpoint is set, too"
        fix = "Remove one: an endpoint is a datastore outside of the servers"
        yield Problem("k3s-datastore-twice", "k3s_datastore", found, fix, origin)
    if endpoint and endpoint.partition("://")[0] not in _SCHEMES:
        found = f"K3s knows no datastore of the kind {endpoint.partition('://')[0]!r}"
        fix = f"Write it as KIND://…, with one of {', '.join(_SCHEMES)}"
        place = inventory.origin("k3s_datastore_endpoint")
        yield Problem("k3s-datastore-unknown", "k3s_datastore_endpoint", found, fix, place)
    if _datastore(inventory) == "sqlite" and len(inventory.control_plane) > 1:
        found = f"it is sqlite, which serves one server, and control_plane has {len(inventory.control_plane)}"
        yield Problem("k3s-sqlite-several-servers", "k3s_datastore", found, "Use etcd, or one server", origin)


def token(inventory: Inventory) -> Iterator[Problem]:
    """Find a token that is not there, or stands where everybody can read it."""
    for setting in inventory.settings("k3s_token_file") if _is_k3s(inventory) else ():
        if setting.value and inventory.known.paths.get(str(setting.value)) != "file":
            found = f"there is no file {setting.value} on the controller"
            fix = "Correct the path, or leave it empty: the first server then makes the token itself"
            yield Problem("k3s-token-file-missing", setting.subject, found, fix, setting.origin)


def registries(inventory: Inventory) -> Iterator[Problem]:
    """Find a registries.yaml that K3s would not start with, or pass over."""
    for setting in inventory.settings("k3s_registries") if _is_k3s(inventory) else ():
        value = setting.value if isinstance(setting.value, dict) else {}
        for wrong in _registry_problems(value):
            fix = "Write {mirrors: {docker.io: {endpoint: [https://mirror.example.com]}}, configs: {…}}"
            yield Problem("k3s-registries-invalid", setting.subject, wrong, fix, setting.origin)


def _registry_problems(value: dict[str, Any]) -> Iterator[str]:
    for key in value:
        if key not in ("mirrors", "configs"):
            yield f"{key!r} is neither mirrors nor configs"
    for name, mirror in (value.get("mirrors") or {}).items():
        endpoints = (mirror or {}).get("endpoint") if isinstance(mirror, dict) or mirror is None else None
        if not isinstance(endpoints, list | type(None)):
            yield f"the endpoint of {name} is no list"
            continue
        for endpoint in endpoints or []:
            parts = urlsplit(str(endpoint))
            if parts.scheme not in ("http", "https") or not parts.netloc:
                yield f"the endpoint {endpoint!r} of {name} is no http(s) URL"


def nodes(inventory: Inventory) -> Iterator[Problem]:
    """Find taints and arguments of the kubelet with which a node would not start."""
    for setting in inventory.settings("k3s_node_taints") if _is_k3s(inventory) else ():
        for taint in setting.value if isinstance(setting.value, list) else ():
            if not _TAINT.fullmatch(str(taint)):
                fix = "Write KEY=VALUE:EFFECT, for example example.com/x=y:NoSchedule"
                yield Problem("k3s-taint-invalid", setting.subject, f"{taint!r} is no taint", fix, setting.origin)
    for setting in inventory.settings("k3s_kubelet_arguments") if _is_k3s(inventory) else ():
        for key, value in setting.value.items() if isinstance(setting.value, dict) else ():
            if isinstance(value, dict | list | bool) or str(key).startswith("-"):
                found = f"{key}: {value!r} is no flag of the kubelet with its value"
                fix = 'Write {max-pods: "60", fail-swap-on: "false"}: names without dashes in front, values as text'
                yield Problem("k3s-kubelet-argument-invalid", setting.subject, found, fix, setting.origin)
