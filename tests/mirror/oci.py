# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write container images as OCI archives, without a container engine.

An archive is an uncompressed tar that holds an OCI image layout (``oci-layout``, ``index.json``, ``blobs/sha256/…``)
with one image of one layer. The same input gives the same bytes: members are sorted, owned by root, of a fixed time.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from _typeshed import ReadableBuffer as Buffer

EPOCH = 0
"""Modification time of every member, in seconds since 1970."""

CREATED = "1970-01-01T00:00:00Z"
GZIP_LEVEL = 4
"""Layers are compressed as in a registry; this level is near the best ratio at half of its time."""

MEDIA_CONFIG = "application/vnd.oci.image.config.v1+json"
MEDIA_INDEX = "application/vnd.oci.image.index.v1+json"
MEDIA_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MEDIA_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class FileEntry:
    """A regular file: its content is ``source``, a path on this machine or the bytes themselves."""

    source: Path | bytes
    mode: int = 0o644


@dataclass(frozen=True)
class LinkEntry:
    """A symbolic link to ``target``."""

    target: str


@dataclass(frozen=True)
class DirectoryEntry:
    """An empty directory, or one whose mode differs from 0755."""

    mode: int = 0o755


Entry = FileEntry | LinkEntry | DirectoryEntry


@dataclass(frozen=True)
class ImageConfig:
    """What the image says about running it; ``environment`` maps names to values."""

    architecture: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    working_directory: str = "/"


@dataclass(frozen=True)
class Digest:
    """The sha256 (64 hexadecimal digits) and the size (bytes) of a blob."""

    sha256: str
    size: int

    @property
    def name(self) -> str:
        """The digest as OCI writes it."""
        return f"sha256:{self.sha256}"


class _Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


class _HashingWriter(io.RawIOBase):
    """Passes writes on to ``target`` and knows the digest of all that went through."""

    def __init__(self, target: _Writable) -> None:
        super().__init__()
        self._target = target
        self._hash = hashlib.sha256()
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Buffer, /) -> int:
        content = bytes(data)
        self._hash.update(content)
        self._target.write(content)
        self._size += len(content)
        return len(content)

    @property
    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest(), self._size)


def reference_parts(reference: str) -> tuple[str, str, str]:
    """Split a full image reference into registry host, repository and tag.

    Raises ValueError when one of the three is missing.
    """
    host, _, rest = reference.partition("/")
    repository, _, tag = rest.rpartition(":")
    if not host or not repository or not tag or ("." not in host and ":" not in host):
        raise ValueError(f"image reference {reference!r}: wanted <registry host>/<repository>:<tag>")
    return host, repository, tag


def mirror_path(reference: str, architecture: str) -> str:
    """Return the path below the mirror's root of the archive of ``reference``."""
    host, repository, tag = reference_parts(reference)
    return f"{host}/{repository}/{tag}/{architecture}.oci.tar"


def write_archive(path: Path, reference: str, config: ImageConfig, tree: Mapping[str, Entry]) -> Digest:
    """Write the image ``reference`` as an OCI archive to ``path`` and return the digest of its manifest.

    ``tree`` maps paths inside the image (relative, without a leading ``/``) to entries; parent directories are made.
    Raises ValueError for a path that is absolute, has ``..`` in it, or lies below a file.
    """
    return write_images(path, [(reference, config, tree)])[0]


def write_images(path: Path, images: Sequence[tuple[str, ImageConfig, Mapping[str, Entry]]]) -> list[Digest]:
    """Write several images (reference, configuration, content) to one OCI archive; return their manifests' digests."""
    members: dict[str, bytes | Path] = {"oci-layout": _json({"imageLayoutVersion": "1.0.0"})}
    layers: list[Path] = []
    manifests: list[dict[str, object]] = []
    digests: list[Digest] = []
    try:
        for number, (reference, config, tree) in enumerate(images):
            _, _, tag = reference_parts(reference)
            layers.append(path.with_name(f"{path.name}.layer{number}"))
            digest = _add_image(members, layers[-1], config, tree)
            digests.append(digest)
            manifests.append(
                {
                    **_descriptor(MEDIA_MANIFEST, digest),
                    "annotations": {
                        "io.containerd.image.name": reference,
                        "org.opencontainers.image.ref.name": tag,
                    },
                    "platform": {"architecture": config.architecture, "os": "linux"},
                }
            )
        members["index.json"] = _json({"schemaVersion": 2, "mediaType": MEDIA_INDEX, "manifests": manifests})
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
            _add_directory(archive, "blobs", 0o755)
            _add_directory(archive, "blobs/sha256", 0o755)
            for name in sorted(members):
                _add_file(archive, name, FileEntry(members[name], 0o644))
        return digests
    finally:
        for layer in layers:
            layer.unlink(missing_ok=True)


def _add_image(
    members: dict[str, bytes | Path], layer_file: Path, config: ImageConfig, tree: Mapping[str, Entry]
) -> Digest:
    """Put an image's blobs among ``members``, its layer as ``layer_file``; return its manifest's digest."""
    diff, layer = _write_layer(layer_file, tree)
    config_blob = _json(
        {
            "architecture": config.architecture,
            "config": _run_config(config),
            "created": CREATED,
            "history": [{"created": CREATED, "created_by": "stagecraft.gitops tests/mirror"}],
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [diff.name]},
        }
    )
    config_digest = _digest(config_blob)
    manifest_blob = _json(
        {
            "schemaVersion": 2,
            "mediaType": MEDIA_MANIFEST,
            "config": _descriptor(MEDIA_CONFIG, config_digest),
            "layers": [_descriptor(MEDIA_LAYER, layer)],
        }
    )
    manifest_digest = _digest(manifest_blob)
    members[f"blobs/sha256/{config_digest.sha256}"] = config_blob
    members[f"blobs/sha256/{layer.sha256}"] = layer_file
    members[f"blobs/sha256/{manifest_digest.sha256}"] = manifest_blob
    return manifest_digest


def write_tar_gz(path: Path, tree: Mapping[str, Entry], *, prefix: str = "") -> None:
    """Write ``tree`` as a deterministic ``.tar.gz``; ``prefix`` is put before every name (upstream's ``./``)."""
    with (
        path.open("wb") as raw,
        _gzip(raw) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, entry in _with_parents(tree):
            _add(archive, prefix + name, entry)


def _write_layer(path: Path, tree: Mapping[str, Entry]) -> tuple[Digest, Digest]:
    """Write the layer to ``path``; return the digests of the tar and of the compressed tar."""
    with path.open("wb") as raw:
        packed = _HashingWriter(raw)
        with _gzip(cast("BinaryIO", packed)) as compressor:
            plain = _HashingWriter(compressor)
            with tarfile.open(fileobj=cast("BinaryIO", plain), mode="w", format=tarfile.PAX_FORMAT) as archive:
                for name, entry in _with_parents(tree):
                    _add(archive, name, entry)
    return plain.digest, packed.digest


def _gzip(target: BinaryIO) -> gzip.GzipFile:
    return gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=target, mtime=EPOCH)


def _with_parents(tree: Mapping[str, Entry]) -> Iterator[tuple[str, Entry]]:
    """All entries with the directories above them, sorted, so that a directory comes before its content."""
    full: dict[str, Entry] = dict(tree)
    for name in tree:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or str(pure) != name:
            raise ValueError(f"image path {name!r}: wanted a plain relative path")
        for parent in pure.parents:
            if str(parent) == ".":
                continue
            if not isinstance(full.setdefault(str(parent), DirectoryEntry()), DirectoryEntry):
                raise ValueError(  # noqa: TRY004 - the value is wrong, not its type
                    f"image path {name!r} lies below {str(parent)!r}, which is not a directory"
                )
    yield from sorted(full.items())


def _add(archive: tarfile.TarFile, name: str, entry: Entry) -> None:
    if isinstance(entry, FileEntry):
        _add_file(archive, name, entry)
    elif isinstance(entry, LinkEntry):
        info = _info(name, 0o777)
        info.type, info.linkname = tarfile.SYMTYPE, entry.target
        archive.addfile(info)
    else:
        _add_directory(archive, name, entry.mode)


def _add_file(archive: tarfile.TarFile, name: str, entry: FileEntry) -> None:
    info = _info(name, entry.mode)
    if isinstance(entry.source, bytes):
        info.size = len(entry.source)
        archive.addfile(info, io.BytesIO(entry.source))
        return
    with entry.source.open("rb") as content:
        info.size = os.fstat(content.fileno()).st_size
        archive.addfile(info, content)


def _add_directory(archive: tarfile.TarFile, name: str, mode: int) -> None:
    info = _info(name, mode)
    info.type = tarfile.DIRTYPE
    archive.addfile(info)


def _info(name: str, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.mtime, info.uid, info.gid, info.uname, info.gname = mode, EPOCH, 0, 0, "root", "root"
    return info


def _run_config(config: ImageConfig) -> dict[str, object]:
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **config.environment}
    run: dict[str, object] = {
        "Env": [f"{name}={value}" for name, value in sorted(environment.items())],
        "WorkingDir": config.working_directory,
    }
    if config.entrypoint:
        run["Entrypoint"] = list(config.entrypoint)
    if config.command:
        run["Cmd"] = list(config.command)
    if config.user:
        run["User"] = config.user
    return run


def _descriptor(media_type: str, digest: Digest) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest.name, "size": digest.size}


def _digest(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest(), len(data))


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def file_digest(path: Path) -> Digest:
    """Return the digest of the file at ``path``."""
    with path.open("rb") as content:
        value = hashlib.file_digest(content, "sha256").hexdigest()
        return Digest(value, os.fstat(content.fileno()).st_size)


def copy_file(source: Path, target: Path, mode: int) -> None:
    """Copy content only, giving ``target`` the permission bits ``mode``."""
    shutil.copyfile(source, target)
    target.chmod(mode)
