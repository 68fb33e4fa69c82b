# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that decides what kubeadm has to do on a host, read in one go; nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.api import ApiUnavailable, LocalApi
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.host import Host, read_json
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.inspect import (
    certificate,
    local_addresses,
    missing_names,
    process,
)

#: Options of stagecraft.gitops.kubeadm_info, for its action and its module.
INFO_OPTIONS: dict[str, Any] = {
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "default": 6443},
    "certificate_sans": {"type": "list", "elements": "str", "default": []},
}
#: What kubeadm itself leaves on a host; any of them without our journal means that somebody else was here.
TRACES = (
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/bootstrap-kubelet.conf",
    "/etc/kubernetes/pki/ca.crt",
    "/etc/kubernetes/manifests/kube-apiserver.yaml",
    "/var/lib/etcd/member",
    "/var/lib/kubelet/config.yaml",
)

#: The key for encryption at rest, as an EncryptionConfiguration.
ENCRYPTION_FILE = "/etc/kubernetes/stagecraft/encryption.yaml"

ABSENT = "absent"
INTERRUPTED = "interrupted"
MEMBER = "member"
DAMAGED = "damaged"
FOREIGN = "foreign"


def membership(
    journal_begun: Mapping[str, Any] | None, journal_member: Mapping[str, Any] | None, traces: list[str]
) -> str:
    """What this host is to a cluster, judged from our journal and from what kubeadm leaves behind.

    absent       nothing of a cluster is here
    interrupted  a kubeadm run of ours began and never ended: to be cleaned, never trusted
    member       our run ended well, and the node's own credentials are here
    damaged      our run ended well, but the node's credentials are gone
    foreign      kubeadm's files without our journal: somebody else's cluster
    """
    if journal_begun is not None:
        return INTERRUPTED
    if journal_member is not None:
        return MEMBER if "/etc/kubernetes/kubelet.conf" in traces else DAMAGED
    return FOREIGN if traces else ABSENT


def info_result(options: Mapping[str, Any], check: bool) -> dict[str, Any]:
    """Tell what the module calls: checked options in, result out, on the host that this runs on."""
    del check  # nothing is changed in either mode
    return {"changed": False, **observe(Host(), options["address"], options["port"], options["certificate_sans"])}


def observe(host: Host, address: str, port: int, certificate_sans: Sequence[str] = ()) -> dict[str, Any]:
    """All that the plan needs of this host; ``address:port`` is where its own API server would answer."""
    begun = read_json(host.state / "begun.json")
    member = read_json(host.state / "member.json")
    traces = [trace for trace in TRACES if host.exists(trace)]
    kubelet = process("kubelet")
    observed: dict[str, Any] = {
        "membership": membership(begun, member, traces),
        "address": address,
        "begun": begun,
        "member": member,
        "traces": traces,
        "address_is_local": address in local_addresses(host),
        "kubelet": None if kubelet is None else {"pid": kubelet[0], "executable": kubelet[1]},
        "control_plane": (host.kubernetes / "manifests" / "kube-apiserver.yaml").exists(),
        "encryption_key": host.exists(ENCRYPTION_FILE),
        "certificate": None,
        "missing_sans": [],
        "api": None,
    }
    if observed["membership"] == MEMBER and observed["control_plane"]:
        observed["certificate"] = certificate(host, "/etc/kubernetes/pki/apiserver.crt")
        observed["missing_sans"] = missing_names(certificate_sans, (observed["certificate"] or {}).get("sans", []))
        server = process("kube-apiserver")
        api = LocalApi(host, address, port)
        try:
            observed["api"] = {
                "pid": server[0] if server else None,
                "ready": api.ready(),
                "nodes": api.nodes(),
                "problem": "",
            }
        except ApiUnavailable as error:
            observed["api"] = {"pid": server[0] if server else None, "ready": False, "nodes": [], "problem": str(error)}
    return observed
