# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulling images from a registry on loopback that wants tokens, and what must never be accepted from one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import tarfile
from typing import TYPE_CHECKING

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import (
    Entry,
    ImageReference,
    load_catalogue,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import (
    DigestMismatch,
    FetchFailed,
    MissingArtifact,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.fetch import Fetched, fetch
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.lock import Lock, LockedFile
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.oci_archive import check_archive
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.registry import Registry
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.source import Source

if TYPE_CHECKING:
    from pathlib import Path

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.transport import Transport

    from .servers import FakeRegistry

BASE = random.Random(1).randbytes(120_000)
TOP = {arch: random.Random(arch).randbytes(80_000) for arch in ("amd64", "arm64")}
LAYERS = {arch: [BASE, top] for arch, top in TOP.items()}


def _entry(registry: FakeRegistry, arch: str = "amd64", digest: str | None = None, name: str = "app") -> Entry:
    reference = f"{registry.address}/team/{name}:v1"
    path = ImageReference.parse(reference).archive_path(arch)
    pause = load_catalogue().resolve("pause", None, arch)
    return dataclasses.replace(pause, name=name, version="v1", reference=reference, path=path, digest=digest)


def _pull(entry: Entry, tmp_path: Path, transport: Transport, lock: Lock | None = None) -> Fetched:
    return fetch([entry], Source.upstream(), tmp_path, lock or Lock(), transport=transport)[entry.key]


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_the_platforms_image_arrives_whole(
    registry: FakeRegistry, transport: Transport, tmp_path: Path, arch: str
) -> None:
    digest = registry.add("team/app", "v1", LAYERS)
    lock = Lock()
    entry = _entry(registry, arch)
    fetched = _pull(entry, tmp_path, transport, lock)
    check_archive(fetched.path, entry.reference, arch)
    with tarfile.open(fetched.path) as archive:
        blobs = {name.rpartition("/")[2] for name in archive.getnames() if name.startswith("blobs/sha256/")}
        assert {hashlib.sha256(layer).hexdigest() for layer in LAYERS[arch]} <= blobs
        assert digest.removeprefix("sha256:") in blobs, (
            "the index is kept, so that the pinned digest can be proved later"
        )
    locked = lock.files[entry.path]
    assert (locked.sha256, locked.size, locked.digest) == (fetched.sha256, fetched.size, digest)
    assert registry.tokens_given == 1


def test_two_pulls_give_the_same_bytes(registry: FakeRegistry, transport: Transport, tmp_path: Path) -> None:
    registry.add("team/app", "v1", LAYERS)
    entry = _entry(registry)
    assert _pull(entry, tmp_path / "a", transport).sha256 == _pull(entry, tmp_path / "b", transport).sha256


def test_a_locked_image_is_taken_from_the_cache_without_asking(
    registry: FakeRegistry, transport: Transport, tmp_path: Path
) -> None:
    registry.add("team/app", "v1", LAYERS)
    lock = Lock()
    _pull(_entry(registry), tmp_path, transport, lock)
    asked = len(registry.log)
    assert _pull(_entry(registry), tmp_path, transport, lock).cached
    assert len(registry.log) == asked


def test_a_tag_that_moved_does_not_change_what_was_locked(
    registry: FakeRegistry, transport: Transport, tmp_path: Path
) -> None:
    registry.add("team/app", "v1", LAYERS)
    lock = Lock()
    first = _pull(_entry(registry), tmp_path / "a", transport, lock)
    registry.add("team/app", "v1", {"amd64": [b"something else"]})
    assert _pull(_entry(registry), tmp_path / "b", transport, lock).sha256 == first.sha256


def test_an_archive_that_is_not_what_was_locked_is_refused(
    registry: FakeRegistry, transport: Transport, tmp_path: Path
) -> None:
    digest = registry.add("team/app", "v1", LAYERS)
    entry = _entry(registry)
    lock = Lock(files={entry.path: LockedFile("f" * 64, digest=digest)})
    with pytest.raises(FetchFailed, match="wanted " + "f" * 64):
        _pull(entry, tmp_path, transport, lock)
    assert lock.files[entry.path].sha256 == "f" * 64


def test_images_with_a_common_base_fetch_it_once(registry: FakeRegistry, transport: Transport, tmp_path: Path) -> None:
    registry.add("team/app", "v1", LAYERS)
    registry.add("team/other", "v1", {"amd64": [BASE, b"another top"]})
    entries = [_entry(registry), _entry(registry, name="other")]
    assert len(fetch(entries, Source.upstream(), tmp_path, Lock(), jobs=2, transport=transport)) == 2
    base = "sha256:" + hashlib.sha256(BASE).hexdigest()
    served = [path for path, headers in registry.log if path.endswith(base) and "Authorization" in headers]
    assert len(served) == 1


def test_cut_connections_are_resumed(registry: FakeRegistry, transport: Transport, tmp_path: Path) -> None:
    registry.add("team/app", "v1", LAYERS)
    registry.cut = 50_000
    _pull(_entry(registry), tmp_path, transport)
    assert any("Range" in headers for _path, headers in registry.log)


def test_an_expired_token_is_renewed(registry: FakeRegistry, transport: Transport, tmp_path: Path) -> None:
    registry.add("team/app", "v1", LAYERS)
    serve = registry.answer

    def answer(handler: object) -> None:
        if "/blobs/" in getattr(handler, "path", "") and registry.tokens_given == 1:
            registry.token = "second"
        serve(handler)  # type: ignore[arg-type]

    registry.answer = answer  # type: ignore[method-assign]
    _pull(_entry(registry), tmp_path, transport)
    assert registry.tokens_given == 2


def test_an_open_registry_needs_no_token(registry: FakeRegistry, transport: Transport, tmp_path: Path) -> None:
    registry.needs_token = False
    registry.add("team/app", "v1", LAYERS)
    _pull(_entry(registry), tmp_path, transport)
    assert registry.tokens_given == 0


def test_a_tag_without_an_index_is_taken_for_its_own_architecture_only(
    registry: FakeRegistry, transport: Transport, tmp_path: Path
) -> None:
    registry.add("team/app", "v1", {"amd64": [b"only"]}, index=False)
    _pull(_entry(registry, "amd64"), tmp_path, transport)
    with pytest.raises(FetchFailed, match="wanted linux/arm64, the registry has it for linux/amd64 only"):
        _pull(_entry(registry, "arm64"), tmp_path, transport)


def test_platforms_are_told_with_the_bytes_of_those_that_count(registry: FakeRegistry, transport: Transport) -> None:
    digest = registry.add("team/app", "v1", LAYERS)
    registry.add("team/app", "v2", {"arm64": [b"only"]}, index=False)
    pull = Registry(transport)
    one, other = (ImageReference.parse(f"{registry.address}/team/app:{tag}") for tag in ("v1", "v2"))
    assert pull.platforms(one, ["amd64"]) == {"amd64": 200_000, "arm64": 0}
    assert pull.platforms(other, ["amd64", "arm64"], digest) == {"amd64": 200_000, "arm64": 200_000}
    assert pull.platforms(other, ["amd64"]) == {"arm64": 4}
    with pytest.raises(MissingArtifact):
        pull.platforms(ImageReference.parse(f"{registry.address}/team/app:v3"), ["amd64"])


def test_a_missing_architecture_names_those_there_are(
    registry: FakeRegistry, transport: Transport, tmp_path: Path
) -> None:
    registry.add("team/app", "v1", {"amd64": [b"only"]})
    with pytest.raises(FetchFailed, match="wanted linux/arm64, its index has linux/amd64"):
        _pull(_entry(registry, "arm64"), tmp_path, transport)


def test_a_missing_image_is_named(registry: FakeRegistry, transport: Transport, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed) as caught:
        _pull(_entry(registry), tmp_path, transport)
    assert isinstance(caught.value.errors[0], MissingArtifact)
    assert f"{registry.address}/team/app:v1" in str(caught.value)


def test_a_pinned_digest_is_what_is_pulled(registry: FakeRegistry, transport: Transport, tmp_path: Path) -> None:
    digest = registry.add("team/app", "v1", LAYERS)
    registry.add("team/app", "v1", {"amd64": [b"the tag points elsewhere now"]})
    lock = Lock()
    entry = _entry(registry, digest=digest)
    _pull(entry, tmp_path, transport, lock)
    assert lock.files[entry.path].digest == digest


def test_another_manifest_than_the_pinned_one_is_refused(
    registry: FakeRegistry, transport: Transport, tmp_path: Path
) -> None:
    registry.add("team/app", "v1", LAYERS)
    kind, body = registry.manifests["team/app:v1"]
    pinned = "sha256:" + "e" * 64
    registry.manifests[f"team/app:{pinned}"] = (kind, body)
    with pytest.raises(FetchFailed) as caught:
        _pull(_entry(registry, digest=pinned), tmp_path, transport)
    assert isinstance(caught.value.errors[0], DigestMismatch)
    assert pinned in str(caught.value)
    assert hashlib.sha256(body).hexdigest() in str(caught.value)


def test_a_forged_platform_manifest_is_refused(registry: FakeRegistry, transport: Transport, tmp_path: Path) -> None:
    registry.add("team/app", "v1", LAYERS)
    _kind, body = registry.manifests["team/app:v1"]
    platform = json.loads(body)["manifests"][0]["digest"]
    kind, manifest = registry.manifests[f"team/app:{platform}"]
    registry.manifests[f"team/app:{platform}"] = (kind, manifest + b" ")
    with pytest.raises(FetchFailed, match=f"wanted the manifest {platform}"):
        _pull(_entry(registry), tmp_path, transport)


def test_a_forged_layer_is_refused(registry: FakeRegistry, transport: Transport, tmp_path: Path) -> None:
    registry.add("team/app", "v1", LAYERS)
    digest = "sha256:" + hashlib.sha256(TOP["amd64"]).hexdigest()
    registry.tampered[digest] = TOP["amd64"][:-1] + b"X"
    with pytest.raises(FetchFailed, match="a blob has sha256"):
        _pull(_entry(registry), tmp_path, transport)
    files = [path.name for path in (tmp_path / "sha256").rglob("*") if path.is_file()]
    assert hashlib.sha256(registry.tampered[digest]).hexdigest() not in files


def test_a_registry_with_passwords_is_left_with_a_hint(
    registry: FakeRegistry, transport: Transport, tmp_path: Path
) -> None:
    def answer(handler: object) -> None:
        handler.send(401, WWW_Authenticate='Basic realm="private"')  # type: ignore[attr-defined]

    registry.answer = answer  # type: ignore[method-assign]
    with pytest.raises(FetchFailed, match=r"not supported \(Basic\); use a mirror"):
        _pull(_entry(registry), tmp_path, transport)
