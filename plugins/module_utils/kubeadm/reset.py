# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take a host out of its cluster and leave it as if kubeadm had never run there."""

from __future__ import annotations

import shutil
from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.host import (
    Host,
    KubeadmError,
    last_lines,
    remove_file,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.host import forget

#: Made by kubeadm, kubelet and the static pods. The directories stay (they may be mount points), their content goes.
LEFTOVERS = (
    "/etc/kubernetes/manifests",
    "/etc/kubernetes/pki",
    "/etc/kubernetes/tmp",
    "/var/lib/etcd",
)
FILES = (
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/super-admin.conf",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/bootstrap-kubelet.conf",
    "/etc/kubernetes/controller-manager.conf",
    "/etc/kubernetes/scheduler.conf",
    "/etc/kubernetes/stagecraft/encryption.yaml",
    "/etc/kubernetes/stagecraft/join.yaml",
    "/etc/kubernetes/stagecraft/discovery.conf",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/kubeadm-flags.env",
)


def empty(directory: Path) -> None:
    """Remove what is in ``directory``; the directory itself stays."""
    if not directory.is_dir():
        return
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(str(entry))
        else:
            entry.unlink()


def reset(host: Host, timeout: float) -> list[str]:
    """Run ``kubeadm reset``, then remove what it leaves; returns what was removed.

    The journal goes last: killed in between, the host still counts as unfinished and is cleaned again.
    """
    done = host.run(
        ["kubeadm", "reset", "--force", "--cleanup-tmp-dir", "--cri-socket", "unix:///run/containerd/containerd.sock"],
        timeout=timeout,
    )
    host.run(["systemctl", "stop", "kubelet.service"], timeout=60.0)
    if done.rc != 0:
        raise KubeadmError(
            f"kubeadm reset ended with status {done.rc}:\n{last_lines(done.stderr or done.stdout)}\n"
            "Is containerd running (systemctl status containerd)? The next run tries again."
        )
    removed = [path for path in FILES if host.exists(path)]
    for path in FILES:
        remove_file(host.path(path))
    for directory in LEFTOVERS:
        empty(host.path(directory))
    for link in ("cni0", "flannel.1"):
        host.run(["ip", "link", "delete", link])
    empty(host.path("/var/lib/cni/networks"))
    forget(host.state)
    return removed
