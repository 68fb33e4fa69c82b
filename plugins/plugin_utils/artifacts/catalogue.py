# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the catalogue and turns (name, version, architecture) into everything that is known about one artefact.

Pure but for reading the catalogue's own file; nothing here opens a socket.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

import yaml

from .errors import CatalogueError, UnknownArtifact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Kind = Literal["binary", "archive", "image", "file"]

CATALOGUE_FILE = Path(__file__).with_name("catalogue.yml")
KUBERNETES_IMAGES = "kubernetes-images"

_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FILE_KINDS = ("binary", "archive", "file")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Entry:
    """One artefact in one version for one architecture.

    `sha256` is that of the file at `url` (64 hex digits, None when no trustworthy copy of it is at hand);
    `path` is where a mirror or a bundle keeps it, relative to its root. For an image `reference` is the full name with
    its tag, `digest` that of the image index ("sha256:…") where it is known, and `path` names an OCI archive.
    `strip` leading path parts are dropped from an archive's members; `members` (named without them) are those that we
    need, empty for all.
    """

    name: str
    version: str
    arch: str
    kind: Kind
    url: str
    path: str
    sha256: str | None
    checksum_url: str | None
    checksum_name: str
    licence: str
    source: str
    reference: str = ""
    digest: str | None = None
    strip: int = 0
    members: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name under which `fetch` returns it: name/version/architecture."""
        return f"{self.name}/{self.version}/{self.arch}"

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.arch})"


@dataclass(frozen=True)
class ImageReference:
    """A full image name taken apart; `repository` has no registry in it."""

    registry: str
    repository: str
    tag: str

    @classmethod
    def parse(cls, reference: str) -> ImageReference:
        """Take `registry/repository:tag` apart. Short names are refused: what they mean depends on the reader."""
        registry, slash, rest = reference.partition("/")
        repository, colon, tag = rest.rpartition(":")
        if not slash or not colon or not repository or not tag or not ("." in registry or ":" in registry):
            raise UnknownArtifact(f"image reference {reference!r} is not of the form registry/repository:tag")
        return cls(registry, repository, tag)

    def archive_path(self, arch: str) -> str:
        """Where a mirror keeps the OCI archive of this image."""
        return f"{self.registry}/{self.repository}/{self.tag}/{arch}.oci.tar"

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}:{self.tag}"


def mirror_path(url: str) -> str:
    """Where a mirror keeps the file of `url`: host and path as upstream has them, percent signs decoded."""
    parts = urlsplit(url)
    return parts.netloc + unquote(parts.path)


def normalise_arch(arch: str) -> str:
    """Give the catalogue's name of an architecture (also given as `uname -m` has it)."""
    return _ARCHITECTURES.get(arch, arch)


@dataclass(frozen=True)
class _FileSpec:
    kind: Kind
    licence: str
    default: str
    url: str
    checksum_url: str | None
    source: str
    versions: Mapping[str, Mapping[str, str | None]]
    suffixes: Mapping[str, str]
    strip: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class _ImageSpec:
    reference: str
    licence: str
    default: str
    source: str
    versions: Mapping[str, str | None]


@dataclass(frozen=True)
class _SetSpec:
    always: tuple[str, ...]
    options: Mapping[str, Mapping[str, tuple[str, ...]]]
    defaults: Mapping[str, str]


@dataclass(frozen=True)
class Catalogue:
    """Everything that a role puts on a host. Made by `load_catalogue`."""

    architectures: tuple[str, ...]
    sources: Mapping[str, str]
    kubernetes_default: str
    _files: Mapping[str, _FileSpec] = field(repr=False)
    _images: Mapping[str, _ImageSpec] = field(repr=False)
    _kubernetes_images: tuple[str, ...] = field(repr=False)
    _minors: Mapping[str, Mapping[str, str]] = field(repr=False)
    _sets: Mapping[str, _SetSpec] = field(repr=False)
    _flux: Mapping[str, Mapping[str, str]] = field(repr=False)

    def names(self) -> tuple[str, ...]:
        """All artefacts, files first, then images."""
        return (*self._files, *self._images)

    def versions(self, name: str) -> tuple[str, ...]:
        """List the versions of one artefact in the catalogue's order."""
        if name in self._files:
            return tuple(self._files[name].versions)
        if name in self._images:
            return tuple(self._images[name].versions)
        raise UnknownArtifact(self._unknown("artefact", name, self.names()))

    def default_version(self, name: str, kubernetes_version: str | None = None) -> str:
        """Choose the version where the admin named none: the one that belongs to a Kubernetes version where given."""
        self.versions(name)
        if kubernetes_version is not None:
            minor = self._minor(kubernetes_version)
            if name in minor:
                return minor[name]
            if name in self._kubernetes_images or name in ("kubelet", "kubeadm", "kubectl"):
                return self._version(name, kubernetes_version)
        return self._files[name].default if name in self._files else self._images[name].default

    def resolve(self, name: str, version: str | None, arch: str) -> Entry:
        """Everything known about one artefact.

        `version` may be written with or without a leading "v"; empty or None takes the default. Raises UnknownArtifact
        with the nearest names, or all versions or architectures, that exist.
        """
        wanted = self._version(name, version) if version else self.default_version(name)
        architecture = normalise_arch(arch)
        if architecture not in self.architectures:
            raise UnknownArtifact(
                f"{name} {wanted}: no artefacts for architecture {arch!r};"
                f" there are those for {', '.join(self.architectures)}"
            )
        if name in self._files:
            return self._file_entry(name, wanted, architecture)
        return self._image_entry(name, wanted, architecture)

    def resolve_image(self, reference: str, arch: str) -> Entry:
        """Find the entry of an image by its full reference, for callers who know only that."""
        for name, spec in self._images.items():
            for version in spec.versions:
                if spec.reference.format(version=version) == reference:
                    return self.resolve(name, version, arch)
        every = [spec.reference.format(version=version) for spec in self._images.values() for version in spec.versions]
        raise UnknownArtifact(self._unknown("image", reference, every))

    def kubernetes_images(self, version: str, arch: str = "amd64") -> list[Entry]:
        """List the images that kubeadm of this Kubernetes version asks for."""
        release = self._version("kubelet", version)
        minor = self._minor(release)
        entries = [self.resolve(name, release, arch) for name in self._kubernetes_images]
        return entries + [self.resolve(name, minor[name], arch) for name in minor if name in self._images]

    def flux_images(self, version: str, arch: str = "amd64") -> list[Entry]:
        """List the images of a Flux release. Raises UnknownArtifact with the releases that there are."""
        release = self._version("flux-manifests", version)
        return [self.resolve(name, tag, arch) for name, tag in self._flux[release].items()]

    def environment(
        self,
        distribution: str,
        kubernetes_version: str | None = None,
        architectures: Iterable[str] = ("amd64",),
        options: Mapping[str, str] | None = None,
        versions: Mapping[str, str] | None = None,
    ) -> list[Entry]:
        """Everything that one environment needs, without duplicates, in the catalogue's order.

        `options` chooses among the set's alternatives ({cni: flannel}); `versions` overrides single artefacts. For
        minikube and k3s `kubernetes_version` only chooses kubectl and k3s. Raises UnknownArtifact with all problems.
        """
        if distribution not in self._sets:
            raise UnknownArtifact(self._unknown("distribution", distribution, self._sets))
        chosen = self._sets[distribution]
        given = dict(options or {})
        overrides = dict(versions or {})
        names = list(chosen.always)
        problems = [
            self._unknown(f"option of {distribution}", o, chosen.options) for o in given if o not in chosen.options
        ]
        problems += [
            self._unknown("artefact in the version overrides", o, self.names())
            for o in overrides
            if o not in self.names()
        ]
        for option, values in chosen.options.items():
            value = given.get(option, chosen.defaults[option])
            if value in values:
                names += values[value]
            else:
                problems.append(self._unknown(f"value of option {option} of {distribution}", value, values))
        entries: dict[str, Entry] = {}
        for arch in architectures:
            for name in names:
                try:
                    found = self._expand(name, distribution, kubernetes_version, arch, overrides)
                except UnknownArtifact as error:
                    problems.append(str(error))
                else:
                    entries.update((entry.key, entry) for entry in found)
        if problems:
            raise UnknownArtifact("; ".join(dict.fromkeys(problems)))
        return list(entries.values())

    def option_default(self, distribution: str, option: str) -> str:
        """Tell what is taken for an option of a distribution that is not given. Raises UnknownArtifact."""
        if distribution not in self._sets:
            raise UnknownArtifact(self._unknown("distribution", distribution, self._sets))
        chosen = self._sets[distribution]
        if option not in chosen.defaults:
            raise UnknownArtifact(self._unknown(f"option of {distribution}", option, chosen.options))
        return chosen.defaults[option]

    def _expand(
        self, name: str, distribution: str, kubernetes_version: str | None, arch: str, overrides: Mapping[str, str]
    ) -> list[Entry]:
        release = kubernetes_version or self.kubernetes_default
        if name == KUBERNETES_IMAGES:
            images = self.kubernetes_images(release, arch)
            return [self.resolve(e.name, overrides.get(e.name, e.version), arch) for e in images]
        if name in overrides:
            return [self.resolve(name, overrides[name], arch)]
        if distribution == "k3s":
            return [self.resolve(name, kubernetes_version if name in self._sets["k3s"].always else None, arch)]
        return [self.resolve(name, self.default_version(name, release), arch)]

    def _version(self, name: str, version: str) -> str:
        known = self.versions(name)
        for candidate in (version, version.removeprefix("v"), f"v{version}"):
            if candidate in known:
                return candidate
        raise UnknownArtifact(f"{name}: version {version!r} is not in the catalogue; it has {', '.join(known)}")

    def _minor(self, version: str) -> Mapping[str, str]:
        minor = ".".join(version.removeprefix("v").split(".")[:2])
        if minor not in self._minors:
            raise UnknownArtifact(
                f"Kubernetes {version}: minor {minor!r} is not in the catalogue; it has {', '.join(self._minors)}"
            )
        return self._minors[minor]

    def _file_entry(self, name: str, version: str, arch: str) -> Entry:
        spec = self._files[name]
        words = {"version": version, "arch": arch, "suffix": spec.suffixes.get(arch, "")}
        url = spec.url.format(**words)
        sha256 = spec.versions[version].get(arch)
        return Entry(
            name=name,
            version=version,
            arch=arch,
            kind=spec.kind,
            url=url,
            path=mirror_path(url),
            sha256=sha256,
            checksum_url=spec.checksum_url.format(url=url, **words) if spec.checksum_url else None,
            checksum_name=url.rpartition("/")[2],
            licence=spec.licence,
            source=self.sources[spec.source if sha256 else "checksum-file"],
            strip=spec.strip,
            members=spec.members,
        )

    def _image_entry(self, name: str, version: str, arch: str) -> Entry:
        spec = self._images[name]
        reference = ImageReference.parse(spec.reference.format(version=version))
        digest = spec.versions[version]
        path = reference.archive_path(arch)
        return Entry(
            name=name,
            version=version,
            arch=arch,
            kind="image",
            url=f"https://{reference.registry}/v2/{reference.repository}/manifests/{digest or reference.tag}",
            path=path,
            sha256=None,
            checksum_url=None,
            checksum_name=path.rpartition("/")[2],
            licence=spec.licence,
            source=self.sources[spec.source if digest else "registry"],
            reference=str(reference),
            digest=digest,
        )

    @staticmethod
    def _unknown(what: str, name: str, known: Iterable[str]) -> str:
        every = list(known)
        near = get_close_matches(name, every, n=3)
        if near:
            return f"unknown {what} {name!r}; did you mean {' or '.join(near)}?"
        return f"unknown {what} {name!r}; known: {', '.join(every) or 'none'}"


@cache
def load_catalogue(path: Path | str | None = None) -> Catalogue:
    """Read and check a catalogue, ours by default. Raises CatalogueError naming everything that is wrong with it."""
    file = Path(path) if path is not None else CATALOGUE_FILE
    try:
        data = yaml.load(file.read_text(encoding="utf-8"), Loader=_YAML_LOADER)  # noqa: S506 - a safe loader
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CatalogueError(f"catalogue {file} cannot be read: {error}") from error
    return _Reader(file).read(data)


def kubernetes_images(version: str, arch: str = "amd64") -> list[Entry]:
    """List the images that kubeadm of this Kubernetes version asks for, from the collection's own catalogue."""
    return load_catalogue().kubernetes_images(version, arch)


class _Reader:
    """Checks a parsed catalogue and collects everything that is wrong with it."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._problems: list[str] = []

    def read(self, data: Any) -> Catalogue:
        if not isinstance(data, dict) or data.get("schema") != 1:
            raise CatalogueError(f"catalogue {self._file}: not a mapping with schema: 1")
        try:
            catalogue = self._build(data)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise CatalogueError(f"catalogue {self._file}: missing or of the wrong type: {error}") from error
        if self._problems:
            listed = "\n".join(f"- {problem}" for problem in self._problems)
            raise CatalogueError(f"catalogue {self._file}:\n{listed}")
        return catalogue

    def _build(self, data: Mapping[str, Any]) -> Catalogue:
        sources = dict(data["sources"])
        files = {str(name): self._file_spec(str(name), spec) for name, spec in data["artifacts"].items()}
        releases = list(files["kubelet"].versions)
        default = str(data["kubernetes"]["default"])
        images = {
            str(name): self._image_spec(str(name), spec, releases, default) for name, spec in data["images"].items()
        }
        known: dict[str, _FileSpec | _ImageSpec] = {**files, **images}
        for name in files.keys() & images.keys():
            self._problems.append(f"{name} is both a file and an image")
        for name, spec in known.items():
            self._expect(spec.source in sources, f"{name}: source {spec.source!r} is not described under sources")
            self._expect(spec.default in spec.versions, f"{name}: default {spec.default!r} is not among its versions")
        minors = {str(m): {str(k): str(v) for k, v in of.items()} for m, of in data["kubernetes"]["minors"].items()}
        for minor, parts in minors.items():
            for name, version in parts.items():
                found = name in known and version in known[name].versions
                self._expect(found, f"Kubernetes {minor}: {name} {version} is not in the catalogue")
        for release in releases:
            self._expect(
                ".".join(release.split(".")[:2]) in minors, f"kubelet {release}: its minor is not under kubernetes"
            )
        core = tuple(data["kubernetes"]["images"])
        sets = {str(name): self._set_spec(str(name), spec, known) for name, spec in data["sets"].items()}
        flux = {str(v): {str(k): str(tag) for k, tag in of.items()} for v, of in data.get("flux", {}).items()}
        for release, parts in flux.items():
            for name, version in parts.items():
                found = name in images and version in images[name].versions
                self._expect(found, f"Flux {release}: image {name} {version} is not in the catalogue")
        if "flux-manifests" in files:
            for release in files["flux-manifests"].versions:
                self._expect(release in flux, f"flux-manifests {release}: its images are not under flux")
        return Catalogue(tuple(data["architectures"]), sources, default, files, images, core, minors, sets, flux)

    def _file_spec(self, name: str, spec: Mapping[str, Any]) -> _FileSpec:
        versions: dict[str, dict[str, str | None]] = {}
        checksum_url = spec.get("checksum_url")
        self._expect(spec["kind"] in _FILE_KINDS, f"{name}: kind {spec['kind']!r} is none of {', '.join(_FILE_KINDS)}")
        self._expect(bool(spec["licence"]), f"{name}: no licence")
        for version, digests in spec["versions"].items():
            self._expect(isinstance(version, str), f"{name}: version {version!r} needs quotes")
            versions[str(version)] = dict(digests)
            for arch, digest in digests.items():
                good = digest is None or bool(_SHA256.fullmatch(str(digest)))
                self._expect(good, f"{name} {version} {arch}: {digest!r} is not a sha256")
                self._expect(bool(digest or checksum_url), f"{name} {version} {arch}: neither sha256 nor checksum_url")
        return _FileSpec(
            kind=spec["kind"],
            licence=spec["licence"],
            default=spec["default"],
            url=spec["url"],
            checksum_url=checksum_url,
            source=spec["source"],
            versions=versions,
            suffixes=dict(spec.get("suffixes", {})),
            strip=int(spec.get("strip", 0)),
            members=tuple(spec.get("members", ())),
        )

    def _image_spec(self, name: str, spec: Mapping[str, Any], releases: list[str], default: str) -> _ImageSpec:
        own = spec["versions"]
        versions: dict[str, str | None] = dict.fromkeys(releases) if own == "kubernetes" else dict(own)
        self._expect(bool(spec["licence"]), f"{name}: no licence")
        for version, digest in versions.items():
            good = digest is None or bool(_SHA256.fullmatch(str(digest).removeprefix("sha256:")))
            self._expect(good, f"{name} {version}: {digest!r} is not a digest")
        return _ImageSpec(
            reference=spec["reference"],
            licence=spec["licence"],
            default=spec.get("default", default),
            source=spec.get("source", "registry"),
            versions=versions,
        )

    def _set_spec(self, name: str, spec: Mapping[str, Any], known: Mapping[str, object]) -> _SetSpec:
        options = {
            str(option): {str(value): tuple(names) for value, names in values.items()}
            for option, values in spec["options"].items()
        }
        always = tuple(spec["always"])
        for artefact in (*always, *(n for values in options.values() for names in values.values() for n in names)):
            self._expect(artefact == KUBERNETES_IMAGES or artefact in known, f"set {name}: {artefact!r} is unknown")
        for option, values in options.items():
            self._expect(spec["defaults"].get(option) in values, f"set {name}: option {option} has no valid default")
        return _SetSpec(always, options, dict(spec["defaults"]))

    def _expect(self, condition: bool, problem: str) -> None:
        if not condition:
            self._problems.append(problem)
