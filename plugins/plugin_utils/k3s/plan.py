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

from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.version import minor, numbers

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
    servers    inventory name → URL of the server that it joins by; empty for the one that makes the cluster, or goes back to a snapshot
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
    back: bool = False
    """Whether the datastore goes back to a snapshot: no server goes on with what it has."""

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
    problems = [
        text for host in desired.hosts if host in observed for text in _problems(desired, host, observed[host], cluster)
    ]
    if not problems:
        problems += _cluster_problems(desired, observed, cluster, changing)
    if not problems:
        problems += _version_problems(desired, observed, cluster)
        problems += _snapshot_problems(desired, observed, cluster)
    datastore = _datastore(desired, observed)
    problems += _datastore_problems(desired, observed, datastore)
    if problems:
        return Plan(problems=tuple(dict.fromkeys(problems)))
    primary = _primary(desired, observed, cluster)
    steps = {
        host: todo
        for host in desired.hosts
        if host in observed
        for todo in [_steps(desired, host, observed[host], cluster, primary, changing.get(host, False))]
        if todo
    }
    servers = {
        host: _server(desired, host, observed.get(host, {}), steps.get(host, ()), primary, datastore)
        for host in desired.hosts
    }
    apart = _apart(desired, cluster, steps, servers, primary, datastore)
    if apart:
        return Plan(problems=tuple(apart))
    thin = _thin(desired, cluster, steps) if predicted is not None else ""
    if thin and not any(JOIN in steps.get(host, ()) for host in desired.control_planes):
        return Plan(problems=(thin,))
    known = {desired.node_names[host] for host in desired.hosts}
    return Plan(
        primary=primary,
        datastore=datastore,
        servers=servers,
        steps=steps,
        waves=_waves(desired, steps, primary, joiners_first=bool(thin)),
        drains=_drains(desired, steps, cluster),
        snapshot=_snapshot(desired, observed, steps, cluster, primary),
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
    return _Cluster(members, serving, nodes, _goes_back(desired, observed, members, serving))


def _goes_back(
    desired: Desired, observed: Mapping[str, Seen], members: tuple[str, ...], serving: tuple[str, ...]
) -> bool:
    """Whether a snapshot was named and what there is was written by a newer version.

    Where the declared version serves and no newer one does, it has not been: a restore was cut short after its first server,
    or an upgrade before its first server served. Then only the newer ones are made anew.
    """
    newer = {host for host in members if _is_newer(desired, observed[host])}
    if not desired.snapshot or not newer:
        return False
    return bool(newer & set(serving)) or not serving


def _is_newer(desired: Desired, seen: Seen) -> bool:
    version = _newest(seen)
    return bool(version) and numbers(desired.version) < numbers(version)


def _primary(desired: Desired, observed: Mapping[str, Seen], cluster: _Cluster) -> str:
    """The server that makes the cluster, or that others join by; going back, the first one that has the snapshot.

    The latter holds whoever serves: a restore that was cut short with all servers stopped is gone on with by the same one.
    """
    holders = _holders(desired, observed, cluster) if cluster.back else []
    return (holders or cluster.serving or cluster.members or desired.control_planes)[0]


def _holders(desired: Desired, observed: Mapping[str, Seen], cluster: _Cluster) -> list[str]:
    return [host for host in cluster.members if desired.snapshot in (observed[host].get("snapshots") or {})]


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
        if used == EXTERNAL and observed[host]["membership"] in ("interrupted", "damaged"):
            # Told by elimination: a start that was cut short has its certificates before it has its database, and a cleaning
            # may have come to the database first.
            continue
        if used and used != datastore and not (used == SQLITE and datastore == ETCD):
            found.append(
                f"{host}: keeps the cluster in {used}, and k3s_datastore asks for {datastore}. K3s moves from sqlite to etcd only. "
                f"Set k3s_datastore: {used}, or restore a backup into a new cluster."
            )
    return found


def _problems(desired: Desired, host: str, seen: Seen, cluster: _Cluster) -> list[str]:
    """Why this host, looked at alone, must not be touched."""
    found = []
    state, role = seen["membership"], desired.role(host)
    journal = seen.get("member") or seen.get("begun") or {}
    if state == "foreign":
        found.append(
            f"{host}: carries a K3s that this collection did not set up ({', '.join(seen['traces'])}). "
            "Take it out of the inventory, or clean it with playbooks/reset.yml -e reset_foreign=true."
        )
    if state == "damaged" and not _is_given_up(desired, host, seen, cluster):
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


def _is_given_up(desired: Desired, host: str, seen: Seen, cluster: _Cluster) -> bool:
    """Whether a server whose keys are gone is one that a way back was cleaning when it was cut short.

    Its data are not wanted any more where a snapshot is named and another server goes back or serves: it is cleaned to the
    end, and joins that one. On its own it could hold the only copy of the cluster.
    """
    damaged = seen["membership"] == "damaged" and desired.role(host) == SERVER
    return damaged and bool(desired.snapshot) and bool(cluster.back or cluster.serving)


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
            and not (desired.snapshot and _is_newer(desired, observed[host]))
        ]
    if cluster.members:
        repairable = [
            host
            for host in cluster.members
            if predicted.get(host)
            or observed[host]["active"] != "active"
            or observed[host]["running"] != desired.version
            or _is_unfinished(observed[host])
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
        newest = _newest(observed[host])
        if not version:
            continue
        has = (
            f"runs K3s {version}"
            if newest == version
            else f"has K3s {newest}, which does not run now and may have written"
        )
        if _is_newer(desired, observed[host]) and observed[host]["datastore"] == EXTERNAL:
            found.append(
                f"{host}: {has}, and {desired.version} is declared. An older version cannot read what a newer one has "
                "written, and the datastore is not K3s' own: its database must go back. Keep /var/lib/rancher/k3s/server/token, reset "
                "the hosts (playbooks/reset.yml), restore the database by its own tools, name the token in k3s_token_file and run "
                f'again; or declare stagecraft_kubernetes_version: "{newest}".'
            )
        elif _is_newer(desired, observed[host]) and not desired.snapshot:
            saved = observed[host].get("snapshots") or {}
            fitting = [name for name, of in saved.items() if of and numbers(of) <= numbers(desired.version)]
            have = f"There are {', '.join(fitting)} on it" if fitting else "There is none on it that fits"
            found.append(
                f"{host}: {has}, and {desired.version} is declared. An older version cannot read what a newer one has "
                f"written: going back means a snapshot, and what happened since is lost. {have}. Name it, "
                f'k3s_restore_snapshot: NAME, or declare stagecraft_kubernetes_version: "{newest}".'
            )
        elif minor(desired.version) > _next(minor(version)):
            step = ".".join(map(str, _next(minor(version))))
            found.append(
                f"{host}: runs K3s {version}, and {desired.version} is declared. Kubernetes goes one minor version at a time: "
                f"declare a v{step} first."
            )
    return found


def _snapshot_problems(desired: Desired, observed: Mapping[str, Seen], cluster: _Cluster) -> list[str]:
    """A snapshot that is named for going back must be on a server and readable by the version, and every server must be stopped."""
    if not cluster.back:
        return []
    holders = _holders(desired, observed, cluster)
    if not holders:
        have = "; ".join(
            f"{host} has {', '.join(observed[host].get('snapshots') or {}) or 'none'}" for host in cluster.members
        )
        return [f"no server has a snapshot {desired.snapshot!r}: {have}. Correct k3s_restore_snapshot."]
    of = observed[holders[0]]["snapshots"][desired.snapshot]
    if of and numbers(of) > numbers(desired.version):
        return [
            f"{holders[0]}: snapshot {desired.snapshot} was written by {of}, which {desired.version} cannot read. "
            f'Name an older snapshot, or declare stagecraft_kubernetes_version: "{of}".'
        ]
    if not cluster.serving and _went_back(desired, observed[holders[0]]):
        return [
            f"{holders[0]}: runs K3s {desired.version} already and does not answer. Going back to {desired.snapshot} again would lose what "
            "was written since. Bring it up (journalctl -u k3s says what is wrong); or stop K3s on it (systemctl stop k3s) and run again "
            "to go back all the same."
        ]
    unseen = [host for host in desired.control_planes if host not in observed]
    if unseen:
        return [
            f"{', '.join(unseen)}: not looked at in this run, and going back stops every server first: one that goes on would keep "
            "the cluster that is given up. Include it in --limit; take it out of control_plane where it is lost for good."
        ]
    return []


def _went_back(desired: Desired, seen: Seen) -> bool:
    """Whether a server runs the declared version and was once ready in it."""
    return bool(seen["running"] == (seen.get("member") or {}).get("version") == desired.version)


def _next(version: tuple[int, int]) -> tuple[int, int]:
    return version[0], version[1] + 1


def _running(seen: Seen) -> str:
    """The version that a host last ran: what runs now, else what its journal says."""
    return str(seen["running"] or (seen.get("member") or {}).get("version") or "")


def _newest(seen: Seen) -> str:
    """The newest version that may have written to a server's datastore: what runs, else the newer one of journal and program.

    A version that was started and failed is on disk, and not in the journal.
    """
    version = _running(seen)
    if seen["running"] or not version:
        return version
    return max(version, str(seen["installed"] or version), key=numbers)


def _steps(
    desired: Desired, host: str, seen: Seen, cluster: _Cluster, primary: str, predicted: bool
) -> tuple[str, ...]:
    if cluster.back and desired.role(host) == SERVER:
        return _steps_back(host, seen, primary)
    if seen["membership"] == "damaged":
        return (CLEAN, FORGET, JOIN)
    if seen["membership"] == "member":
        return _member_steps(desired, host, seen, cluster, predicted)
    if host == primary and (seen["membership"] == "interrupted" or not cluster.exists):
        return (INITIALIZE,)
    if seen["membership"] == "absent" and desired.node_names[host] in cluster.nodes:
        return (FORGET, JOIN)
    return (JOIN,)


def _steps_back(host: str, seen: Seen, primary: str) -> tuple[str, ...]:
    """One server has the snapshot; all others, whatever they run, give up what they have and join it anew."""
    if host == primary:
        return (RESTORE,)
    return (FORGET, JOIN) if seen["membership"] == "absent" else (CLEAN, FORGET, JOIN)


def _member_steps(desired: Desired, host: str, seen: Seen, cluster: _Cluster, predicted: bool) -> tuple[str, ...]:
    version = _running(seen)
    known = cluster.nodes.get(desired.node_names[host])
    if desired.role(host) == SERVER and desired.snapshot and _is_newer(desired, seen):
        return (CLEAN, FORGET, JOIN)
    if version and version != desired.version:
        return (UPGRADE,)
    if predicted or seen["active"] != "active" or (cluster.nodes and known is None):
        return (RESTART,)
    # a run that was cut short has emptied the node and never given it back, or never saw its version become ready
    return (RELEASE,) if _is_unfinished(seen) or (known is not None and known["cordoned"]) else ()


def _is_unfinished(seen: Seen) -> bool:
    """Whether another version runs than the one that a run last saw ready: it may only just have been started."""
    return bool(seen["running"]) and str((seen.get("member") or {}).get("version", "")) != seen["running"]


def _server(desired: Desired, host: str, seen: Seen, todo: tuple[str, ...], primary: str, datastore: str) -> str:
    """The URL by which a host joins: what its journal has while that is a server still, else one of a server that is there.

    A host that is cleaned has no journal any more, and one whose datastore goes back is the only server of its cluster.
    """
    if (desired.role(host) == SERVER and datastore in (EXTERNAL, SQLITE)) or RESTORE in todo:
        return ""
    urls = {name: f"https://{desired.addresses[name]}:{desired.port}" for name in desired.control_planes}
    journal = seen.get("member") or (seen.get("begun") if seen.get("membership") == "interrupted" else None)
    if journal is not None and CLEAN not in todo:
        recorded = str(journal.get("server", ""))
        made = not recorded and desired.role(host) == SERVER and (JOIN not in todo or seen.get("datastore") == ETCD)
        if recorded in urls.values() or made:
            return recorded
    if host == primary:
        return ""
    return urls[primary]


def _apart(
    desired: Desired,
    cluster: _Cluster,
    steps: Mapping[str, tuple[str, ...]],
    servers: Mapping[str, str],
    primary: str,
    datastore: str,
) -> list[str]:
    """Servers that would make a second cluster instead of joining the one that there is."""
    return [
        f"{host}: is to join the cluster of {primary}, and began one of its own, which was never finished. "
        f"Clean it, then it joins: playbooks/reset.yml --limit {host}."
        for host in desired.control_planes
        if datastore == ETCD
        and cluster.serving
        and host != primary
        and JOIN in steps.get(host, ())
        and not servers[host]
        and desired.node_names[host] not in cluster.nodes
    ]


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
    # what a run that was cut short has cordoned is given back in this one, and servers come before agents
    ours = {desired.node_names[host] for host in desired.control_planes if host in steps}
    usable = {name: node for name, node in cluster.nodes.items() if not node["unschedulable"] or node["cordoned"]}
    ready = {name for name, node in usable.items() if node["ready"]}
    able = {SERVER: ready, AGENT: ready | (ours & set(usable))}
    return tuple(
        host
        for host in desired.hosts
        if UPGRADE in steps.get(host, ())
        and desired.node_names[host] in cluster.nodes
        and able[desired.role(host)] - {desired.node_names[host]}
    )


def _snapshot(
    desired: Desired,
    observed: Mapping[str, Seen],
    steps: Mapping[str, tuple[str, ...]],
    cluster: _Cluster,
    primary: str,
) -> str:
    """The server whose datastore is saved: once for an upgrade, before its first server has the new version.

    What is saved later has been written by the new version and is no way back to the old one.
    """
    upgraded = [host for host in desired.control_planes if UPGRADE in steps.get(host, ())]
    kinds = {observed[host]["datastore"] for host in upgraded}
    if not upgraded or kinds <= {EXTERNAL, ""}:
        return ""
    if any(_has_begun(desired, observed[host]) for host in cluster.members) and _older_snapshots(
        desired, observed, cluster
    ):
        return ""
    if SQLITE in kinds:
        return primary if primary in upgraded else ""
    return cluster.serving[0] if cluster.serving else ""


def _has_begun(desired: Desired, seen: Seen) -> bool:
    """Whether the declared version has run on a server: it runs, or it is installed and what ran before runs no more."""
    return seen["running"] == desired.version or (not seen["running"] and seen["installed"] == desired.version)


def _older_snapshots(desired: Desired, observed: Mapping[str, Seen], cluster: _Cluster) -> bool:
    saved = [of for host in cluster.members for of in (observed[host].get("snapshots") or {}).values()]
    return any(of and numbers(of) < numbers(desired.version) for of in saved)


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
