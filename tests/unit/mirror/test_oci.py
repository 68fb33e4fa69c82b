# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The OCI archive writer: digests are true, bytes are the same each time, names are checked."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.mirror.oci import (
    DirectoryEntry,
    Entry,
    FileEntry,
    ImageConfig,
    LinkEntry,
    mirror_path,
    reference_parts,
    write_archive,
    write_tar_gz,
)

REFERENCE = "registry.example.com/team/app:1.2.3"
CONFIG = ImageConfig("amd64", entrypoint=("/app",), command=("serve",), environment={"HOME": "/"}, user="65532")


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, Entry]:
    program = tmp_path / "program"
    program.write_bytes(os.urandom(3_000_000))
    return {
        "usr/local/bin/app": FileEntry(program, 0o755),
        "etc/passwd": FileEntry(b"root:x:0:0::/root:/bin/sh\n"),
        "tmp": DirectoryEntry(0o1777),
        "bin": LinkEntry("usr/bin"),
    }


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        found = {info.name: archive.extractfile(info) for info in archive if info.isfile()}
        return {name: content.read() for name, content in found.items() if content is not None}


def test_every_digest_in_the_archive_is_true(tmp_path: Path, tree: dict[str, Entry]) -> None:
    path = tmp_path / "image.tar"
    digest = write_archive(path, REFERENCE, CONFIG, tree)
    found = members(path)
    blobs = {name: data for name, data in found.items() if name.startswith("blobs/")}
    assert len(blobs) == 3
    for name, data in blobs.items():
        assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"

    def blob(descriptor: dict[str, Any]) -> bytes:
        data = blobs[f"blobs/sha256/{descriptor['digest'].removeprefix('sha256:')}"]
        assert len(data) == descriptor["size"]
        return data

    (entry,) = json.loads(found["index.json"])["manifests"]
    assert entry["digest"] == digest.name
    manifest = json.loads(blob(entry))
    config = json.loads(blob(manifest["config"]))
    (layer,) = manifest["layers"]
    plain = gzip.decompress(blob(layer))
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(plain).hexdigest()}"]
    assert json.loads(found["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}


def test_the_image_is_named_as_containerd_wants_it(tmp_path: Path, tree: dict[str, Entry]) -> None:
    path = tmp_path / "image.tar"
    write_archive(path, REFERENCE, CONFIG, tree)
    (entry,) = json.loads(members(path)["index.json"])["manifests"]
    assert entry["annotations"] == {
        "io.containerd.image.name": REFERENCE,
        "org.opencontainers.image.ref.name": "1.2.3",
    }
    assert entry["platform"] == {"architecture": "amd64", "os": "linux"}


def test_the_layer_holds_the_tree_with_its_modes(tmp_path: Path, tree: dict[str, Entry]) -> None:
    path = tmp_path / "image.tar"
    write_archive(path, REFERENCE, CONFIG, tree)
    found = members(path)
    layers = [data for data in found.values() if data.startswith(b"\x1f\x8b")]
    assert len(layers) == 1
    with tarfile.open(fileobj=io.BytesIO(layers[0])) as layer:
        infos = {info.name: info for info in layer}
        program = layer.extractfile("usr/local/bin/app")
        assert program is not None
        source = tree["usr/local/bin/app"]
        assert isinstance(source, FileEntry)
        assert isinstance(source.source, Path)
        assert program.read() == source.source.read_bytes()
    assert list(infos) == ["bin", "etc", "etc/passwd", "tmp", "usr", "usr/local", "usr/local/bin", "usr/local/bin/app"]
    assert infos["tmp"].mode == 0o1777
    assert infos["usr/local/bin/app"].mode == 0o755
    assert infos["bin"].linkname == "usr/bin"
    assert {(info.uid, info.gid, info.mtime) for info in infos.values()} == {(0, 0, 0)}


def test_the_configuration_says_how_to_run(tmp_path: Path, tree: dict[str, Entry]) -> None:
    path = tmp_path / "image.tar"
    write_archive(path, REFERENCE, CONFIG, tree)
    configs = [json.loads(data) for data in members(path).values() if b'"rootfs"' in data]
    assert len(configs) == 1
    run = configs[0]["config"]
    assert (run["Entrypoint"], run["Cmd"], run["User"]) == (["/app"], ["serve"], "65532")
    assert "HOME=/" in run["Env"]


def test_same_input_same_bytes(tmp_path: Path, tree: dict[str, Entry]) -> None:
    first, second = tmp_path / "first.tar", tmp_path / "second.tar"
    write_archive(first, REFERENCE, CONFIG, tree)
    write_archive(second, REFERENCE, CONFIG, dict(reversed(tree.items())))
    assert first.read_bytes() == second.read_bytes()
    write_tar_gz(first, tree, prefix="./")
    write_tar_gz(second, tree, prefix="./")
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as archive:
        assert "./usr/local/bin/app" in archive.getnames()


def test_nothing_is_left_beside_the_archive(tmp_path: Path, tree: dict[str, Entry]) -> None:
    output = tmp_path / "output"
    output.mkdir()
    write_archive(output / "image.tar", REFERENCE, CONFIG, tree)
    with pytest.raises(ValueError, match="plain relative path"):
        write_archive(output / "bad.tar", REFERENCE, CONFIG, {"/etc/passwd": FileEntry(b"")})
    assert [path.name for path in output.iterdir()] == ["image.tar"]


@pytest.mark.parametrize("name", ["/etc/passwd", "../etc", "a/../b", "a//b", "./a"])
def test_paths_that_are_not_plain_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="plain relative path"):
        write_archive(tmp_path / "image.tar", REFERENCE, CONFIG, {name: FileEntry(b"")})


def test_a_path_below_a_file_is_refused(tmp_path: Path) -> None:
    tree: dict[str, Entry] = {"bin": LinkEntry("usr/bin"), "bin/sh": FileEntry(b"")}
    with pytest.raises(ValueError, match="'bin/sh' lies below 'bin'"):
        write_archive(tmp_path / "image.tar", REFERENCE, CONFIG, tree)


def test_references() -> None:
    assert reference_parts("registry.k8s.io/coredns/coredns:v1.14.2") == (
        "registry.k8s.io",
        "coredns/coredns",
        "v1.14.2",
    )
    assert reference_parts("localhost:5000/app:1") == ("localhost:5000", "app", "1")
    assert mirror_path("registry.k8s.io/etcd:3.6.8-0", "amd64") == "registry.k8s.io/etcd/3.6.8-0/amd64.oci.tar"


@pytest.mark.parametrize(
    "reference", ["busybox", "busybox:1", "library/busybox:1", "docker.io/library/busybox", "docker.io/:1"]
)
def test_short_references_are_refused(reference: str) -> None:
    with pytest.raises(ValueError, match="wanted <registry host>/<repository>:<tag>"):
        reference_parts(reference)
