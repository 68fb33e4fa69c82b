# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers on loopback: files under upstream names with faults on demand, and an OCI registry that wants tokens."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.server.log.append((unquote(urlsplit(self.path).path), dict(self.headers.items())))
        self.server.answer(self)

    def log_message(self, *args: Any) -> None:
        pass

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.log: list[tuple[str, dict[str, str]]] = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are part of the tests."""

    def answer(self, handler: _Handler) -> None:
        raise NotImplementedError

    def asked(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(1 for there, _headers in self.log if there == path)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


@dataclass
class Fault:
    """How a file is served badly.

    cut: bytes per connection, after which it is closed; ranges: honour Range; statuses: answers before the file is
    served; stall: seconds of silence after the first half, once; lie: answer a Range with another one; portion: bytes
    of a Range that are sent at most, as some caches do.
    """

    cut: int | None = None
    ranges: bool = True
    statuses: list[int] = field(default_factory=list)
    stall: float = 0.0
    lie: bool = False
    portion: int | None = None


class Mirror(_Server):
    """Serves files by path, with Range, ETag-less, and with a fault where one is set."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, Fault] = {}
        self.sent: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def put(self, path: str, contents: bytes) -> str:
        self.files[path] = contents
        return hashlib.sha256(contents).hexdigest()

    def lock(self, origin: str, **hashes: str) -> None:
        """Write the mirror's lock file for all files; hashes replaces some of them by path."""
        files = {p: {"sha256": hashlib.sha256(c).hexdigest(), "size": len(c)} for p, c in self.files.items()}
        for path, sha256 in hashes.items():
            files[path]["sha256"] = sha256
        self.put("stagecraft-mirror.lock.json", json.dumps({"schema": 1, "origin": origin, "files": files}).encode())

    def answer(self, handler: _Handler) -> None:
        path = unquote(urlsplit(handler.path).path).lstrip("/")
        fault = self.faults.get(path, Fault())
        if path not in self.files:
            handler.send(404)
            return
        if fault.statuses:
            handler.send(fault.statuses.pop(0), Retry_After="0")
            return
        contents = self.files[path]
        start = self._start(handler, fault)
        if start >= len(contents) and start:
            handler.send(416, Content_Range=f"bytes */{len(contents)}")
            return
        body = contents[start:]
        if start and fault.portion is not None:
            body = body[: fault.portion]
        handler.send_response(206 if start else 200)
        if start:
            said = 0 if fault.lie else start
            handler.send_header("Content-Range", f"bytes {said + fault.lie}-{start + len(body) - 1}/{len(contents)}")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if fault.stall:
            pause, fault.stall = fault.stall, 0.0
            handler.wfile.write(body[: len(body) // 2])
            handler.wfile.flush()
            time.sleep(pause)
            body = b""
        if fault.cut is not None and len(body) > fault.cut:
            body = body[: fault.cut]
            handler.close_connection = True
        handler.wfile.write(body)
        self.sent[path] += len(body)
        if fault.cut is not None:
            handler.close_connection = True

    @staticmethod
    def _start(handler: _Handler, fault: Fault) -> int:
        wanted = handler.headers.get("Range")
        if wanted is None or not fault.ranges:
            return 0
        return int(wanted.removeprefix("bytes=").partition("-")[0])


class FakeRegistry(_Server):
    """The pull side of the OCI distribution API for one or more images, with bearer tokens that can expire."""

    def __init__(self, *, needs_token: bool = True) -> None:
        super().__init__()
        self.needs_token = needs_token
        self.token = "first"
        self.tokens_given = 0
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.tampered: dict[str, bytes] = {}
        self.cut: int | None = None

    def add(self, repository: str, tag: str, layers: dict[str, list[bytes]], *, index: bool = True) -> str:
        """Add an image; layers by architecture. Returns the digest that the tag points to."""
        descriptors = []
        for arch, contents in layers.items():
            config = self._blob(json.dumps({"architecture": arch, "os": "linux"}).encode())
            manifest = json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": MANIFEST,
                    "config": {**config, "mediaType": "application/vnd.oci.image.config.v1+json"},
                    "layers": [
                        {**self._blob(layer), "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}
                        for layer in contents
                    ],
                }
            ).encode()
            digest = self._manifest(repository, MANIFEST, manifest)
            platform = {"architecture": arch, "os": "linux"}
            descriptors.append({"mediaType": MANIFEST, "digest": digest, "size": len(manifest), "platform": platform})
        unknown = {"architecture": "unknown", "os": "unknown"}
        descriptors.append({"mediaType": MANIFEST, "digest": "sha256:" + "0" * 64, "size": 1, "platform": unknown})
        if index:
            body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": descriptors}).encode()
            digest = self._manifest(repository, INDEX, body)
        else:
            digest = str(descriptors[0]["digest"])
        self.manifests[f"{repository}:{tag}"] = self.manifests[f"{repository}:{digest}"]
        return digest

    def _blob(self, contents: bytes) -> dict[str, Any]:
        digest = "sha256:" + hashlib.sha256(contents).hexdigest()
        self.blobs[digest] = contents
        return {"digest": digest, "size": len(contents)}

    def _manifest(self, repository: str, kind: str, body: bytes) -> str:
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        self.manifests[f"{repository}:{digest}"] = (kind, body)
        return digest

    def answer(self, handler: _Handler) -> None:
        parts = urlsplit(handler.path)
        if parts.path == "/token":
            self._give_token(handler, parse_qs(parts.query))
            return
        repository, _slash, rest = parts.path.removeprefix("/v2/").rpartition("/manifests/")
        if repository:
            self._serve(handler, repository, self.manifests.get(f"{repository}:{rest}"))
            return
        repository, _slash, digest = parts.path.removeprefix("/v2/").rpartition("/blobs/")
        blob = self.tampered.get(digest, self.blobs.get(digest))
        self._serve(handler, repository, None if blob is None else ("application/octet-stream", blob))

    def _give_token(self, handler: _Handler, query: dict[str, list[str]]) -> None:
        if query.get("service") != ["fake"] or not query.get("scope", [""])[0].endswith(":pull"):
            handler.send(400)
            return
        self.tokens_given += 1
        handler.send(200, json.dumps({"token": self.token}).encode())

    def _serve(self, handler: _Handler, repository: str, found: tuple[str, bytes] | None) -> None:
        if self.needs_token and handler.headers.get("Authorization") != f"Bearer {self.token}":
            challenge = (
                f'Bearer realm="http://{self.address}/token",service="fake",scope="repository:{repository}:pull"'
            )
            handler.send(401, WWW_Authenticate=challenge)
            return
        if found is None:
            handler.send(404)
            return
        kind, body = found
        wanted = handler.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Type", kind)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        rest = body[start:]
        if self.cut is not None and len(rest) > self.cut:
            rest = rest[: self.cut]
            handler.close_connection = True
        handler.wfile.write(rest)
