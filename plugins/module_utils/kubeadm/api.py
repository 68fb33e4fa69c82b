# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API server of this very host, with the credentials that kubeadm writes for the administrator.

The PEM files in ``/etc/kubernetes/pki`` would not do: the one client among them, ``apiserver-kubelet-client``, may read
nodes and nothing else (seen with kubeadm 1.36).
"""

from __future__ import annotations

import json

from ansible_collections.stagecraft.gitops.plugins.module_utils.node import api
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.api import ApiUnavailable

__all__ = ("ApiUnavailable", "LocalApi")


class LocalApi(api.LocalApi):
    """The API server of a control plane that kubeadm made."""

    kubeconfig = "/etc/kubernetes/admin.conf"
    remedy = "kubeadm init phase kubeconfig admin writes it anew"
    log = "journalctl -u kubelet"

    def remove_bootstrap_tokens(self) -> int:
        """Remove every bootstrap token of the cluster; returns how many there were."""
        listed = "/api/v1/namespaces/kube-system/secrets?fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken"
        names = [item["metadata"]["name"] for item in json.loads(self.request("GET", listed))["items"]]
        for name in names:
            self.request("DELETE", f"/api/v1/namespaces/kube-system/secrets/{name}")
        return len(names)
