# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of a distribution in an air-gap bundle: one tar archive of a flat apt repository for each release and architecture.

apt itself chooses and verifies them, in a directory of its own and as for a machine without any package, so that a host has
all that they depend on at hand whatever it has been installed with.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import DownloadFailed, SourceError
from .lock import Lock, LockedFile

FOLDER = "packages"
_RELEASE = re.compile(r"(debian|ubuntu)/([a-z][a-z0-9-]*)")
_KEYRINGS = {
    "debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
}
_KEYRING_PACKAGES = {"debian": "debian-archive-keyring", "ubuntu": "ubuntu-keyring"}
_COMPONENTS = {"debian": "main", "ubuntu": "main universe"}
_TARGETS = ("apt-get", "indextargets", "--format", "$(ORIGIN)|$(RELEASE)|$(REPO_URI)", "Created-By: Packages")
_SECONDS = 1800.0


@dataclass(frozen=True)
class Repository:
    """What a bundle holds for hosts of one release and architecture: these packages and all that they depend on."""

    release: str
    arch: str
    names: tuple[str, ...]

    @property
    def key(self) -> str:
        """Return what a host calls itself: debian/bookworm/amd64."""
        return f"{self.release}/{self.arch}"

    @property
    def path(self) -> str:
        """Where it lies below the bundle's root."""
        return f"{FOLDER}/{self.key}.tar"

    @property
    def checked(self) -> str:
        """What the lock file says of it: by that a later run sees that it holds what is wanted."""
        return f"apt, by the archive's signatures: {' '.join(self.names)}"


def wanted(releases: Sequence[str], architectures: Sequence[str], names: Sequence[str]) -> list[Repository]:
    """Return the repositories to be made. Raises SourceError with every release that is none of Debian or Ubuntu."""
    wrong = [release for release in releases if not _RELEASE.fullmatch(release)]
    if wrong:
        raise SourceError(
            f"packages of {', '.join(wrong)} cannot be put into a bundle: wanted releases of Debian or Ubuntu, such as "
            "debian/bookworm or ubuntu/noble"
        )
    chosen = tuple(sorted(set(names)))
    return [Repository(release, arch, chosen) for release in dict.fromkeys(releases) for arch in architectures]


def held(root: Path, own: Lock, repository: Repository) -> LockedFile | None:
    """Return what the bundle's lock file says of a repository that lies there with these packages, else None."""
    known, file = own.get(repository.path), root / repository.path
    if known is None or known.checked != repository.checked or not file.is_file():
        return None
    return known if known.size in (None, file.stat().st_size) else None


def available(lock: Lock) -> dict[str, LockedFile]:
    """Return the repositories of a bundle by what a host calls itself: debian/bookworm/amd64."""
    return {
        path.removeprefix(f"{FOLDER}/").removesuffix(".tar"): file
        for path, file in lock.files.items()
        if path.startswith(f"{FOLDER}/") and path.endswith(".tar")
    }


def own_archives(targets: str) -> dict[str, str]:
    """Return the archives among a machine's own sources: URLs by distribution, those of security updates by debian-security.

    `targets` has a line ``ORIGIN|RELEASE|URL`` for each of apt's indexes (apt-get indextargets).
    """
    found: dict[str, str] = {}
    for line in targets.splitlines():
        origin, release, url = [*line.split("|"), "", ""][:3]
        distribution = origin.lower()
        if distribution in _KEYRINGS and url:
            found.setdefault(distribution + ("-security" if release.endswith("-security") else ""), url.rstrip("/"))
    return found


def sources(repository: Repository, archives: Mapping[str, str], keyring: str) -> str:
    """Return apt's list of sources for the archives by their distribution, with security updates where their archive is known.

    The names of suites are those of https://wiki.debian.org/SourcesList and of Ubuntu's own sources.list.
    """
    distribution, _slash, suite = repository.release.partition("/")
    places = [
        (distribution, suite),
        (distribution, f"{suite}-updates"),
        (f"{distribution}-security", f"{suite}-security"),
    ]
    return "".join(
        f"deb [signed-by={keyring}] {archives[place]} {name} {_COMPONENTS[distribution]}\n"
        for place, name in places
        if place in archives
    )


def download(repository: Repository, archives: Mapping[str, str], scratch: Path, target: Path) -> None:
    """Let apt bring the packages into the empty directory `scratch`, and write the tar archive `target` of them.

    `archives` go before those that this machine itself uses. Raises SourceError where it has no apt, no key or no archive of
    the distribution, DownloadFailed with what apt said.
    """
    distribution = repository.release.partition("/")[0]
    keyring = _KEYRINGS[distribution]
    lacking = [program for program in ("apt-get", "dpkg-deb") if shutil.which(program) is None]
    advice = "or set artifacts_bundle_packages: false, and give the hosts a source of packages of your own"
    if lacking:
        raise SourceError(
            f"packages of {repository.release} can only be had by apt, and this machine has no {' and no '.join(lacking)}: "
            f"make the bundle on one with Debian or Ubuntu (a container will do), {advice}"
        )
    if not Path(keyring).is_file():
        raise SourceError(
            f"packages of {repository.release} are verified by {keyring}, which is missing here: install "
            f"{_KEYRING_PACKAGES[distribution]}, {advice}"
        )
    if distribution not in archives:
        archives = {**own_archives(_run(_TARGETS, repository)), **archives}
    if distribution not in archives:
        raise SourceError(
            f"packages of {repository.release}: this machine's apt has no archive of {distribution} among its sources. Name one "
            f"by artifacts_package_archives: {{{distribution}: URL, {distribution}-security: URL}}, {advice}"
        )
    apt = _apt(scratch, repository.arch)
    (scratch / "sources.list").write_text(sources(repository, archives, keyring), "utf-8")
    _run([*apt, "update"], repository)
    _run([*apt, "install", "--no-install-recommends", "--download-only", *repository.names], repository)
    write_repository(sorted((scratch / "cache" / "archives").glob("*.deb")), target)


def _apt(scratch: Path, arch: str) -> list[str]:
    for directory in ("lists/partial", "cache/archives/partial"):
        (scratch / directory).mkdir(parents=True)
    (scratch / "status").touch()
    settings = {
        "Dir::Etc::sourcelist": f"{scratch}/sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferences": "-",
        "Dir::Etc::preferencesparts": "-",
        "Dir::State": str(scratch),
        "Dir::State::lists": f"{scratch}/lists",
        "Dir::State::status": f"{scratch}/status",
        "Dir::Cache": f"{scratch}/cache",
        "Debug::NoLocking": "true",
        "APT::Architecture": arch,
        "APT::Architectures": arch,
        "APT::Sandbox::User": "",
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    return ["apt-get", "-q", "-y", *(word for name, value in settings.items() for word in ("-o", f"{name}={value}"))]


def _run(command: Sequence[str], repository: Repository) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise DownloadFailed(f"packages of {repository.key}: apt did not end within {_SECONDS:g} s") from error
    if done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-10:])
        raise DownloadFailed(f"packages of {repository.key} could not be had, apt said:\n{said}")
    return done.stdout


def write_repository(packages: Sequence[Path], target: Path) -> None:
    """Write the tar archive of a flat apt repository; the same packages give the same bytes.

    The format is that of ``Packages`` in https://wiki.debian.org/DebianRepository/Format.
    """
    stanzas = []
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in packages:
            # apt writes the colon of an epoch as %3a, and would look for another name than that
            name = path.name.replace("%3a", "_")
            data = path.read_bytes()
            control = subprocess.run(
                ["dpkg-deb", "--field", str(path)], capture_output=True, text=True, check=True
            ).stdout.rstrip("\n")
            stanzas.append(
                f"{control}\nFilename: ./{name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
            )
            _add(tar, name, data)
        _add(tar, "Packages", "\n".join(stanzas).encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    tar.addfile(member, io.BytesIO(data))
