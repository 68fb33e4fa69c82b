# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``kubeadm init`` on the first control plane, written down before it begins and after it has ended."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.api import LocalApi
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.host import (
    Host,
    KubeadmError,
    last_lines,
    write_file,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.observe import ENCRYPTION_FILE
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.host import begin, finish

CONFIG_FILE = "/etc/kubernetes/stagecraft/kubeadm.yaml"


def encryption_configuration(key: bytes) -> str:
    """An EncryptionConfiguration that seals Secrets with XSalsa20-Poly1305 under ``key`` (32 bytes) and still reads clear ones.

    Format: https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/ (apiserver.config.k8s.io/v1).
    """
    if len(key) != 32:
        raise ValueError(f"secretbox takes a key of 32 bytes, not {len(key)}")
    secret = base64.b64encode(key).decode()
    return (
        "apiVersion: apiserver.config.k8s.io/v1\n"
        "kind: EncryptionConfiguration\n"
        "resources:\n"
        "- resources: [secrets]\n"
        "  providers:\n"
        "  - secretbox:\n"
        "      keys:\n"
        f"      - {{name: key1, secret: {secret}}}\n"
        "  - identity: {}\n"
    )


def ensure_encryption_key(host: Host) -> None:
    """Make the cluster's encryption key if this host has none; a key that is there is never replaced."""
    path = host.path(ENCRYPTION_FILE)
    if not path.exists():
        write_file(path, encryption_configuration(os.urandom(32)).encode())


def initialize(host: Host, member: Mapping[str, Any], api: LocalApi, encrypt: bool, timeout: float) -> str:
    """Run ``kubeadm init`` and return its output; ``member`` is the journal entry for a host that succeeded.

    kubeadm always makes a bootstrap token that lives for a day. Nobody needs it here: it is removed at once.
    """
    begin(host.state, {"verb": "init", "environment": str(member["environment"])})
    if encrypt:
        ensure_encryption_key(host)
    done = host.run(["kubeadm", "init", "--config", str(host.path(CONFIG_FILE)), "--skip-token-print"], timeout=timeout)
    if done.rc != 0:
        raise KubeadmError(
            f"kubeadm init ended with status {done.rc} on this host:\n{last_lines(done.stderr or done.stdout)}\n"
            "The host is marked as unfinished; the next run cleans it and starts again. "
            "See journalctl -u kubelet and crictl ps -a for the reason."
        )
    api.remove_bootstrap_tokens()
    finish(host.state, member)
    return done.stdout
