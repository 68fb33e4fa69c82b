# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a member gives to a newcomer, and what the newcomer does with it.

The newcomer gets a discovery file (the cluster's CA and the API endpoint) beside a short-lived bootstrap token, not a
token discovery: kube-controller-manager signs the public ``cluster-info`` only some six seconds after ``kubeadm init``
has returned, and a token discovery waits for that signature. A further control plane also gets the cluster's private
keys, straight through the encrypted connection of the run: nothing is parked in the cluster as a Secret.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.host import (
    Host,
    KubeadmError,
    last_lines,
    remove_file,
    write_file,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.observe import ENCRYPTION_FILE
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.host import begin, finish

#: The files that make a control plane one of this cluster; kubeadm derives every other certificate from them.
SHARED_KEYS = (
    "/etc/kubernetes/pki/ca.crt",
    "/etc/kubernetes/pki/ca.key",
    "/etc/kubernetes/pki/sa.key",
    "/etc/kubernetes/pki/sa.pub",
    "/etc/kubernetes/pki/front-proxy-ca.crt",
    "/etc/kubernetes/pki/front-proxy-ca.key",
    "/etc/kubernetes/pki/etcd/ca.crt",
    "/etc/kubernetes/pki/etcd/ca.key",
)
DISCOVERY_FILE = "/etc/kubernetes/stagecraft/discovery.conf"
JOIN_FILE = "/etc/kubernetes/stagecraft/join.yaml"
TOKEN = re.compile(r"\b([a-z0-9]{6})\.[a-z0-9]{16}\b")


def mint_token(host: Host, ttl: str) -> str:
    """A new bootstrap token that lives for ``ttl`` (a Go duration, such as 15m)."""
    made = host.run(
        [
            "kubeadm",
            "token",
            "create",
            "--ttl",
            ttl,
            "--kubeconfig",
            "/etc/kubernetes/admin.conf",
            "--description",
            "made by stagecraft.gitops for the nodes that join in this run",
        ]
    )
    found = TOKEN.search(made.stdout)
    if made.rc != 0 or not found:
        raise KubeadmError(
            f"kubeadm token create failed on the control plane: {last_lines(TOKEN.sub('…', made.stderr))}"
        )
    return found.group(0)


def remove_token(host: Host, token_id: str) -> None:
    """Take a bootstrap token back; one that has expired meanwhile is as good as removed."""
    done = host.run(["kubeadm", "token", "delete", token_id, "--kubeconfig", "/etc/kubernetes/admin.conf"])
    if done.rc != 0 and "not found" not in done.stderr:
        raise KubeadmError(f"the bootstrap token {token_id} could not be removed: {last_lines(done.stderr)}")


def shared_files(host: Host, encrypt: bool) -> list[dict[str, str]]:
    """The cluster's keys as [{path, content}] (content in base64); refuses to give away half of them."""
    wanted = SHARED_KEYS + ((ENCRYPTION_FILE,) if encrypt else ())
    missing = [path for path in wanted if not host.exists(path)]
    if missing:
        raise KubeadmError(
            f"a control plane cannot join: this one lacks {', '.join(missing)}. "
            "Restore the files from another control plane or a backup."
        )
    return [{"path": path, "content": base64.b64encode(host.path(path).read_bytes()).decode()} for path in wanted]


def discovery_file(ca_certificate: str, endpoint: str) -> str:
    """A kubeconfig that names the cluster and its CA, and nobody: kubeadm fills in the bootstrap token itself."""
    authority = base64.b64encode(ca_certificate.encode()).decode()
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "", "cluster": {"server": f"https://{endpoint}", "certificate-authority-data": authority}}
            ],
        },
        indent=1,
    )


def join(
    host: Host,
    member: Mapping[str, Any],
    configuration: Mapping[str, Any],
    ca_certificate: str,
    endpoint: str,
    files: Sequence[Mapping[str, str]] | None,
    timeout: float,
) -> str:
    """Run ``kubeadm join`` and return its output.

    ``configuration`` is a JoinConfiguration (kubeadm.k8s.io/v1beta4) that already carries the token; it lies on the
    host for the time of the join only, readable by root alone. ``files`` is what ``shared_files`` gave, for a control plane.
    """
    begin(host.state, {"verb": "join", "environment": str(member["environment"])})
    for entry in files or []:
        mode = 0o644 if entry["path"].endswith((".crt", ".pub")) else 0o600
        write_file(host.path(entry["path"]), base64.b64decode(entry["content"]), mode)
    write_file(host.path(DISCOVERY_FILE), discovery_file(ca_certificate, endpoint).encode())
    write_file(host.path(JOIN_FILE), json.dumps(configuration, indent=1).encode())
    try:
        done = host.run(["kubeadm", "join", "--config", str(host.path(JOIN_FILE))], timeout=timeout)
    finally:
        remove_file(host.path(JOIN_FILE))
        remove_file(host.path(DISCOVERY_FILE))
    if done.rc != 0:
        raise KubeadmError(
            f"kubeadm join ended with status {done.rc} on this host:\n{TOKEN.sub('…', last_lines(done.stderr or done.stdout))}\n"
            "The host is marked as unfinished; the next run cleans it and joins it again."
        )
    finish(host.state, member)
    return done.stdout
