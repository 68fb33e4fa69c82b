# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OCI archives: equal images give equal bytes, and an archive that is not what it should be is recognised."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import DigestMismatch
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.oci_archive import (
    Blob,
    check_archive,
    digest_of,
    write_archive,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

REFERENCE = "registry.example/app:v1"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def _write(
    file: Path, *, arch: str = "amd64", layer: bytes = b"layer", reference: str = REFERENCE, more: Sequence[Blob] = ()
) -> str:
    config = json.dumps({"architecture": arch, "os": "linux"}).encode()
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "config": {"digest": digest_of(config), "size": len(config)},
        "layers": [{"digest": digest_of(layer), "size": len(layer)}],
    }
    body = json.dumps(manifest).encode()
    stored = file.with_suffix(".layer")
    stored.write_bytes(layer)
    blobs = [Blob(digest_of(body), body), Blob(digest_of(config), config), Blob(digest_of(layer), stored)]
    descriptor = {"mediaType": MANIFEST_TYPE, "digest": digest_of(body), "size": len(body)}
    write_archive(file, reference, descriptor, [*blobs, *more])
    return digest_of(body)


def test_the_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    _write(tmp_path / "one.tar")
    _write(tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_the_layout_is_what_containerd_imports(tmp_path: Path) -> None:
    file = tmp_path / "image.tar"
    _write(file)
    with tarfile.open(file) as archive:
        names = archive.getnames()
        index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
        layout = json.load(archive.extractfile("oci-layout"))  # type: ignore[arg-type]
        for member in archive.getmembers():
            assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
            if member.isfile() and member.name.startswith("blobs/"):
                contents = archive.extractfile(member)
                assert contents is not None
                assert hashlib.sha256(contents.read()).hexdigest() == member.name.rpartition("/")[2]
    assert layout == {"imageLayoutVersion": "1.0.0"}
    assert index["manifests"][0]["annotations"] == {
        "org.opencontainers.image.ref.name": "v1",
        "io.containerd.image.name": REFERENCE,
    }
    assert len([name for name in names if name.startswith("blobs/sha256/")]) == 3


def test_a_good_archive_passes(tmp_path: Path) -> None:
    _write(tmp_path / "image.tar", arch="arm64")
    check_archive(tmp_path / "image.tar", REFERENCE, "arm64")


def test_another_architecture_is_recognised(tmp_path: Path) -> None:
    _write(tmp_path / "image.tar", arch="arm64")
    with pytest.raises(DigestMismatch, match="it is for architecture arm64"):
        check_archive(tmp_path / "image.tar", REFERENCE, "amd64")


def test_another_image_is_recognised(tmp_path: Path) -> None:
    _write(tmp_path / "image.tar", reference="registry.example/other:v1")
    with pytest.raises(DigestMismatch, match=r"it holds registry\.example/other:v1"):
        check_archive(tmp_path / "image.tar", REFERENCE, "amd64")


def test_a_pinned_digest_is_proved_by_the_index_inside(tmp_path: Path) -> None:
    file = tmp_path / "image.tar"
    manifest = _write(file)
    check_archive(file, REFERENCE, "amd64", manifest)
    with pytest.raises(DigestMismatch, match=r"blobs/sha256/eeee.* is missing"):
        check_archive(file, REFERENCE, "amd64", "sha256:" + "e" * 64)
    for named, good in ((manifest, True), ("sha256:" + "e" * 64, False)):
        index = json.dumps({"manifests": [{"digest": named}]}).encode()
        _write(file, more=[Blob(digest_of(index), index)])
        if good:
            check_archive(file, REFERENCE, "amd64", digest_of(index))
        else:
            with pytest.raises(DigestMismatch, match="is not one of"):
                check_archive(file, REFERENCE, "amd64", digest_of(index))


def test_a_document_that_is_not_what_its_name_says_is_recognised(tmp_path: Path) -> None:
    file = tmp_path / "image.tar"
    forged = json.dumps({"manifests": []}).encode()
    pinned = "sha256:" + "e" * 64
    _write(file, more=[Blob(pinned, forged)])
    with pytest.raises(DigestMismatch, match="other contents than its name"):
        check_archive(file, REFERENCE, "amd64", pinned)


def _without(file: Path, unwanted: str) -> None:
    kept = []
    with tarfile.open(file) as archive:
        for member in archive.getmembers():
            contents = archive.extractfile(member)
            if unwanted not in member.name:
                kept.append((member, contents.read() if contents else b""))
    with tarfile.open(file, "w") as archive:
        for member, data in kept:
            archive.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize("missing", ["index.json", "oci-layout", hashlib.sha256(b"layer").hexdigest()])
def test_a_missing_part_is_recognised(tmp_path: Path, missing: str) -> None:
    file = tmp_path / "image.tar"
    _write(file)
    _without(file, missing)
    with pytest.raises(DigestMismatch, match="missing"):
        check_archive(file, REFERENCE, "amd64")


@pytest.mark.parametrize("contents", [b"", b"not a tar", b"\0" * 10240])
def test_what_is_no_archive_is_recognised(tmp_path: Path, contents: bytes) -> None:
    file = tmp_path / "image.tar"
    file.write_bytes(contents)
    with pytest.raises(DigestMismatch, match="not an OCI archive"):
        check_archive(file, REFERENCE, "amd64")
