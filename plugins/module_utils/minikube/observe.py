# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that decides what is to be done about a profile of Minikube, read in one go; nothing is changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.module_utils.minikube import names
from ansible_collections.stagecraft.gitops.plugins.module_utils.minikube.host import (
    BARE,
    PROGRAM,
    Host,
    LocalApi,
    NodeError,
    home_of,
    read_json,
)

#: Options of stagecraft.gitops.minikube_info, for its action and its module.
INFO_OPTIONS: dict[str, Any] = {
    "user": {"type": "str", "default": "root"},
    "profile": {"type": "str", "required": True},
}

ABSENT = "absent"
INTERRUPTED = "interrupted"
MEMBER = "member"
DAMAGED = "damaged"
FOREIGN = "foreign"


def membership(begun: Mapping[str, Any] | None, member: Mapping[str, Any] | None, recorded: bool) -> str:
    """What the profile is, judged from our journal and from Minikube's own record.

    absent       there is none
    interrupted  a run of ours began and never ended
    member       our run ended well, and Minikube knows the profile
    damaged      our run ended well, but Minikube knows nothing of the profile any more
    foreign      Minikube has a profile of this name that we did not make
    """
    if begun is not None:
        return INTERRUPTED
    if member is not None:
        return MEMBER if recorded else DAMAGED
    return FOREIGN if recorded else ABSENT


def summary(record: Mapping[str, Any]) -> dict[str, Any]:
    """Minikube's record of a profile as what can be compared with a declaration; sizes in MiB, versions with a v."""
    kubernetes = record.get("KubernetesConfig") or {}
    nodes = record.get("Nodes") or [{}]
    addons = record.get("Addons") or {}
    return {
        "driver": str(record.get("Driver", "")),
        "version": str(kubernetes.get("KubernetesVersion", "")),
        "runtime": str(kubernetes.get("ContainerRuntime", "")),
        "cpus": int(record.get("CPUs") or 0),
        "memory_mb": int(record.get("Memory") or 0),
        "disk_mb": int(record.get("DiskSize") or 0),
        "port": int(record.get("APIServerPort") or nodes[0].get("Port") or 0),
        "address": str(nodes[0].get("IP") or ""),
        "addons": sorted(name for name, enabled in addons.items() if enabled),
    }


def installed_version(host: Host) -> str:
    """The version that the program is, by the versioned file that it is a link to; "" for another one or none."""
    try:
        parts = Path(os.readlink(str(host.path(PROGRAM)))).parts
    except OSError:
        return ""
    return parts[-2] if "stagecraft" in parts else ""


def kubelet_runs(host: Host) -> bool:
    """Whether the machine's own kubelet runs; of interest with the driver none only."""
    return host.run(["systemctl", "is-active", "--quiet", "kubelet.service"]).rc == 0


def info_result(options: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """Tell what the module calls: checked options in, result out, on the host that this runs on."""
    del check  # nothing is changed in either mode
    user = options["user"]
    return {"changed": False, **observe(Host(user=user, profile=options["profile"], home=home_of(user)))}


def observe(host: Host) -> dict[str, Any]:
    """All that the plan needs of this machine."""
    begun, member = read_json(host.state / "begun.json"), read_json(host.state / "member.json")
    record = read_json(host.record)
    found = summary(record) if record else None
    observed: dict[str, Any] = {
        "membership": membership(begun, member, record is not None),
        "begun": begun,
        "member": member,
        "profile": found,
        "installed": installed_version(host),
        "names": names.read(host.read_text(names.HOSTS) or "", host.profile),
        "kubeconfig": host.kubeconfig,
        "api": {"ready": False, "nodes": [], "problem": ""},
        "kubelet": kubelet_runs(host) if found and found["driver"] == BARE else None,
    }
    if found:
        try:
            api = LocalApi(host)
            observed["api"] = {"ready": api.ready(), "nodes": api.nodes(), "problem": ""}
        except NodeError as error:
            observed["api"]["problem"] = str(error)
    observed["running"] = is_running(observed)
    return observed


def is_running(observed: Mapping[str, Any]) -> bool:
    """Whether the cluster works: its API server answers, its nodes are ready, and the machine's own kubelet is up."""
    nodes = observed["api"]["nodes"]
    ready = observed["api"]["ready"] and bool(nodes) and all(node["ready"] for node in nodes)
    return bool(ready and observed["kubelet"] is not False)
