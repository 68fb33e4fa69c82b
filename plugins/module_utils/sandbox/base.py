# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The root file system that all hosts start from: what a provider's minimal Debian image has.

Made once and kept by its inputs.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from . import machine

PACKAGES = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "kmod",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "sudo",
    "systemd",
    "systemd-sysv",
)
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
REVISION = 1
"""Raised when ``build`` comes to do something else with the same inputs."""


@dataclass(frozen=True)
class AptSource:
    """One archive among the machine's apt sources."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]


@dataclass(frozen=True)
class BaseInputs:
    """All that decides what is in a base."""

    mirror: str
    suite: str
    architecture: str
    packages: tuple[str, ...] = PACKAGES
    revision: int = REVISION

    @property
    def key(self) -> str:
        """Name of a base: the same inputs have the same key."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def parse_sources_list(text: str) -> list[AptSource]:
    """Read apt's one-line format (sources.list(5)); lines of source packages and comments are left out."""
    found = []
    for written in text.splitlines():
        line = written.split("#", 1)[0].strip()
        if not line.startswith(("deb ", "deb\t")):
            continue
        rest = line[3:].strip()
        if rest.startswith("["):
            rest = rest.partition("]")[2]
        words = rest.split()
        if len(words) >= 2:
            found.append(AptSource(words[0], (words[1],), tuple(words[2:])))
    return found


def parse_deb822(text: str) -> list[AptSource]:
    """Read apt's deb822 format; disabled stanzas, source packages and comments are left out."""
    found = []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in "\n".join(lines).split("\n\n"):
        fields: dict[str, list[str]] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1] in (" ", "\t"):
                fields.setdefault(name, []).extend(line.split())
            elif ":" in line:
                name, _unused, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.split()
        if "deb" in fields.get("types", []) and fields.get("enabled", ["yes"])[0].lower() not in ("no", "false", "0"):
            found += [
                AptSource(uri, tuple(fields.get("suites", [])), tuple(fields.get("components", [])))
                for uri in fields.get("uris", [])
            ]
    return found


def read_sources(directory: Path = Path("/etc/apt")) -> list[AptSource]:
    """Return the machine's apt sources, in apt's order."""
    found: list[AptSource] = []
    for path in [directory / "sources.list", *sorted((directory / "sources.list.d").glob("*"))]:
        if path.suffix in (".list", ".sources") and path.is_file():
            text = path.read_text("utf-8", errors="replace")
            found += parse_deb822(text) if path.suffix == ".sources" else parse_sources_list(text)
    return found


def choose_mirror(sources: list[AptSource], suite: str) -> str | None:
    """Return the archive to make ``suite`` from: one that the machine uses for it, else any archive of Debian."""
    reachable = [
        source for source in sources if source.uri.startswith(("http://", "https://")) and "main" in source.components
    ]
    for source in reachable:
        if suite in source.suites:
            return source.uri.rstrip("/")
    for source in reachable:
        path = urlsplit(source.uri).path.rstrip("/")
        if path.endswith("/debian") or "/debian/" in path:
            return source.uri.rstrip("/")
    return None


def path_of(cache: Path, inputs: BaseInputs) -> Path:
    """Return where the base of these inputs is kept."""
    return cache / f"base-{inputs.key}"


def sweep(cache: Path) -> None:
    """Delete what a killed build left; bases that are finished stay."""
    for directory in cache.glob(".building-*"):
        machine.remove_tree(directory)


def sweep_if_idle(cache: Path) -> None:
    """Delete what a killed build left, unless a build is going on."""
    if not cache.is_dir():
        return
    lock = machine.Lock(cache / ".lock")
    if lock.acquire(wait=False):
        sweep(cache)
        lock.release()


def build(cache: Path, inputs: BaseInputs) -> Path:
    """Make the base of these inputs unless it is there; about a minute, a second call is instant.

    debootstrap runs in name spaces of its own that die with this process, so that a kill leaves neither a process nor
    a mount.
    """
    target = path_of(cache, inputs)
    cache.mkdir(parents=True, exist_ok=True)
    lock = machine.Lock(cache / ".lock")
    lock.acquire()
    try:
        if target.exists():
            return target
        sweep(cache)
        building = cache / f".building-{inputs.key}"
        packages = cache / "debs"
        packages.mkdir(exist_ok=True)
        machine.run(
            [
                "setpriv",
                "--pdeathsig",
                "KILL",
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "--pid",
                "--fork",
                "--kill-child",
                "debootstrap",
                "--variant=minbase",
                f"--arch={inputs.architecture}",
                f"--keyring={KEYRING}",
                f"--cache-dir={packages}",
                f"--include={','.join(inputs.packages)}",
                inputs.suite,
                str(building),
                inputs.mirror,
            ]
        )
        generalise(building)
        building.rename(target)
        return target
    finally:
        lock.release()


def generalise(root: Path) -> None:
    """Take out of a root what must differ between hosts, and what only costs space."""
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    (root / "etc/machine-id").write_text("", "ascii")
    bus = root / "var/lib/dbus/machine-id"
    bus.unlink(missing_ok=True)
    bus.parent.mkdir(parents=True, exist_ok=True)
    bus.symlink_to("/etc/machine-id")  # else all hosts share one
    for directory in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(root / directory, ignore_errors=True)
        (root / directory / "partial").mkdir(parents=True)
