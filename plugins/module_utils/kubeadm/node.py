# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node as the rest of the cluster sees it: emptied before it goes, forgotten afterwards. Runs on another control plane."""

from __future__ import annotations

import json

from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.host import Host, KubeadmError, last_lines

KUBECTL = ("kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf")


def exists(host: Host, name: str) -> bool:
    """Whether the cluster has a node of this name."""
    found = host.run([*KUBECTL, "get", "node", name, "--ignore-not-found", "-o", "name"])
    if found.rc != 0:
        raise KubeadmError(f"cannot ask for the node {name}: {last_lines(found.stderr)}")
    return bool(found.stdout.strip())


def drain(host: Host, name: str, timeout: int) -> None:
    """Move the pods of a node elsewhere, at most ``timeout`` seconds; a pod that has nowhere to go is named in the error."""
    done = host.run(
        [*KUBECTL, "drain", name, "--ignore-daemonsets", "--delete-emptydir-data", "--force", f"--timeout={timeout}s"],
        timeout=timeout + 30.0,
    )
    if done.rc != 0:
        raise KubeadmError(
            f"node {name} could not be emptied within {timeout} s; it takes no new pods now (kubectl uncordon {name} takes that "
            f"back):\n{last_lines(done.stderr)}\nIf its pods may be lost, set reset_drain: false."
        )


def forget_member(host: Host, name: str) -> list[str]:
    """Remove what a lost control plane of this name has left in etcd and in the API; returns what was removed.

    A newcomer with the name of a member that no longer runs can never join: etcd refuses the address as known.
    """
    removed = []
    etcd = [
        "crictl", "exec", _etcd_container(host),
        "etcdctl", "--endpoints=https://127.0.0.1:2379", "--cacert=/etc/kubernetes/pki/etcd/ca.crt",
        "--cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt", "--key=/etc/kubernetes/pki/etcd/healthcheck-client.key",
    ]  # fmt: skip
    listed = host.run([*etcd, "member", "list", "--write-out=json"])
    if listed.rc != 0:
        raise KubeadmError(f"cannot list the members of etcd: {last_lines(listed.stderr)}")
    for member in json.loads(listed.stdout)["members"]:
        if member.get("name") == name:
            gone = host.run([*etcd, "member", "remove", format(int(member["ID"]), "x")])
            if gone.rc != 0:
                raise KubeadmError(f"cannot remove the lost etcd member {name}: {last_lines(gone.stderr)}")
            removed.append(f"etcd member {name}")
    deleted = host.run([*KUBECTL, "delete", "node", name, "--ignore-not-found"])
    if deleted.rc != 0:
        raise KubeadmError(f"cannot remove the lost node {name}: {last_lines(deleted.stderr)}")
    if deleted.stdout.strip():
        removed.append(f"node {name}")
    return removed


def _etcd_container(host: Host) -> str:
    """The ID of this host's own running etcd container; asked of containerd, which knows it before the API does."""
    found = host.run(["crictl", "ps", "--quiet", "--state", "Running", "--label", "io.kubernetes.container.name=etcd"])
    if found.rc != 0:
        raise KubeadmError(f"cannot ask containerd for the etcd container: {last_lines(found.stderr)}")
    if not found.stdout.split():
        raise KubeadmError("no etcd container runs on this host: see crictl ps -a and journalctl -u kubelet")
    return found.stdout.split()[0]
