# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that decides what is to be done on a host of a K3s cluster, read in one go; nothing is changed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.host import (
    AGENT,
    AGENT_TOKEN_FILE,
    DATA,
    SERVER,
    SERVER_TOKEN,
    UNITS,
    Host,
    LocalApi,
    NodeError,
    read_json,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.snapshots import listed
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.api import ApiUnavailable
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.inspect import (
    certificate,
    local_addresses,
    missing_names,
)

#: Options of stagecraft.gitops.k3s_info, for its action and its module.
INFO_OPTIONS: dict[str, Any] = {
    "role": {"type": "str", "choices": ["server", "agent"], "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "default": 6443},
    "certificate_sans": {"type": "list", "elements": "str", "default": []},
    "token": {"type": "str", "no_log": True},
}
#: What K3s itself leaves on a host; any of them without our journal means that somebody else was here.
TRACES = (
    DATA + "/server/tls/server-ca.crt",
    DATA + "/server/db/state.db",
    DATA + "/server/db/etcd/member",
    DATA + "/agent/client-kubelet.crt",
    DATA + "/agent/kubelet.kubeconfig",
    "/usr/local/bin/k3s-uninstall.sh",
    "/usr/local/bin/k3s-agent-uninstall.sh",
)
#: A node's own credentials: without them it is none, whatever the journal says.
CREDENTIALS = DATA + "/agent/kubelet.kubeconfig"

#: A copy of SQLite on its way into the database's place, and what was there: a restore that is killed leaves one of them.
RESTORED = DATA + "/server/db.restored"
BEFORE = DATA + "/server/db.before"

ABSENT = "absent"
INTERRUPTED = "interrupted"
MEMBER = "member"
DAMAGED = "damaged"
FOREIGN = "foreign"

VERSION = re.compile(r"\bversion (v\d+\.\d+\.\d+\S*)")


def membership(
    begun: Mapping[str, Any] | None, member: Mapping[str, Any] | None, traces: Sequence[str], parts: Sequence[str]
) -> str:
    """What this host is to a cluster, judged from our journal and from what K3s leaves behind.

    absent       nothing of a cluster is here
    interrupted  a run of ours began and never ended; K3s goes on by itself where it was, so the run is only finished
    member       our run ended well, and the node's own credentials are here
    damaged      our run ended well, but the node's credentials (or a server's keys) are gone
    foreign      K3s' files without our journal: somebody else's cluster

    ``parts`` are the files that a member of this role must have.
    """
    if begun is not None:
        return INTERRUPTED
    if member is not None:
        return MEMBER if all(part in traces for part in parts) else DAMAGED
    return FOREIGN if traces else ABSENT


def datastore(host: Host) -> str:
    """Where a server keeps the objects, told from its files: etcd, sqlite, external, or "" where it has none yet."""
    if host.exists(DATA + "/server/db/etcd/member"):
        return "etcd"
    if any(host.exists(place + "/state.db") for place in (DATA + "/server/db", RESTORED, BEFORE)):
        return "sqlite"
    # a restore that is killed leaves no member: K3s renames the whole directory, to etcd-old-TIME, before it makes it anew
    database = host.path(DATA + "/server/db")
    if (database / "etcd").is_dir() or any(database.glob("etcd-old-*")):
        return "etcd"
    return "external" if host.exists(DATA + "/server/tls/server-ca.key") else ""


def unit_status(host: Host, unit: str) -> dict[str, Any]:
    """A unit as systemd sees it: {active, pid}; pid 0 where nothing runs."""
    shown = host.run(["systemctl", "show", "--property=ActiveState,MainPID", "--", unit])
    values = dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)
    return {"active": values.get("ActiveState", "inactive"), "pid": int(values.get("MainPID") or 0)}


def running_version(host: Host, pid: int) -> str:
    """What the process runs, asked of the very program in memory: the file on disk may be another by now."""
    if not pid:
        return ""
    try:
        own = os.readlink(str(host.path(f"/proc/{pid}/exe")))
    except OSError:
        return ""
    if os.path.basename(own).startswith("systemd"):
        return ""  # forked, and not yet its program
    return version_of(host, f"/proc/{pid}/exe")


def version_of(host: Host, program: str) -> str:
    """What a K3s program says of its version, "" where it says none."""
    found = VERSION.search(host.run([program, "--version"]).stdout)
    return found.group(1) if found else ""


def installed_version(host: Host) -> str:
    """The version that /usr/local/bin/k3s is, by the versioned file that it is a link to, or by asking it."""
    link = host.path("/usr/local/bin/k3s")
    try:
        target = os.readlink(str(link))
    except OSError:
        return version_of(host, "/usr/local/bin/k3s") if link.exists() else ""
    parts = Path(target).parts
    return parts[-2] if "stagecraft" in parts else version_of(host, "/usr/local/bin/k3s")


def password_of(token: str) -> str:
    """The secret part of a token, whether it comes with the CA's digest and a user or alone."""
    rest = token.strip()
    if rest.startswith("K10") and "::" in rest:
        rest = rest.split("::", 1)[1]
    user, colon, password = rest.partition(":")
    return password if colon and user in ("server", "node") else rest


def token_fits(host: Host, token: str) -> bool:
    """Whether the cluster that this server has was made with ``token``; also true where it has none yet."""
    used = host.read_text(SERVER_TOKEN)
    return used is None or not token or password_of(used) == password_of(token)


def info_result(options: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """Tell what the module calls: checked options in, result out, on the host that this runs on."""
    del check  # nothing is changed in either mode
    named = (options["role"], options["address"], options["port"], options["certificate_sans"])
    return {"changed": False, **observe(Host(), *named, options.get("token") or "")}


def observe(
    host: Host, role: str, address: str, port: int, certificate_sans: Sequence[str] = (), token: str = ""
) -> dict[str, Any]:
    """All that the plan needs of this host, which is to be a ``role`` (server or agent)."""
    begun, member = read_json(host.state / "begun.json"), read_json(host.state / "member.json")
    traces = [trace for trace in TRACES if host.exists(trace)]
    was = str((member or begun or {}).get("role", ""))
    units = {name: unit_status(host, unit) for name, unit in UNITS.items()}
    active = next((name for name in (SERVER, AGENT) if units[name]["pid"]), "")
    pid = units[active]["pid"] if active else 0
    observed: dict[str, Any] = {
        "membership": membership(begun, member, traces, _parts(was)),
        "begun": begun,
        "member": member,
        "traces": traces,
        "address": address,
        "address_is_local": address in local_addresses(host),
        "runs_as": active,
        "active": units[active]["active"] if active else units[role]["active"],
        "pid": pid,
        "running": running_version(host, pid),
        "installed": installed_version(host),
        "datastore": datastore(host),
        "encryption_key": host.exists(DATA + "/server/cred/encryption-config.json"),
        "agent_token": host.exists(AGENT_TOKEN_FILE),
        "token_fits": token_fits(host, token),
        "certificate": None,
        "missing_sans": [],
        "snapshots": {},
        "api": None,
    }
    if was == SERVER and observed["membership"] in (MEMBER, INTERRUPTED):
        _observe_server(host, observed, port, certificate_sans)
    return observed


def _parts(role: str) -> tuple[str, ...]:
    return (CREDENTIALS, DATA + "/server/tls/server-ca.crt") if role == SERVER else (CREDENTIALS,)


def _observe_server(host: Host, observed: dict[str, Any], port: int, certificate_sans: Sequence[str]) -> None:
    shown = certificate(host, DATA + "/server/tls/serving-kube-apiserver.crt")
    observed["certificate"] = shown
    observed["missing_sans"] = missing_names(certificate_sans, shown["sans"]) if shown else []
    observed["snapshots"] = {entry["name"]: entry["version"] for entry in listed(host)}
    api = LocalApi(host, "127.0.0.1", port)
    try:
        observed["api"] = {"ready": api.ready(), "nodes": api.nodes(), "problem": ""}
    except (ApiUnavailable, NodeError) as error:
        observed["api"] = {"ready": False, "nodes": [], "problem": str(error)}
