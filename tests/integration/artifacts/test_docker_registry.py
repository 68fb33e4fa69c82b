# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same pull from a registry that is not ours: Debian's docker-registry, unpacked and not installed (it would run as a service)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import subprocess
import tarfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import requests
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import (
    ImageReference,
    load_catalogue,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.fetch import fetch
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.lock import Lock
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.oci_archive import check_archive
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.source import Source

from tests.programs import debian_program, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.transport import Transport

INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@contextmanager
def running(directory: Path) -> Iterator[str]:
    """Run a registry that keeps everything in a directory; yield its address."""
    program = debian_program("docker-registry", directory / "package")
    address = f"127.0.0.1:{free_port()}"
    configuration = directory / "registry.yml"
    storage = {"filesystem": {"rootdirectory": str(directory / "storage")}}
    configuration.write_text(json.dumps({"version": 0.1, "storage": storage, "http": {"addr": address}}))
    with subprocess.Popen(
        [program, "serve", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            _wait(f"http://{address}/v2/", server)
            yield address
        finally:
            server.terminate()


@pytest.fixture
def docker_registry(tmp_path: Path) -> Iterator[str]:
    with running(tmp_path) as address:
        yield address


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        assert server.poll() is None, "docker-registry ended"
        try:
            if requests.get(url, timeout=1).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.05)
    raise AssertionError(f"{url} did not answer in 20 s")


def _put_blob(base: str, contents: bytes) -> dict[str, Any]:
    digest = "sha256:" + hashlib.sha256(contents).hexdigest()
    begun = requests.post(f"{base}/blobs/uploads/", timeout=10)
    begun.raise_for_status()
    location = begun.headers["Location"]
    requests.put(f"{location}&digest={digest}", data=contents, timeout=10).raise_for_status()
    return {"digest": digest, "size": len(contents)}


def _put_manifest(base: str, name: str, kind: str, manifest: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps({"schemaVersion": 2, "mediaType": kind, **manifest}).encode()
    requests.put(f"{base}/manifests/{name}", data=body, headers={"Content-Type": kind}, timeout=10).raise_for_status()
    return {"mediaType": kind, "digest": "sha256:" + hashlib.sha256(body).hexdigest(), "size": len(body)}


def test_an_image_of_two_architectures_is_pulled(docker_registry: str, transport: Transport, tmp_path: Path) -> None:
    base = f"http://{docker_registry}/v2/team/app"
    layer = random.Random(0).randbytes(3_000_000)
    descriptors = []
    for arch in ("amd64", "arm64"):
        config = _put_blob(base, json.dumps({"architecture": arch, "os": "linux"}).encode())
        image = {
            "config": {**config, "mediaType": "application/vnd.docker.container.image.v1+json"},
            "layers": [{**_put_blob(base, layer), "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip"}],
        }
        digest = (
            "sha256:"
            + hashlib.sha256(
                json.dumps({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, **image}).encode()
            ).hexdigest()
        )
        descriptor = _put_manifest(base, digest, DOCKER_MANIFEST, image)
        descriptors.append({**descriptor, "platform": {"architecture": arch, "os": "linux"}})
    index = _put_manifest(base, "v1", INDEX, {"manifests": descriptors})

    reference = f"{docker_registry}/team/app:v1"
    pause = load_catalogue().resolve("pause", None, "arm64")
    path = ImageReference.parse(reference).archive_path("arm64")
    entry = dataclasses.replace(pause, name="app", version="v1", reference=reference, path=path)
    lock = Lock()
    fetched = fetch([entry], Source.upstream(), tmp_path / "cache", lock, transport=transport)[entry.key]
    check_archive(fetched.path, reference, "arm64", str(index["digest"]))
    assert lock.files[path].digest == index["digest"]
    with tarfile.open(fetched.path) as archive:
        stored = archive.extractfile("blobs/sha256/" + hashlib.sha256(layer).hexdigest())
        assert stored is not None
        assert stored.read() == layer
