# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a K3s cluster: who makes it, who joins, who is upgraded or restarted, in which order, and what is saved first.

Pure functions of what ``k3s_info`` has seen on every host, of what ``host_state`` predicts for it, and of what the
inventory declares. The same plan serves check mode and the real run.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.k3s.version import minor, numbers

INITIALIZE = "initialize"
JOIN = "join"
UPGRADE = "upgrade"
RESTART = "restart"
RESTORE = "restore"
CLEAN = "clean"
FORGET = "forget"
RELEASE = "release"

SERVER = "server"
AGENT = "agent"
SQLITE = "sqlite"
ETCD = "etcd"
EXTERNAL = "external"
AUTO = "auto"

CERTIFICATE_WARNING = 45 * 86400.0
"""Seconds before the end of a certificate from which on it is told; K3s renews its own at a restart 120 days before."""

Seen = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Desired:
    """What the inventory declares.

    control_planes, workers  inventory names in inventory order
    node_names, addresses    inventory name → node name, address that the other nodes reach
    environment              the environment's name
    version                  version of K3s, v1.36.3+k3s1
    datastore                auto, sqlite, etcd or external
    port                     the port of the servers
    encryption               whether Secrets are encrypted in the datastore
    drain                    whether a node is emptied before its version changes
    batch                    agents whose version changes at the same time
    snapshot                 the snapshot to go back to, for a version older than the one that runs; else empty
    """

    control_planes: tuple[str, ...]
    workers: tuple[str, ...]
    node_names: Mapping[str, str]
    addresses: Mapping[str, str]
    environment: str
    version: str
    datastore: str = AUTO
    port: int = 6443
    encryption: bool = True
    drain: bool = True
    batch: int = 1
    snapshot: str = ""

    @property
    def hosts(self) -> tuple[str, ...]:
        return self.control_planes + self.workers

    def role(self, host: str) -> str:
        """``server`` or ``agent``."""
        return SERVER if host in self.control_planes else AGENT


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be done, or why nothing may be done.

    primary    the server that makes the cluster, or that newcomers join by; None where there are problems
    datastore  sqlite, etcd or external
    servers    inventory name → URL of the server that it joins by; empty for the one that makes the cluster
    steps      inventory name → its steps in order; hosts without work are absent
    waves      the hosts that are worked on at the same time, in order
    drains     hosts that are emptied first
    snapshot   the server whose datastore is saved before the first version changes; "" for none
    unmanaged  nodes of the cluster that the inventory does not name
    problems   reasons to change nothing at all, each with its remedy
    warnings   what the admin should know though it stops nothing
    """

    primary: str | None = None
    datastore: str = ""
    servers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    steps: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    waves: tuple[tuple[str, ...], ...] = ()
    drains: tuple[str, ...] = ()
    snapshot: str = ""
    unmanaged: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.steps


@dataclasses.dataclass(frozen=True)
class _Cluster:
    """What the hosts together say of the cluster: its members, the servers that answer, the nodes that they know."""

    members: tuple[str, ...]
    serving: tuple[str, ...]
    nodes: Mapping[str, Seen]

    @property
    def exists(self) -> bool:
        return bool(self.members)


def make_plan(
    desired: Desired, observed: Mapping[str, Seen], predicted: Mapping[str, bool] | None, now: float = 0.0
) -> Plan:
    """The plan for the hosts in ``observed`` (inventory name → what ``k3s_info`` returned there).

    ``predicted`` says for each host whether its files, links or units are to change. None is for the first look, before
    that is known: then every host may change, and etcd's majority is not held against it. ``now`` (seconds since 1970)
    decides whose certificate ends soon. Hosts that were not reached in this run are missing from ``observed``: nothing
    is planned for them, and nothing is assumed of them.
    """
    cluster = _cluster(desired, observed)
    changing = dict.fromkeys(desired.hosts, True) if predicted is None else predicted
    problems = [text for host in desired.hosts if host in observed for text in _problems(desired, host, observed[host])]
    if not problems:
        problems += _cluster_problems(desired, observed, cluster, changing)
    if not problems:
        problems += _version_problems(desired, observed, cluster)
        problems += _snapshot_problems(desired, observed, cluster)
    datastore = _datastore(desired, observed)
    problems += _datastore_problems(desired, observed, datastore)
    if problems:
        return Plan(problems=tuple(dict.fromkeys(problems)))
    primary = (cluster.serving or cluster.members or desired.control_planes)[0]
    steps = {
        host: todo
        for host in desired.hosts
        if host in observed
        for todo in [_steps(desired, host, observed[host], cluster, primary, changing.get(host, False))]
        if todo
    }
    thin = _thin(desired, cluster, steps) if predicted is not None else ""
    if thin and not any(JOIN in steps.get(host, ()) for host in desired.control_planes):
        return Plan(problems=(thin,))
    known = {desired.node_names[host] for host in desired.hosts}
    return Plan(
        primary=primary,
        datastore=datastore,
        servers={host: _server(desired, host, observed, cluster, primary, datastore) for host in desired.hosts},
        steps=steps,
        waves=_waves(desired, steps, primary, joiners_first=bool(thin)),
        drains=_drains(desired, steps, cluster),
        snapshot=_snapshot(desired, steps, cluster, primary, datastore),
        unmanaged=tuple(sorted(set(cluster.nodes) - known)),
        warnings=(
            *(
                f"node {name} is in the cluster and not in the inventory: it is left alone"
                for name in sorted(set(cluster.nodes) - known)
            ),
            *_hosts_left_out(desired, observed),
            *_ending_certificates(observed, now),
        ),
    )


def _cluster(desired: Desired, observed: Mapping[str, Seen]) -> _Cluster:
    members = tuple(
        host
        for host in desired.control_planes
        if observed.get(host, {}).get("membership") == "member"
        or (observed.get(host, {}).get("membership") == "interrupted" and observed[host].get("datastore"))
    )
    serving = tuple(host for host in members if (observed[host].get("api") or {}).get("ready"))
    nodes = {node["name"]: node for host in serving[:1] for node in observed[host]["api"]["nodes"]}
    # one that made the cluster and was cut short is still the one to go on with
    return _Cluster(members, serving, nodes)


def _datastore(desired: Desired, observed: Mapping[str, Seen]) -> str:
    """What the servers are to keep their objects in; what a cluster has, it keeps, but for the way from SQLite to etcd."""
    if desired.datastore != AUTO:
        return desired.datastore
    used = {observed[host]["datastore"] for host in desired.control_planes if host in observed}
    if ETCD in used or len(desired.control_planes) > 1:
        return ETCD
    return SQLITE


def _datastore_problems(desired: Desired, observed: Mapping[str, Seen], datastore: str) -> list[str]:
    found = []
    if datastore == SQLITE and len(desired.control_planes) > 1:
        found.append(
            f"k3s_datastore is sqlite, which serves one server, and there are {len(desired.control_planes)} in control_plane. "
            "Set k3s_datastore: etcd (K3s moves the content of SQLite there), or leave one host in control_plane."
        )
    for host in desired.control_planes:
        used = observed.get(host, {}).get("datastore", "")
        if used == EXTERNAL and observed[host]["membership"] == "interrupted":
            # Told by elimination: a start that was cut short has its certificates before it has its database.
            continue
        if used and used != datastore and not (used == SQLITE and datastore == ETCD):
            found.append(
                f"{host}: keeps the cluster in {used}, and k3s_datastore asks for {datastore}. K3s moves from sqlite to etcd only. "
                f"Set k3s_datastore: {used}, or restore a backup into a new cluster."
            )
    return found


def _problems(desired: Desired, host: str, seen: Seen) -> list[str]:
    """Why this host, looked at alone, must not be touched."""
    found = []
    state, role = seen["membership"], desired.role(host)
    journal = seen.get("member") or seen.get("begun") or {}
    if state == "foreign":
        found.append(
            f"{host}: carries a K3s that this collection did not set up ({', '.join(seen['traces'])}). "
            "Take it out of the inventory, or clean it with playbooks/reset.yml -e reset_foreign=true."
        )
    if state == "damaged":
        found.append(
            f"{host}: was a node, but its credentials or keys below /var/lib/rancher/k3s are gone. "
            f"Restore them from a backup, or clean the host: playbooks/reset.yml --limit {host}."
        )
    owner = journal.get("environment", desired.environment)
    if owner != desired.environment:
        found.append(
            f"{host}: belongs to environment {owner!r}, and this inventory is {desired.environment!r}. "
            "Use the right inventory, or reset the host in its own environment first."
        )
    elif journal and journal.get("role") != role:
        found.append(
            f"{host}: is a K3s {journal.get('role')} and stands in the group of another role ({role}). "
            f"Move it back, or reset it first: playbooks/reset.yml --limit {host}."
        )
    elif seen["runs_as"] and not journal and state == "absent":
        found.append(f"{host}: runs k3s {seen['runs_as']} though nothing was installed here. Stop it first.")
    if state == "absent" and not seen["address_is_local"]:
        found.append(
            f"{host}: the node address declared for it ({seen['address']}) is on none of its interfaces. "
            "Set host_node_ip to the address that the other nodes reach (ip addr on the host shows them)."
        )
    if not seen["token_fits"]:
        found.append(
            f"{host}: the cluster was made with another token than the one in k3s_token_file. K3s would not start with it. "
            "Put the old token back; a running cluster's token is changed by k3s token rotate on a server, then in the file."
        )
    if seen["encryption_key"] and role == SERVER and not desired.encryption:
        found.append(
            f"{host}: Secrets are encrypted in the datastore, and k3s_secrets_encryption is false. "
            "Set k3s_secrets_encryption: true; k3s secrets-encrypt disable on a server decrypts them first."
        )
    return found


def _cluster_problems(
    desired: Desired, observed: Mapping[str, Seen], cluster: _Cluster, predicted: Mapping[str, bool]
) -> list[str]:
    """Why the cluster as a whole must not be touched: never make a second one beside one that is only not reached."""
    if cluster.serving:
        return [
            f"{host}: was a server, but the cluster has no node {desired.node_names[host]!r} any more, and its etcd was told to "
            f"forget it. Clean the host, then it joins again: playbooks/reset.yml --limit {host}."
            for host in cluster.members
            if observed[host]["membership"] == "member"
            and desired.node_names[host] not in cluster.nodes
            and observed[host]["datastore"] == ETCD
        ]
    if cluster.members:
        repairable = [
            host
            for host in cluster.members
            if predicted.get(host) or not observed[host]["pid"] or observed[host]["running"] != desired.version
        ]
        if repairable or any(observed[host]["membership"] == "interrupted" for host in cluster.members):
            return []
        reasons = "; ".join(
            f"{host}: {(observed[host].get('api') or {}).get('problem') or 'not ready'}" for host in cluster.members
        )
        return [
            f"the cluster exists, but none of its API servers answers ({reasons}). Look at journalctl -u k3s on these hosts."
        ]
    unseen = [host for host in desired.control_planes if host not in observed]
    if unseen:
        return [
            f"no server of a cluster was found, and {', '.join(unseen)} could not be looked at. "
            "Making a second cluster beside an unreachable one cannot be undone: bring the hosts back, or include them in --limit."
        ]
    joined = [host for host in desired.workers if observed.get(host, {}).get("membership") == "member"]
    if joined:
        return [
            f"{', '.join(joined)}: agent of a cluster of which no server is left. "
            f"Restore a server from a backup, or reset: playbooks/reset.yml --limit {','.join(joined)}."
        ]
    return []


def _version_problems(desired: Desired, observed: Mapping[str, Seen], cluster: _Cluster) -> list[str]:
    """Versions that cannot follow one another: back without a snapshot, or more than one minor ahead."""
    found = []
    for host in cluster.members:
        version = _running(observed[host])
        if not version:
            continue
        if numbers(desired.version) < numbers(version) and not desired.snapshot:
            saved = observed[host].get("snapshots") or {}
            fitting = [name for name, of in saved.items() if of and numbers(of) <= numbers(desired.version)]
            have = f"There are {', '.join(fitting)} on it" if fitting else "There is none on it that fits"
            found.append(
                f"{host}: runs K3s {version}, and {desired.version} is declared. An older version cannot read what a newer one has "
                f"written: going back means a snapshot, and what happened since is lost. {have}. Name it, "
                f'k3s_restore_snapshot: NAME, or declare stagecraft_kubernetes_version: "{version}".'
            )
        elif minor(desired.version) > _next(minor(version)):
            step = ".".join(map(str, _next(minor(version))))
            found.append(
                f"{host}: runs K3s {version}, and {desired.version} is declared. Kubernetes goes one minor version at a time: "
                f"declare a v{step} first."
            )
    return found


def _snapshot_problems(desired: Desired, observed: Mapping[str, Seen], cluster: _Cluster) -> list[str]:
    """A snapshot that is named for going back must be on the server that goes back first, and readable by the version."""
    if not desired.snapshot or not cluster.members:
        return []
    primary = (cluster.serving or cluster.members)[0]
    version, saved = _running(observed[primary]), observed[primary].get("snapshots") or {}
    if not version or numbers(desired.version) >= numbers(version):
        return []
    if desired.snapshot not in saved:
        return [
            f"{primary}: has no snapshot {desired.snapshot!r}; it has {', '.join(saved) or 'none'}. Correct k3s_restore_snapshot."
        ]
    of = saved[desired.snapshot]
    if of and numbers(of) > numbers(desired.version):
        return [
            f"{primary}: snapshot {desired.snapshot} was written by {of}, which {desired.version} cannot read. "
            f'Name an older snapshot, or declare stagecraft_kubernetes_version: "{of}".'
        ]
    return []


def _next(version: tuple[int, int]) -> tuple[int, int]:
    return version[0], version[1] + 1


def _running(seen: Seen) -> str:
    """The version that a host last ran: what runs now, else what its journal says."""
    return str(seen["running"] or (seen.get("member") or {}).get("version") or "")


def _steps(
    desired: Desired, host: str, seen: Seen, cluster: _Cluster, primary: str, predicted: bool
) -> tuple[str, ...]:
    if seen["membership"] == "member":
        return _member_steps(desired, host, seen, cluster, primary, predicted)
    if host == primary and (seen["membership"] == "interrupted" or not cluster.exists):
        return (INITIALIZE,)
    if seen["membership"] == "absent" and desired.node_names[host] in cluster.nodes:
        return (FORGET, JOIN)
    return (JOIN,)


def _member_steps(
    desired: Desired, host: str, seen: Seen, cluster: _Cluster, primary: str, predicted: bool
) -> tuple[str, ...]:
    version = _running(seen)
    older = bool(version) and numbers(desired.version) < numbers(version)
    known = cluster.nodes.get(desired.node_names[host])
    if desired.role(host) == SERVER and older and desired.snapshot:
        return (RESTORE,) if host == primary else (CLEAN, FORGET, JOIN)
    if version and version != desired.version:
        return (UPGRADE,)
    if predicted or seen["active"] != "active" or (cluster.nodes and known is None):
        return (RESTART,)
    # a run that was cut short has emptied the node and never given it back
    return (RELEASE,) if known is not None and known["cordoned"] else ()


def _server(
    desired: Desired, host: str, observed: Mapping[str, Seen], cluster: _Cluster, primary: str, datastore: str
) -> str:
    """The URL by which a host joins: what its journal has while that is a server still, else one of a server that is there."""
    if desired.role(host) == SERVER and datastore in (EXTERNAL, SQLITE):
        return ""
    urls = {name: f"https://{desired.addresses[name]}:{desired.port}" for name in desired.control_planes}
    seen = observed.get(host, {})
    journal = seen.get("member") or (seen.get("begun") if seen.get("membership") == "interrupted" else None)
    if journal is not None:
        recorded = str(journal.get("server", ""))
        if recorded in urls.values() or (not recorded and desired.role(host) == SERVER):
            return recorded
    if host == primary:
        return ""
    return urls[primary]


def _thin(desired: Desired, cluster: _Cluster, steps: Mapping[str, tuple[str, ...]]) -> str:
    """Say which server's restart would leave etcd without a majority; "" where none would."""
    votes = {name: bool(node["voter"] and node["ready"]) for name, node in cluster.nodes.items() if _votes(node)}
    majority = len(votes) // 2 + 1
    healthy = sum(votes.values())
    stopped = [
        host
        for host in desired.control_planes
        if set(steps.get(host, ())) & {UPGRADE, RESTART} and votes.get(desired.node_names[host])
    ]
    if len(votes) < 2 or not stopped or healthy - 1 >= majority:
        return ""
    away = ", ".join(name for name, well in votes.items() if not well)
    return (
        f"{stopped[0]}: is to be restarted, and etcd would stop: {healthy} of its {len(votes)} members are healthy, and "
        f"{majority} are needed. Bring {away} back first, or replace it by a bare host under its name."
    )


def _votes(node: Seen) -> bool:
    """Whether a node has a member of etcd."""
    return node.get("voter") is not None


def _waves(
    desired: Desired, steps: Mapping[str, tuple[str, ...]], primary: str, *, joiners_first: bool
) -> tuple[tuple[str, ...], ...]:
    """Servers one by one, the primary first; agents that join all together, others in batches.

    Where etcd can spare no member (``joiners_first``), those that join come before those that are restarted.
    """
    servers = sorted(
        (host for host in desired.control_planes if host in steps),
        key=lambda host: (joiners_first and JOIN not in steps[host], host != primary),
    )
    joining = tuple(host for host in desired.workers if JOIN in steps.get(host, ()))
    others = [host for host in desired.workers if host in steps and host not in joining]
    size = max(desired.batch, 1)
    batches = [tuple(others[start : start + size]) for start in range(0, len(others), size)]
    return (*((host,) for host in servers), *([joining] if joining else []), *batches)


def _drains(desired: Desired, steps: Mapping[str, tuple[str, ...]], cluster: _Cluster) -> tuple[str, ...]:
    """Hosts to be emptied: those whose version changes, where another node could take their pods."""
    if not desired.drain:
        return ()
    if not cluster.nodes:
        # no server answers yet: by the time an agent's turn has come, one does
        return tuple(host for host in desired.workers if UPGRADE in steps.get(host, ()))
    able = {name for name, node in cluster.nodes.items() if node["ready"] and not node["unschedulable"]}
    return tuple(
        host
        for host in desired.hosts
        if UPGRADE in steps.get(host, ())
        and desired.node_names[host] in cluster.nodes
        and able - {desired.node_names[host]}
    )


def _snapshot(
    desired: Desired, steps: Mapping[str, tuple[str, ...]], cluster: _Cluster, primary: str, datastore: str
) -> str:
    upgraded = any(UPGRADE in steps.get(host, ()) for host in desired.control_planes)
    if not upgraded or datastore == EXTERNAL:
        return ""
    if datastore == ETCD:
        return cluster.serving[0] if cluster.serving else ""
    return primary if UPGRADE in steps.get(primary, ()) else ""


def _hosts_left_out(desired: Desired, observed: Mapping[str, Seen]) -> list[str]:
    left_out = [host for host in desired.hosts if host not in observed]
    return [f"not looked at in this run (--limit): {', '.join(left_out)}"] if left_out else []


def _ending_certificates(observed: Mapping[str, Seen], now: float) -> list[str]:
    found = []
    for host, seen in observed.items():
        ends = (seen.get("certificate") or {}).get("not_after")
        if ends and ends - now < CERTIFICATE_WARNING:
            day = time.strftime("%Y-%m-%d", time.gmtime(ends))
            found.append(
                f"{host}: the API server's certificate ends on {day}. K3s renews its certificates when it starts: "
                "systemctl restart k3s, one server after the other"
            )
    return found
