# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API server, asked from a host with the standard library alone.

The credentials are those of a kubeconfig with embedded PEM data, as kubeadm and K3s write it for the administrator. No
``kubectl`` has to start for it (0.1 to 0.3 s each).
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
from typing import Any, ClassVar

from ansible_collections.stagecraft.gitops.plugins.module_utils.node.host import Host, NodeError

CORDONED = "stagecraft.gitops/cordoned"
"""Annotation of a node that a run of ours has cordoned, so that a later one knows that it may give it back."""


class ApiUnavailable(NodeError):
    """The API server did not answer, or not with what was asked for."""


def embedded(kubeconfig: str, key: str, path: str, remedy: str) -> bytes:
    """The PEM data under ``key`` of the text of the kubeconfig ``path``: one cluster, one user, a line for each key."""
    found = re.search(rf"^\s*{re.escape(key)}:\s*(\S+)\s*$", kubeconfig, re.MULTILINE)
    if found is None:
        raise ApiUnavailable(f"{path} has no {key}; {remedy}")
    return base64.b64decode(found.group(1))


class LocalApi:
    """GET, PATCH and DELETE against the API server at ``address:port``, as the cluster's administrator."""

    #: Where the administrator's credentials are, what writes them anew, and where the server's words are.
    kubeconfig: str
    remedy: ClassVar[str]
    log: ClassVar[str]

    def __init__(self, host: Host, address: str, port: int, timeout: float = 5.0) -> None:
        self._host = host
        self._address = address
        self._port = port
        self._timeout = timeout

    def _context(self) -> ssl.SSLContext:
        text = self._host.read_text(self.kubeconfig)
        if text is None:
            raise ApiUnavailable(f"{self.kubeconfig} is missing: there are no credentials to ask the API server with")

        def part(key: str) -> bytes:
            return embedded(text, key, self.kubeconfig, self.remedy)

        context = ssl.create_default_context(cadata=part("certificate-authority-data").decode())
        # the ssl module takes a client's key from a file only: one in memory, which nobody else can open
        with os.fdopen(os.memfd_create("client"), "wb") as stream:
            stream.write(part("client-certificate-data") + b"\n" + part("client-key-data"))
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
                    raise ApiUnavailable(f"{error} (waited {seconds:.0f} s; see {self.log})") from error
            time.sleep(0.25)

    def nodes(self) -> list[Mapping[str, Any]]:
        """Each node as {name, ready, kubelet_version, addresses, control_plane, voter, pod_cidr, unschedulable, cordoned}.

        ``voter`` is None where the node says nothing of a member of etcd; ``cordoned`` says that a run of ours did it.
        """
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
        "voter": conditions["EtcdIsVoter"] == "True" if "EtcdIsVoter" in conditions else None,
        "pod_cidr": item.get("spec", {}).get("podCIDR", ""),
        "unschedulable": bool(item.get("spec", {}).get("unschedulable", False)),
        "cordoned": CORDONED in item["metadata"].get("annotations", {}),
    }
