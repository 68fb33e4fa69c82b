# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host as the kubeadm verbs see it."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.module_utils.node import host as node
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.host import (
    Completed,
    NodeError,
    last_lines,
    read_json,
    remove_file,
    sync_directory,
    write_file,
)

__all__ = (
    "Completed",
    "Host",
    "KubeadmError",
    "exclusive",
    "last_lines",
    "read_json",
    "remove_file",
    "sync_directory",
    "write_file",
)


KubeadmError = NodeError
"""The errors of these verbs are those of every node."""


@dataclasses.dataclass(frozen=True)
class Host(node.Host):
    """A host with the directories of kubeadm and of ours."""

    @property
    def kubernetes(self) -> Path:
        return self.path("/etc/kubernetes")

    @property
    def settings(self) -> Path:
        """Our own files for this cluster: kubeadm configuration, encryption key, audit policy."""
        return self.kubernetes / "stagecraft"

    @property
    def state(self) -> Path:
        """The journal of what has been begun and finished on this host; survives a reboot."""
        return self.path("/var/lib/stagecraft/kubeadm")


def exclusive(host: Host, patience: float = 300.0) -> contextlib.AbstractContextManager[None]:
    """Hold the host's kubeadm lock; waits at most ``patience`` seconds for another run to end."""
    return node.exclusive(host.path("/run/stagecraft-kubeadm.lock"), "kubeadm", patience)
