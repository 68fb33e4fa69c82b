# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that carry others behind them, files stored as zstd frames, and several images in one archive."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.mirror import selfextracting, zstandard
from tests.mirror.keys import CHECKOUT, local_sources, step_keys
from tests.mirror.oci import FileEntry, ImageConfig, write_archive, write_images
from tests.mirror.recipes import K3S_WORD, LocalProgram, recipes

if TYPE_CHECKING:
    from pathlib import Path


def decode(frame: bytes) -> bytes:
    """Read a zstd frame of raw blocks, as RFC 8878 has it."""
    assert int.from_bytes(frame[:4], "little") == zstandard.MAGIC
    assert frame[4] >> 6 == 3
    size = int.from_bytes(frame[6:14], "little")
    place, content = 14, b""
    while True:
        header = int.from_bytes(frame[place : place + 3], "little")
        assert (header >> 1) & 3 == 0, "a raw block"
        length = header >> 3
        content += frame[place + 3 : place + 3 + length]
        place += 3 + length
        if header & 1:
            break
    assert place == len(frame)
    assert len(content) == size
    return content


@pytest.mark.parametrize("size", [0, 1, zstandard.BLOCK, zstandard.BLOCK + 1, 3 * zstandard.BLOCK])
def test_a_stored_file_comes_back(tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    zstandard.store(source, target)
    assert decode(target.read_bytes()) == source.read_bytes()


def test_a_program_ends_with_its_payload_and_the_digest_of_both(tmp_path: Path) -> None:
    program, more, target = tmp_path / "program", tmp_path / "more", tmp_path / "target"
    program.write_bytes(b"ELF")
    more.write_bytes(b"other")
    selfextracting.write(target, program, {"tool": more}, "word")
    data = target.read_bytes()
    assert data.endswith(b"word")
    size = int.from_bytes(data[-12:-4], "big")
    body, digest = data[:-44], data[-44:-12]
    assert hashlib.sha256(body).digest() == digest
    assert body[: len(body) - size] == b"ELF"
    with tarfile.open(fileobj=io.BytesIO(body[-size:])) as archive:
        held = archive.extractfile("tool")
        assert held is not None
        assert held.read() == b"other"
    assert target.stat().st_mode & 0o111
    assert sorted(path.name for path in tmp_path.iterdir()) == ["more", "program", "target"]


def test_several_images_share_an_archive_and_one_alone_is_as_before(tmp_path: Path) -> None:
    tree = {"a": FileEntry(b"x")}
    images = [(f"example.com/{name}:1", ImageConfig("amd64"), tree) for name in ("one", "two")]
    digests = write_images(tmp_path / "both", images)
    with tarfile.open(tmp_path / "both") as archive:
        index = archive.extractfile("index.json")
        assert index is not None
        manifests = json.load(index)["manifests"]
    assert [entry["annotations"]["io.containerd.image.name"] for entry in manifests] == [
        "example.com/one:1",
        "example.com/two:1",
    ]
    assert [entry["digest"] for entry in manifests] == [digest.name for digest in digests]
    assert write_archive(tmp_path / "one", *images[0]) == digests[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both", "one"]


def test_the_word_is_what_the_program_looks_for() -> None:
    source = (CHECKOUT / "tests" / "standins" / "k3s" / "payload.go").read_text()
    assert f'const trailerWord = "{K3S_WORD}"' in source


def test_a_changed_source_file_makes_the_program_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    everything = recipes()
    programs = [recipe for recipe in everything if isinstance(recipe, LocalProgram)]
    assert programs
    before = step_keys(everything, "go1.26.8")
    changed = tmp_path / "main.go"
    changed.write_text("package main\n")
    monkeypatch.setattr("tests.mirror.keys.local_sources", lambda recipe: [*local_sources(recipe), changed])
    after = step_keys(everything, "go1.26.8")
    differing = {name for name in before if before[name] != after[name]}
    assert {recipe.name for recipe in programs} <= differing
    beside = {"part/snapshot-s3", "part/gofakes3-0.0.12", "gofakes3-0.0.12"}
    assert all("k3s" in name for name in differing - beside)
