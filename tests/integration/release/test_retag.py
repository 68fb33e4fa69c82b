# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags of a real registry, Debian's docker-registry: rc.sha becomes vX.Y.Z and production-latest with the same digest."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import retag
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.live import Image

from tests.integration.artifacts.test_docker_registry import DOCKER_MANIFEST, running
from tests.unit.release.lab import A, Lab

PRODUCTION = "clusters/production/podinfo/kustomization.yaml"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("registry")) as address:
        yield address


def send(method: str, url: str, data: bytes | None = None, content_type: str = "application/octet-stream") -> Any:
    request = urllib.request.Request(url, data, {"Content-Type": content_type}, method=method)
    return urllib.request.urlopen(request, timeout=10)


def push(registry: str, repository: str, tag: str, text: str) -> str:
    """Push an image of one blob; return its digest."""
    base = f"http://{registry}/v2/{repository}"
    parts = []
    for content in (json.dumps({"architecture": "amd64", "os": "linux", "x": text}).encode(), text.encode()):
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        with send("POST", f"{base}/blobs/uploads/", b"") as answer:
            place = answer.headers["Location"]
        send("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", content).close()
        parts.append({"mediaType": "application/octet-stream", "size": len(content), "digest": digest})
    config = {**parts[0], "mediaType": "application/vnd.docker.container.image.v1+json"}
    layer = {**parts[1], "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip"}
    manifest = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "config": config, "layers": [layer]}
    content = json.dumps(manifest).encode()
    send("PUT", f"{base}/manifests/{tag}", content, DOCKER_MANIFEST).close()
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_tags_follow_a_promotion_with_the_same_digest(registry: str, tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    one = push(registry, "x/podinfo", "rc.4be1c0d", "one")
    two = push(registry, "x/podinfo", "rc.5cf2d1e", "two")
    image = f"{registry}/x/podinfo"
    gates = {"versions": "off", "policy": "off"}

    def promote(tag: str, *tags: str, digest: str = "") -> dict[str, Any]:
        images = f"images:\n- name: podinfo\n  newName: {image}\n  newTag: {tag}\n"
        images += f"  digest: {digest}\n" if digest else ""
        lab.commit({"clusters/staging/podinfo/kustomization.yaml": images, "README.md": tag})
        if "newName" not in lab.text(PRODUCTION):
            lab.commit({PRODUCTION: f"images:\n- name: podinfo\n  newTag: old\n  digest: {A}\n"})
        run = lab.run(gates=gates, retag=retag.Options(tags))
        return run.promote("staging", "production", ["podinfo"], ask_registry=True)

    done = promote("rc.4be1c0d", "v1.0.0", "production-latest")
    assert done.get("failed") is None, done.get("msg")
    assert [(each["tag"], each["digest"], each["changed"]) for each in done["retagged"]] == [
        ("v1.0.0", one, True),
        ("production-latest", one, True),
    ]
    assert f"digest: {one}" in lab.text(PRODUCTION)
    again = lab.run(gates=gates, retag=retag.Options(("production-latest",)))
    assert again.promote("staging", "production", ["podinfo"])["retagged"][0]["changed"] is False
    moved = promote("rc.5cf2d1e", "production-latest")
    assert moved["retagged"] == [{"image": image, "tag": "production-latest", "digest": two, "changed": True}]
    refused = promote("rc.4be1c0d", "v1.0.0", digest=one)
    assert refused.get("failed") is None
    with pytest.raises(ReleaseError, match=r"v1\.0\.0 is a version and points to .*: it is never moved"):
        retag.retag([Image(image, "rc.5cf2d1e", two)], retag.Options(("v1.0.0",)))


def test_what_the_registry_has_not_is_told(registry: str) -> None:
    with pytest.raises(ReleaseError, match=r"the registry has no v9"):
        retag.retag([Image(f"{registry}/x/none", "v9")], retag.Options(("latest",)))
    with pytest.raises(ReleaseError, match="no tag can be called that"):
        retag.retag([], retag.Options(("a/b",)))
    with pytest.raises(ReleaseError, match="the registry does not answer"):
        retag.retag([Image("127.0.0.1:1/x/y", "v1")], retag.Options(("latest",)))
