# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OCI archives: one image for one platform in one tar file, the same bytes for the same image every time."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import DigestMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class Blob:
    """A blob to be put into an archive: its digest ("sha256:…") and its contents, or the file that holds them."""

    digest: str
    contents: bytes | Path


def write_archive(file: Path, reference: str, manifest: Mapping[str, Any], blobs: list[Blob]) -> None:
    """Write an archive whose index points to `manifest`, a descriptor {mediaType, digest, size, platform}.

    Names are sorted and times, owners and modes fixed: equal blobs give an equal file. The blobs are taken as verified.
    """
    tag = reference.rpartition(":")[2]
    descriptor = {**manifest, "annotations": {IMAGE_NAME: reference, REF_NAME: tag}}
    members: dict[str, bytes | Path] = {
        "index.json": _json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [descriptor]}),
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
    }
    for blob in blobs:
        members["blobs/" + blob.digest.replace(":", "/")] = blob.contents
    with tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("blobs", "blobs/sha256"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
        for name in sorted(members):
            _add(archive, name, members[name])


def check_archive(file: Path, reference: str, arch: str, digest: str | None = None) -> None:
    """Make sure that an archive holds the image `reference` for `arch`, whole.

    Reads the small documents only: every blob that they name must be there in its size; their bytes are covered by the
    archive's own sha256. With `digest`, it must be the image that this digest ("sha256:…", of the manifest or of the
    index, which the archive then holds too) names. Raises DigestMismatch with what is wrong.
    """
    try:
        problem = _problem(file, reference, arch, digest)
    except (tarfile.TarError, ValueError, KeyError, TypeError, EOFError) as error:
        problem = f"it is not an OCI archive: {type(error).__name__}: {error}"
    if problem:
        raise DigestMismatch(f"image archive {file} for {reference} ({arch}): {problem}")


def _problem(file: Path, reference: str, arch: str, digest: str | None) -> str:
    with tarfile.open(file, "r:") as archive:
        members = {member.name.removeprefix("./"): member for member in archive.getmembers() if member.isfile()}

        def document(name: str) -> dict[str, Any]:
            if name not in members:
                raise KeyError(f"{name} is missing")
            handle = archive.extractfile(members[name])
            body = handle.read() if handle is not None else b""
            if name.startswith("blobs/") and digest_of(body) != "sha256:" + name.rpartition("/")[2]:
                raise ValueError(f"{name} has other contents than its name says")
            contents = json.loads(body)
            if not isinstance(contents, dict):
                raise TypeError(f"{name} is not a JSON object")
            return contents

        document("oci-layout")
        descriptors = document("index.json")["manifests"]
        named = [d for d in descriptors if d.get("annotations", {}).get(IMAGE_NAME) == reference]
        if len(named) != 1:
            found = ", ".join(str(d.get("annotations", {}).get(IMAGE_NAME)) for d in descriptors) or "nothing"
            return f"it holds {found}"
        if digest is not None and named[0]["digest"] != digest:
            choices = document(_blob({"digest": digest})).get("manifests", [])
            if named[0]["digest"] not in [choice["digest"] for choice in choices]:
                return f"its manifest {named[0]['digest']} is not one of {digest}"
        manifest = document(_blob(named[0]))
        config = document(_blob(manifest["config"]))
        if config.get("architecture") != arch:
            return f"it is for architecture {config.get('architecture')}"
        for part in (manifest["config"], *manifest["layers"]):
            member = members.get(_blob(part))
            if member is None or member.size != part["size"]:
                return f"blob {part['digest']} is missing or cut off"
    return ""


def _blob(descriptor: Mapping[str, Any]) -> str:
    return "blobs/" + str(descriptor["digest"]).replace(":", "/")


def _add(archive: tarfile.TarFile, name: str, contents: bytes | Path) -> None:
    member = tarfile.TarInfo(name)
    member.mode = 0o644
    if isinstance(contents, bytes):
        member.size = len(contents)
        archive.addfile(member, io.BytesIO(contents))
    else:
        member.size = contents.stat().st_size
        with contents.open("rb") as handle:
            archive.addfile(member, handle)


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":")).encode()


def digest_of(contents: bytes) -> str:
    """Give the digest of a blob in the notation of registries: sha256:<hex>."""
    return "sha256:" + hashlib.sha256(contents).hexdigest()
