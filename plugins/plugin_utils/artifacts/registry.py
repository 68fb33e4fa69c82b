# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pulls an image over the OCI distribution API into an OCI archive, every byte checked against its digest."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from .cache import Cache, sha256_of
from .catalogue import ImageReference
from .errors import DigestMismatch, DownloadFailed, MissingArtifact
from .oci_archive import INDEX_TYPE, Blob, digest_of, write_archive
from .transport import Unauthorized

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from .transport import Document, OnBytes, OnRetry, Transport

_DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_ACCEPT = f"{INDEX_TYPE}, {_DOCKER_INDEX}, {_MANIFEST}, {_DOCKER_MANIFEST}"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_API_HOSTS = {"docker.io": "registry-1.docker.io"}
_LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?")

_T = TypeVar("_T")


@dataclass(frozen=True)
class Pulled:
    """An image that has been written to an archive.

    `sha256` and `size` (bytes) are the archive's, `digest` is that of what the tag points to, `manifest` that of the
    platform's own manifest (equal where the tag points to it directly).
    """

    sha256: str
    size: int
    digest: str
    manifest: str


class Registry:
    """A client of any number of registries; anonymous, with tokens where one asks for them. Threads may share it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._tokens: dict[tuple[str, str], str] = {}
        self._guard = threading.Lock()

    def pull(
        self,
        reference: str,
        arch: str,
        file: Path,
        cache: Cache,
        *,
        digest: str | None = None,
        on_bytes: OnBytes | None = None,
        on_retry: OnRetry | None = None,
    ) -> Pulled:
        """Write the image for `arch` (linux) to `file`; `digest` pins what the tag must point to.

        Layers go through the cache, so an interrupted pull goes on where it stopped and images share their base.
        Raises MissingArtifact, DigestMismatch or DownloadFailed.
        """
        image = ImageReference.parse(reference)
        blobs: list[Blob] = []
        top = self._manifest(image, digest or image.tag)
        found = digest_of(top.body)
        if digest is not None and found != digest:
            raise DigestMismatch(f"{image}: wanted the manifest {digest}, {image.registry} sent {found}")
        contents = _parse(top.body, image)
        descriptor: dict[str, Any] = {"mediaType": _media_type(top, contents), "digest": found, "size": len(top.body)}
        manifest = contents
        if descriptor["mediaType"] in (INDEX_TYPE, _DOCKER_INDEX):
            blobs.append(Blob(found, top.body))
            descriptor = _choose(contents, image, arch)
            answer = self._manifest(image, descriptor["digest"])
            if digest_of(answer.body) != descriptor["digest"]:
                raise DigestMismatch(
                    f"{image}: wanted the manifest {descriptor['digest']}, {image.registry} sent "
                    f"{digest_of(answer.body)}"
                )
            manifest = _parse(answer.body, image)
            blobs.append(Blob(descriptor["digest"], answer.body))
        else:
            blobs.append(Blob(found, top.body))
        if descriptor["mediaType"] not in (_MANIFEST, _DOCKER_MANIFEST):
            raise DownloadFailed(f"{image}: manifests of type {descriptor['mediaType']!r} cannot be imported on a host")
        blobs += self._blobs(image, manifest, cache, on_bytes, on_retry)
        descriptor["platform"] = {"architecture": arch, "os": "linux"}
        self._check_config(image, manifest, arch, blobs)
        write_archive(file, reference, descriptor, blobs)
        return Pulled(sha256_of(file), file.stat().st_size, found, str(descriptor["digest"]))

    def digest(self, image: ImageReference, name: str = "") -> str:
        """Ask what the tag, or the tag or digest `name`, points to at this moment. Raises ArtifactError."""
        return digest_of(self._manifest(image, name or image.tag).body)

    def platforms(self, image: ImageReference, archs: Collection[str], name: str = "") -> dict[str, int]:
        """Return the architectures (linux) that an image is there for, with the bytes of its layers for those in `archs`.

        `name` is a digest or tag in the place of the reference's tag. Raises ArtifactError.
        """
        answer = self._manifest(image, name or image.tag)
        contents = _parse(answer.body, image)
        if _media_type(answer, contents) not in (INDEX_TYPE, _DOCKER_INDEX):
            return {self._architecture(image, contents): _layers(contents)}
        found: dict[str, int] = {}
        for descriptor in contents.get("manifests") or []:
            platform = descriptor.get("platform") or {}
            arch = str(platform.get("architecture") or "")
            if platform.get("os") != "linux" or arch in found:
                continue
            found[arch] = 0
            if arch in archs:
                found[arch] = _layers(_parse(self._manifest(image, str(descriptor["digest"])).body, image))
        return found

    def _architecture(self, image: ImageReference, manifest: Mapping[str, Any]) -> str:
        digest = str((manifest.get("config") or {}).get("digest") or "")

        def get(headers: Mapping[str, str]) -> Document:
            return self._transport.get(f"{_base(image)}/blobs/{digest}", headers)

        return str(_parse(self._authorised(image, get).body, image).get("architecture") or "")

    def _blobs(
        self,
        image: ImageReference,
        manifest: Mapping[str, Any],
        cache: Cache,
        on_bytes: OnBytes | None,
        on_retry: OnRetry | None,
    ) -> list[Blob]:
        wanted = {str(part["digest"]): int(part["size"]) for part in (manifest["config"], *manifest["layers"])}
        for digest in wanted:
            if not _DIGEST.fullmatch(digest):
                raise DownloadFailed(f"{image}: its manifest names a blob {digest!r}; only sha256 is understood")
        total, before = sum(wanted.values()), 0
        blobs = []
        for digest, size in wanted.items():

            def tell(done: int, _size: int | None, before: int = before) -> None:
                if on_bytes is not None:
                    on_bytes(before + done, total)

            blobs.append(Blob(digest, self._blob(image, digest, cache, tell, on_retry)))
            before += size
        return blobs

    def _blob(
        self, image: ImageReference, digest: str, cache: Cache, on_bytes: OnBytes, on_retry: OnRetry | None
    ) -> Path:
        """Bring one blob into the cache; threads that want the same one (a shared base layer) fetch it once."""
        sha256 = digest.removeprefix("sha256:")
        part = cache.partial("blob", digest)
        with cache.hold(part):
            there = cache.verified(sha256)
            if there is not None:
                return there
            url = f"{_base(image)}/blobs/{digest}"

            def download(headers: Mapping[str, str]) -> bool:
                return self._transport.download(url, part, headers=headers, on_bytes=on_bytes, on_retry=on_retry)

            for fresh in (False, True):
                resumed = self._authorised(image, download)
                found = sha256_of(part)
                if found == sha256:
                    break
                part.unlink()
                if fresh or not resumed:
                    raise DigestMismatch(f"{image}: a blob has sha256 {found}, wanted {sha256} (the image's manifest)")
            return cache.adopt(part, sha256)

    def _manifest(self, image: ImageReference, name: str) -> Document:
        def get(headers: Mapping[str, str]) -> Document:
            return self._transport.get(f"{_base(image)}/manifests/{name}", {"Accept": _ACCEPT, **headers})

        try:
            return self._authorised(image, get)
        except MissingArtifact as error:
            raise MissingArtifact(f"{image}: the registry has no such image or tag: {error}") from error

    def _authorised(self, image: ImageReference, ask: Callable[[Mapping[str, str]], _T]) -> _T:
        """Ask with the token at hand; when the registry refuses it, get a new one and ask once more."""
        try:
            return ask(self._headers(image))
        except Unauthorized as refused:
            self._renew(image, refused.challenge)
        try:
            return ask(self._headers(image))
        except Unauthorized as refused:
            raise DownloadFailed(f"{image}: the registry refuses anonymous pulls: {refused}") from refused

    def _headers(self, image: ImageReference) -> dict[str, str]:
        with self._guard:
            token = self._tokens.get((image.registry, image.repository))
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _renew(self, image: ImageReference, challenge: str) -> None:
        scheme, _space, rest = challenge.partition(" ")
        parameters = dict(_PARAMETER.findall(rest))
        if scheme.lower() != "bearer" or "realm" not in parameters:
            raise DownloadFailed(
                f"{image}: the registry wants credentials in a way that is not supported ({scheme or 'no challenge'});"
                " use a mirror that holds the image"
            )
        realm = parameters["realm"]
        query = {"scope": parameters.get("scope", f"repository:{image.repository}:pull")}
        if "service" in parameters:
            query["service"] = parameters["service"]
        answer = self._transport.get(f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}")
        fields = _parse(answer.body, image)
        token = fields.get("token") or fields.get("access_token")
        if not isinstance(token, str) or not token:
            raise DownloadFailed(f"{image}: {realm} gave no token")
        with self._guard:
            self._tokens[image.registry, image.repository] = token

    @staticmethod
    def _check_config(image: ImageReference, manifest: Mapping[str, Any], arch: str, blobs: list[Blob]) -> None:
        digest = manifest["config"]["digest"]
        contents = next(blob.contents for blob in blobs if blob.digest == digest)
        config = _parse(contents if isinstance(contents, bytes) else contents.read_bytes(), image)
        if config.get("architecture") != arch or config.get("os", "linux") != "linux":
            raise MissingArtifact(
                f"{image}: wanted linux/{arch}, the registry has it for "
                f"{config.get('os')}/{config.get('architecture')} only"
            )


def _base(image: ImageReference) -> str:
    """Give the API's address for one repository. Like container engines, speak plain HTTP to this machine only."""
    host = _API_HOSTS.get(image.registry, image.registry)
    scheme = "http" if _LOOPBACK.fullmatch(host) else "https"
    return f"{scheme}://{host}/v2/{image.repository}"


def _parse(body: bytes, image: ImageReference) -> dict[str, Any]:
    try:
        contents = json.loads(body)
    except ValueError as error:
        raise DownloadFailed(f"{image}: the registry sent something that is not JSON: {body[:80]!r}") from error
    if not isinstance(contents, dict):
        raise DownloadFailed(f"{image}: the registry sent JSON of another shape: {body[:80]!r}")
    return contents


def _layers(manifest: Mapping[str, Any]) -> int:
    return sum(int(layer.get("size") or 0) for layer in manifest.get("layers") or [])


def _media_type(answer: Document, contents: Mapping[str, Any]) -> str:
    return str(contents.get("mediaType") or answer.headers.get("content-type", "").partition(";")[0].strip())


def _choose(index: Mapping[str, Any], image: ImageReference, arch: str) -> dict[str, Any]:
    """Pick the descriptor of the manifest for linux on `arch`, reduced to what is its own."""
    there = []
    for descriptor in index.get("manifests", []):
        platform = descriptor.get("platform", {})
        if platform.get("os") == "linux" and platform.get("architecture") == arch:
            return {key: descriptor[key] for key in ("mediaType", "digest", "size")}
        there.append(f"{platform.get('os')}/{platform.get('architecture')}")
    raise MissingArtifact(f"{image}: wanted linux/{arch}, its index has {', '.join(there) or 'nothing'}")
