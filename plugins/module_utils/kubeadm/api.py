# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API server of this very host, asked with the standard library alone.

The credentials are those of ``/etc/kubernetes/admin.conf``, which kubeadm writes with embedded PEM data. No ``kubectl``
has to start for it (0.1 to 0.3 s each). The PEM files in ``/etc/kubernetes/pki`` would not do: the one client among them,
``apiserver-kubelet-client``, may read nodes and nothing else (seen with kubeadm 1.36).
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import ssl
import time
from collections.abc import Mapping
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.host import Host, KubeadmError


class ApiUnavailable(KubeadmError):
    """The API server did not answer, or not with what was asked for."""


def embedded(kubeconfig: str, key: str) -> bytes:
    """The PEM data under ``key`` of a kubeconfig that kubeadm wrote: one cluster, one user, a line for each key."""
    found = re.search(rf"^\s*{re.escape(key)}:\s*(\S+)\s*$", kubeconfig, re.MULTILINE)
    if found is None:
        raise ApiUnavailable(
            f"/etc/kubernetes/admin.conf has no {key}; kubeadm init phase kubeconfig admin writes it anew"
        )
    return base64.b64decode(found.group(1))


class LocalApi:
    """GET, PATCH and DELETE against the API server at ``address:port``, as the cluster's administrator."""

    def __init__(self, host: Host, address: str, port: int, timeout: float = 5.0) -> None:
        self._host = host
        self._address = address
        self._port = port
        self._timeout = timeout

    def _context(self) -> ssl.SSLContext:
        text = self._host.read_text("/etc/kubernetes/admin.conf")
        if text is None:
            raise ApiUnavailable(
                "/etc/kubernetes/admin.conf is missing: there are no credentials to ask the API server with"
            )
        context = ssl.create_default_context(cadata=embedded(text, "certificate-authority-data").decode())
        # the ssl module takes a client's key from a file only: one in memory, which nobody else can open
        with os.fdopen(os.memfd_create("client"), "wb") as stream:
            stream.write(embedded(text, "client-certificate-data") + b"\n" + embedded(text, "client-key-data"))
            stream.flush()
            context.load_cert_chain(f"/proc/self/fd/{stream.fileno()}")
        return context

    def request(self, method: str, path: str, body: str | None = None, content_type: str = "") -> bytes:
        """The body of a 2xx answer. Raises ApiUnavailable for everything else, with the status and the API's words."""
        try:
            connection = http.client.HTTPSConnection(
                self._address, self._port, timeout=self._timeout, context=self._context()
            )
            try:
                headers = {"Content-Type": content_type} if content_type else {}
                connection.request(method, path, body=body, headers=headers)
                response = connection.getresponse()
                payload = response.read()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise ApiUnavailable(f"the API server at {self._address}:{self._port} does not answer: {error}") from error
        if not 200 <= response.status < 300:
            text = payload.decode("utf-8", "replace")[:500]
            raise ApiUnavailable(
                f"{method} {path} at {self._address}:{self._port} was answered {response.status}: {text}"
            )
        return payload

    def ready(self) -> bool:
        """Whether ``/readyz`` says ok now."""
        try:
            return self.request("GET", "/readyz").strip() == b"ok"
        except ApiUnavailable:
            return False

    def wait_ready(self, seconds: float) -> None:
        """Return when ``/readyz`` has said ok; raise ApiUnavailable with the last answer after ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.request("GET", "/readyz")
                return
            except ApiUnavailable as error:
                if time.monotonic() >= deadline:
                    raise ApiUnavailable(f"{error} (waited {seconds:.0f} s; see journalctl -u kubelet)") from error
            time.sleep(0.25)

    def remove_bootstrap_tokens(self) -> int:
        """Remove every bootstrap token of the cluster; returns how many there were."""
        listed = "/api/v1/namespaces/kube-system/secrets?fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken"
        names = [item["metadata"]["name"] for item in json.loads(self.request("GET", listed))["items"]]
        for name in names:
            self.request("DELETE", f"/api/v1/namespaces/kube-system/secrets/{name}")
        return len(names)

    def nodes(self) -> list[Mapping[str, Any]]:
        """Each node as {name, ready, kubelet_version, addresses, control_plane, pod_cidr, unschedulable}."""
        items = json.loads(self.request("GET", "/api/v1/nodes"))["items"]
        return [_node(item) for item in items]


def _node(item: Mapping[str, Any]) -> Mapping[str, Any]:
    status = item.get("status", {})
    labels = item["metadata"].get("labels", {})
    conditions = {entry["type"]: entry["status"] for entry in status.get("conditions", [])}
    return {
        "name": item["metadata"]["name"],
        "ready": conditions.get("Ready") == "True",
        "kubelet_version": status.get("nodeInfo", {}).get("kubeletVersion", "").lstrip("v"),
        "addresses": [entry["address"] for entry in status.get("addresses", []) if entry["type"] == "InternalIP"],
        "control_plane": "node-role.kubernetes.io/control-plane" in labels,
        "pod_cidr": item.get("spec", {}).get("podCIDR", ""),
        "unschedulable": bool(item.get("spec", {}).get("unschedulable", False)),
    }
