# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a kubeadm cluster: who initializes, who joins, who is cleaned first, whose configuration changed.

Pure functions of what ``kubeadm_info`` has seen on every host and of what the inventory declares. The same plan serves
check mode and the real run.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

CLEAN = "clean"
INITIALIZE = "initialize"
JOIN = "join"
CONVERGE = "converge"

CERTIFICATE_WARNING = 60 * 86400.0
"""Seconds before the end of a certificate from which on it is told."""


@dataclasses.dataclass(frozen=True)
class Desired:
    """What the inventory declares.

    control_planes, workers  inventory names in inventory order
    node_names               inventory name → node name
    environment              the environment's name
    version                  Kubernetes version without ``v``
    settings_digest          digest of the cluster's configuration
    encryption_at_rest       whether Secrets are to be encrypted in etcd
    """

    control_planes: tuple[str, ...]
    workers: tuple[str, ...]
    node_names: Mapping[str, str]
    environment: str
    version: str
    settings_digest: str
    encryption_at_rest: bool

    @property
    def hosts(self) -> tuple[str, ...]:
        return self.control_planes + self.workers

    def role(self, host: str) -> str:
        """``control_plane`` or ``worker``."""
        return "control_plane" if host in self.control_planes else "worker"


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be done, or why nothing may be done.

    primary   the control plane that initializes, or that newcomers join through; None where there are problems
    steps     inventory name → its steps in order, out of clean, initialize, join, converge; hosts without work are absent
    newcomers node names of the control planes that join: whatever a lost host of that name left must go first
    unmanaged nodes of the cluster that the inventory does not name
    problems  reasons to change nothing at all, each with its remedy
    warnings  what the admin should know though it stops nothing
    """

    primary: str | None
    steps: Mapping[str, tuple[str, ...]]
    newcomers: tuple[str, ...]
    unmanaged: tuple[str, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.steps


def make_plan(desired: Desired, observed: Mapping[str, Mapping[str, Any]], now: float = 0.0) -> Plan:
    """The plan for the hosts in ``observed`` (inventory name → what ``kubeadm_info`` returned there).

    ``now`` in seconds since 1970 decides whose certificate ends soon.

    Hosts that were not reached in this run are missing from ``observed``: nothing is planned for them, and nothing is
    assumed of them.
    """
    problems = [text for host in desired.hosts if host in observed for text in _problems(desired, host, observed[host])]
    members = [host for host in desired.control_planes if observed.get(host, {}).get("membership") == "member"]
    serving = [host for host in members if (observed[host].get("api") or {}).get("ready")]
    nodes = {node["name"]: node for host in serving[:1] for node in observed[host]["api"]["nodes"]}
    problems += _cluster_problems(desired, observed, members, serving)
    if not problems and serving:
        problems += _lost_nodes(desired, observed, nodes)
    if problems:
        return Plan(None, {}, (), (), tuple(problems))
    primary = serving[0] if serving else desired.control_planes[0]
    steps = {
        host: _steps(desired, host, observed[host], primary, bool(serving))
        for host in desired.hosts
        if host in observed
    }
    known = {desired.node_names[host] for host in desired.hosts}
    newcomers = [desired.node_names[host] for host in desired.control_planes if JOIN in steps.get(host, ())]
    return Plan(
        primary=primary,
        steps={host: todo for host, todo in steps.items() if todo},
        newcomers=tuple(newcomers),
        unmanaged=tuple(sorted(set(nodes) - known)),
        problems=(),
        warnings=(
            *_unmanaged_nodes(sorted(set(nodes) - known)),
            *_hosts_left_out(desired, observed),
            *_ending_certificates(observed, now),
        ),
    )


def _unmanaged_nodes(names: Sequence[str]) -> list[str]:
    return [f"node {name} is in the cluster and not in the inventory: it is left alone" for name in names]


def _hosts_left_out(desired: Desired, observed: Mapping[str, Mapping[str, Any]]) -> list[str]:
    left_out = [host for host in desired.hosts if host not in observed]
    return [f"not looked at in this run (--limit): {', '.join(left_out)}"] if left_out else []


def _ending_certificates(observed: Mapping[str, Mapping[str, Any]], now: float) -> list[str]:
    """Certificates of kubeadm hold for a year; an upgrade of the cluster renews them, nothing else does."""
    found = []
    for host, seen in observed.items():
        ends = (seen.get("certificate") or {}).get("not_after")
        if ends is not None and ends - now < CERTIFICATE_WARNING:
            day = time.strftime("%Y-%m-%d", time.gmtime(ends))
            found.append(
                f"{host}: the API server's certificate ends on {day}. Renew all of kubeadm's: kubeadm certs renew all, then restart "
                "the control plane's static pods, one host after the other (docs/operator.md, certificates)"
            )
    return found


def _problems(desired: Desired, host: str, seen: Mapping[str, Any]) -> list[str]:
    """Why this host, looked at alone, must not be touched."""
    found = []
    state = seen["membership"]
    journal = seen.get("member") or seen.get("begun") or {}
    if state == "foreign":
        found.append(
            f"{host}: carries a cluster that this collection did not make ({', '.join(seen['traces'])}). "
            "Take it out of the inventory, or clean it with playbooks/reset.yml -e reset_foreign=true."
        )
    if state == "damaged":
        found.append(
            f"{host}: was a member, but /etc/kubernetes/kubelet.conf is gone. "
            f"Restore it from a backup, or clean the host: playbooks/reset.yml --limit {host}."
        )
    owner = journal.get("environment", desired.environment)
    if owner != desired.environment:
        found.append(
            f"{host}: belongs to environment {owner!r}, and this inventory is {desired.environment!r}. "
            "Use the right inventory, or reset the host in its own environment first."
        )
    elif state == "member":
        found += _member_problems(desired, host, journal)
        if seen["encryption_key"] and not desired.encryption_at_rest:
            found.append(
                f"{host}: Secrets are encrypted in etcd, and kubeadm_encryption_at_rest is false. Without the key the API server "
                "could read none of them: set kubeadm_encryption_at_rest: true."
            )
    if state in ("absent", "interrupted") and not seen["address_is_local"]:
        found.append(
            f"{host}: the node address declared for it is on none of its interfaces. "
            "Set host_node_ip to the address that the other nodes reach (ip addr on the host shows them)."
        )
    return found


def _member_problems(desired: Desired, host: str, journal: Mapping[str, Any]) -> list[str]:
    found = []
    if journal.get("role") != desired.role(host):
        found.append(
            f"{host}: is a {journal.get('role')} of the cluster and stands in the group of another role ({desired.role(host)}). "
            f"Move it back, or reset it first: playbooks/reset.yml --limit {host}."
        )
    if journal.get("kubernetes_version") != desired.version:
        found.append(
            f"{host}: runs Kubernetes {journal.get('kubernetes_version')}, and {desired.version} is declared. "
            "This release of the collection does not change the version of a running cluster: set "
            f'stagecraft_kubernetes_version: "{journal.get("kubernetes_version")}".'
        )
    return found


def _cluster_problems(
    desired: Desired, observed: Mapping[str, Mapping[str, Any]], members: Sequence[str], serving: Sequence[str]
) -> list[str]:
    """Why the cluster as a whole must not be touched: never initialize a second one beside one that is only not reached."""
    if serving:
        return []
    if members:
        reasons = "; ".join(
            f"{host}: {(observed[host].get('api') or {}).get('problem') or 'not ready'}" for host in members
        )
        return [
            f"the cluster exists, but none of its API servers answers ({reasons}). "
            "Look at journalctl -u kubelet and crictl ps -a on these hosts."
        ]
    joined = [host for host in desired.workers if observed.get(host, {}).get("membership") == "member"]
    unseen = [host for host in desired.control_planes if host not in observed]
    if unseen:
        return [
            f"no control plane of a cluster was found, and {', '.join(unseen)} could not be looked at. "
            "Making a second cluster beside an unreachable one cannot be undone: bring the hosts back, or include them in --limit."
        ]
    if joined:
        return [
            f"{', '.join(joined)}: member of a cluster of which no control plane is left. "
            f"Restore a control plane from a backup, or reset: playbooks/reset.yml --limit {','.join(joined)}."
        ]
    return []


def _lost_nodes(
    desired: Desired, observed: Mapping[str, Mapping[str, Any]], nodes: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Hosts that hold themselves for members while the cluster does not know them."""
    return [
        f"{host}: was joined, but the cluster has no node {desired.node_names[host]!r} any more. "
        f"Clean the host, then it joins again: playbooks/reset.yml --limit {host}."
        for host in desired.hosts
        if observed.get(host, {}).get("membership") == "member" and desired.node_names[host] not in nodes
    ]


def _steps(desired: Desired, host: str, seen: Mapping[str, Any], primary: str, exists: bool) -> tuple[str, ...]:
    state = seen["membership"]
    if state == "member":
        return (CONVERGE,) if _drifted(desired, host, seen) else ()
    begin = INITIALIZE if host == primary and not exists else JOIN
    return (CLEAN, begin) if state == "interrupted" else (begin,)


def _drifted(desired: Desired, host: str, seen: Mapping[str, Any]) -> bool:
    """Whether a control plane runs with another configuration, or its certificate lacks a name."""
    if desired.role(host) != "control_plane":
        return False
    return bool(seen["missing_sans"]) or seen["member"].get("settings_digest") != desired.settings_digest
