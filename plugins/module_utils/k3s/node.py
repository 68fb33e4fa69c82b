# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One node of the cluster, as its servers see it: emptied for an upgrade, given back, forgotten for good."""

from __future__ import annotations

import json
import time
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.host import Host, NodeError, last_lines
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.member import node_problem
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.api import CORDONED

KUBECTL = ("/usr/local/bin/k3s", "kubectl", "--kubeconfig", "/etc/rancher/k3s/k3s.yaml", "--request-timeout=20s")


def read(host: Host, name: str) -> dict[str, Any] | None:
    """The node as the API has it, None where there is none."""
    found = host.run([*KUBECTL, "get", "node", name, "--ignore-not-found", "-o", "json"])
    if found.rc != 0:
        raise NodeError(f"cannot ask for the node {name}: {last_lines(found.stderr)}")
    node: dict[str, Any] | None = json.loads(found.stdout) if found.stdout.strip() else None
    return node


def is_cordoned(node: dict[str, Any]) -> bool:
    """Whether it takes no new pods."""
    return bool(node.get("spec", {}).get("unschedulable", False))


def is_marked(node: dict[str, Any]) -> bool:
    """Whether it was us who cordoned it."""
    return CORDONED in node["metadata"].get("annotations", {})


def drain(host: Host, name: str, timeout: int) -> bool:
    """Move the pods of a node elsewhere, at most ``timeout`` seconds; says whether it was cordoned by this.

    A node that somebody else has cordoned is emptied, too, and stays cordoned afterwards.
    """
    node = read(host, name)
    if node is None:
        raise NodeError(f"the cluster has no node {name} to empty")
    ours = not is_cordoned(node) or is_marked(node)
    if ours and not is_marked(node):
        # the mark comes first: killed in between, a later run finds a mark too much and never a cordon too much
        _kubectl(host, "annotate", "node", name, f"{CORDONED}=true", "--overwrite")
    words = ("drain", name, "--ignore-daemonsets", "--delete-emptydir-data", "--force", f"--timeout={timeout}s")
    done = host.run([*KUBECTL[:-1], *words], timeout=timeout + 30.0)
    if done.rc != 0:
        if ours:
            uncordon(host, name)
        raise NodeError(
            f"node {name} could not be emptied within {timeout} s{' and takes new pods again' if ours else ''}:\n"
            f"{last_lines(done.stderr)}\nIf its pods may be interrupted, set k3s_drain: false; "
            "if they only need longer, k3s_drain_timeout."
        )
    return ours


def uncordon(host: Host, name: str) -> bool:
    """Let a node that we cordoned take pods again; one that somebody else cordoned stays so. Says whether it changed."""
    node = read(host, name)
    if node is None or not is_marked(node):
        return False
    _kubectl(host, "uncordon", name)
    _kubectl(host, "annotate", "node", name, f"{CORDONED}-")
    return True


def forget(host: Host, name: str, timeout: float = 60.0) -> list[str]:
    """Remove a node for good; K3s' own controllers then remove its member of etcd and its password.

    Returns what was removed. A newcomer of the same name would be refused while one of the three is left.
    """
    removed = []
    if read(host, name) is not None:
        _kubectl(host, "delete", "node", name, "--ignore-not-found", f"--timeout={timeout:.0f}s")
        removed.append(f"node {name}")
    secret = f"{name}.node-password.k3s"
    deadline = time.monotonic() + 20.0
    while _exists(host, "secret", secret, "-n", "kube-system"):
        if time.monotonic() >= deadline:
            _kubectl(host, "delete", "secret", secret, "-n", "kube-system", "--ignore-not-found")
            removed.append(f"secret {secret}")
            break
        time.sleep(0.5)
    return removed


def wait(host: Host, name: str, version: str, timeout: float) -> None:
    """Return when a node is Ready in this version, its member of etcd voting where it has one."""
    deadline = time.monotonic() + timeout
    while True:
        problem = node_problem(_summary(read(host, name)), name, version)
        if not problem:
            return
        if time.monotonic() >= deadline:
            raise NodeError(f"{problem} (waited {timeout:.0f} s); see journalctl on the host of that node")
        time.sleep(0.5)


def _summary(node: dict[str, Any] | None) -> dict[str, Any] | None:
    if node is None:
        return None
    conditions = {one["type"]: one["status"] for one in node.get("status", {}).get("conditions", [])}
    return {
        "ready": conditions.get("Ready") == "True",
        "kubelet_version": node.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", "").lstrip("v"),
        "voter": conditions["EtcdIsVoter"] == "True" if "EtcdIsVoter" in conditions else None,
    }


def _exists(host: Host, *words: str) -> bool:
    found = host.run([*KUBECTL, "get", *words, "--ignore-not-found", "-o", "name"])
    if found.rc != 0:
        raise NodeError(f"cannot ask for {' '.join(words)}: {last_lines(found.stderr)}")
    return bool(found.stdout.strip())


def _kubectl(host: Host, *words: str) -> None:
    done = host.run([*KUBECTL, *words], timeout=90.0)
    if done.rc != 0:
        raise NodeError(f"kubectl {' '.join(words)} failed: {last_lines(done.stderr)}")
