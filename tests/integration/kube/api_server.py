# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for kube-apiserver, on loopback: real TLS with a CA of its own, client certificates, objects from a dict.

It answers what it is told to answer, and counts what it is asked. It is no Kubernetes.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def issue(name: str, issuer: Pair | None = None, sans: tuple[str, ...] = ()) -> Pair:
    """Make a certificate: a CA without an issuer, else one signed by it. Like kubeadm's, with few extensions."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    names: list[x509.GeneralName] = []
    for san in sans:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(san)))
        except ValueError:
            names.append(x509.DNSName(san))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Pair(builder.sign(issuer.key if issuer else key, hashes.SHA256()), key)


@dataclass
class ApiServer:
    """The server. `answers` maps a path to (status, body); lists are cut into pages where `limit` asks for it."""

    directory: Path
    sans: tuple[str, ...] = ("127.0.0.1", "kubernetes")
    token: str = ""
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    connections: int = 0
    page_size: int = 500

    def __post_init__(self) -> None:
        self.ca = issue("kubernetes")
        self.client = issue("kubernetes-admin", self.ca)
        serving = issue("kube-apiserver", self.ca, self.sans)
        chain = self.directory / "serving.pem"
        chain.write_bytes(serving.pem + serving.key_pem)
        authority = self.directory / "ca.pem"
        authority.write_bytes(self.ca.pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(authority)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    def admin_conf(self, **changes: Any) -> str:
        """The admin's kubeconfig; `changes` replace fields of the cluster, or (user_…) of the user."""
        cluster: dict[str, Any] = {
            "server": f"https://127.0.0.1:{self.port}",
            "certificate-authority-data": base64.b64encode(self.ca.pem).decode(),
        }
        user: dict[str, Any] = {
            "client-certificate-data": base64.b64encode(self.client.pem).decode(),
            "client-key-data": base64.b64encode(self.client.key_pem).decode(),
        }
        if self.token:
            user = {"token": self.token}
        for name, value in changes.items():
            key = name.replace("_", "-")
            target, key = (user, key.removeprefix("user-")) if key.startswith("user-") else (cluster, key)
            target[key] = value
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "kubernetes", "cluster": cluster}],
                "users": [{"name": "kubernetes-admin", "user": user}],
                "contexts": [{"name": "admin", "context": {"cluster": "kubernetes", "user": "kubernetes-admin"}}],
                "current-context": "admin",
            }
        )

    def kubeconfig(self, **changes: Any) -> Path:
        """Write `admin_conf` to a file and return its path."""
        path = self.directory / "config"
        path.write_text(self.admin_conf(**changes))
        path.chmod(0o600)
        return path

    def healthy(self, nodes: tuple[str, ...] = ("cp1",), version: str = "v1.36.3") -> None:
        """Answer as a healthy cluster of kubeadm's does."""
        system = "/namespaces/kube-system"
        control_plane = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
        self.answers = {
            "/readyz": (200, "ok"),
            "/version": (200, {"gitVersion": version}),
            "/api/v1/nodes": (200, items(*(node(name, version) for name in nodes))),
            f"/apis/apps/v1{system}/daemonsets": (200, items(daemon_set("kube-proxy", len(nodes)))),
            f"/apis/apps/v1{system}/deployments": (200, items(deployment("coredns", 2))),
            f"/apis/apps/v1{system}/statefulsets": (200, items()),
            f"/api/v1{system}": (200, {"metadata": {"name": "kube-system"}}),
            f"/api/v1{system}/pods": (
                200,
                items(*(pod(f"{name}-{nodes[0]}") for name in control_plane), pod("coredns-1", owner="ReplicaSet")),
            ),
        }


def _handler(server: ApiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            server.connections += 1
            super().setup()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            server.asked.append((self.command, parts.path))
            self._answer(*self._decide(parts.path, parse_qs(parts.query)))

        def _decide(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
            authorized = self.headers.get("Authorization") == f"Bearer {server.token}" if server.token else False
            if not authorized and not self.connection.getpeercert():
                return 401, {"kind": "Status", "message": "Unauthorized", "code": 401}
            status, body = server.answers.get(path, (404, {"kind": "Status", "message": f"{path} not found"}))
            if status == 200 and isinstance(body, dict) and "items" in body and "limit" in query:
                first = int(query.get("continue", ["0"])[0])
                last = first + min(server.page_size, int(query["limit"][0]))
                more = {"continue": str(last)} if last < len(body["items"]) else {}
                body = {**body, "items": body["items"][first:last], "metadata": more}
            return status, body

        def _answer(self, status: int, body: Any) -> None:
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


def items(*objects: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "List", "metadata": {}, "items": list(objects)}


def node(name: str, version: str = "v1.36.3", ready: str = "True", reason: str = "KubeletReady") -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {},
        "status": {
            "nodeInfo": {"kubeletVersion": version},
            "conditions": [{"type": "Ready", "status": ready, "reason": reason, "message": "as the kubelet says"}],
        },
    }


def daemon_set(name: str, wanted: int, available: int | None = None) -> dict[str, Any]:
    counts = {"desiredNumberScheduled": wanted, "updatedNumberScheduled": wanted}
    return {
        "metadata": {"name": name, "namespace": "kube-system", "generation": 1},
        "status": {**counts, "numberAvailable": wanted if available is None else available, "observedGeneration": 1},
    }


def deployment(name: str, wanted: int, available: int | None = None) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "kube-system", "generation": 1},
        "spec": {"replicas": wanted},
        "status": {
            "replicas": wanted,
            "updatedReplicas": wanted,
            "availableReplicas": wanted if available is None else available,
            "observedGeneration": 1,
        },
    }


def pod(name: str, ready: str = "True", phase: str = "Running", owner: str = "Node") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "kube-system", "ownerReferences": [{"kind": owner}]},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
    }
