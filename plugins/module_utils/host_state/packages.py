# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Distribution packages: what is missing, and installing it without questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import HostStateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .system import Completed, System

DPKG_STATUS = "/var/lib/dpkg/status"
APT_LISTS = "/var/lib/apt/lists"
APT_ENV = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l", "APT_LISTCHANGES_FRONTEND": "none"}
APT_OPTIONS = (
    "-o",
    "DPkg::Lock::Timeout=120",
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
)
LISTS_TOO_OLD = (
    "Unable to locate package",
    "has no installation candidate",
    "was not found",
    "404 ",
    "Unable to fetch",
)
INSTALL_SECONDS = 1200.0


@dataclass(frozen=True)
class PackageState:
    """`manager` is apt, dnf, zypper or none; `missing` are the wanted packages that are not there."""

    manager: str = "none"
    missing: tuple[str, ...] = ()
    interrupted: bool = False
    lists_empty: bool = False


def parse_dpkg_status(text: str) -> tuple[dict[str, str], set[str], bool]:
    """(version of each installed package, names they provide, whether some package is half-way)."""
    versions: dict[str, str] = {}
    provided: set[str] = set()
    interrupted = False
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            if line[:1] not in (" ", "\t") and ": " in line:
                key, value = line.split(": ", 1)
                if key in ("Package", "Status", "Version", "Provides", "Architecture"):
                    fields[key] = value
        name, status = fields.get("Package"), fields.get("Status", "").split()
        if not name or len(status) != 3:
            continue
        if status[2] == "installed":
            versions[name] = fields.get("Version", "")
            versions[f"{name}:{fields.get('Architecture', '')}"] = fields.get("Version", "")
            provided.update(item.split()[0] for item in fields.get("Provides", "").split(",") if item.strip())
        elif status[2] not in ("not-installed", "config-files"):
            interrupted = True
    return versions, provided, interrupted


def observe_packages(system: System, wanted: Sequence[str]) -> PackageState:
    """Find which of the wanted packages (`name` or `name=version`) are missing.

    Reads dpkg's status once, or runs `rpm -q` once.
    """
    if not wanted:
        return PackageState()
    status = system.read_text(DPKG_STATUS)
    if status is not None:
        versions, provided, half_way = parse_dpkg_status(status)
        return PackageState(
            manager="apt",
            missing=tuple(name for name in wanted if not _is_installed(name, versions, provided)),
            interrupted=half_way or any(name.isdigit() for name in system.listdir("/var/lib/dpkg/updates")),
            lists_empty=not any("_Packages" in name for name in system.listdir(APT_LISTS)),
        )
    manager = next((name for name in ("dnf", "zypper") if system.stat(f"/usr/bin/{name}") is not None), "none")
    if manager == "none":
        return PackageState(missing=tuple(wanted))
    done = system.query(["rpm", "-q", "--whatprovides", *wanted])
    missing = tuple(name for name in wanted if f"no package provides {name}\n" in done.stdout + "\n")
    return PackageState(manager=manager, missing=missing)


def _is_installed(wanted: str, versions: dict[str, str], provided: set[str]) -> bool:
    name, _equals, version = wanted.partition("=")
    if version:
        return versions.get(name) == version
    return name in versions or name in provided


def install(system: System, state: PackageState) -> None:
    """Install what is missing; raises HostStateError quoting the package manager."""
    if state.manager == "apt":
        _apt_install(system, state)
    elif state.manager == "dnf":
        must(system.command(["dnf", "-y", "install", *state.missing], timeout=INSTALL_SECONDS), state.missing)
    elif state.manager == "zypper":
        must(
            system.command(["zypper", "--non-interactive", "install", *state.missing], timeout=INSTALL_SECONDS),
            state.missing,
        )


def finish_interrupted(system: System, state: PackageState) -> None:
    """Let dpkg finish what an earlier run was killed in. Raises HostStateError."""
    if state.interrupted:
        done = system.command(
            ["dpkg", "--configure", "-a", "--force-confdef", "--force-confold"], APT_ENV, INSTALL_SECONDS
        )
        if done.rc != 0:
            raise HostStateError(
                f"an interrupted package installation cannot be finished by dpkg --configure -a: {done.output}"
            )


def _apt_install(system: System, state: PackageState) -> None:
    finish_interrupted(system, state)
    if state.lists_empty:
        apt_update(system)
    done = apt_get_install(system, state.missing)
    if done.rc != 0 and not state.lists_empty and any(text in done.stderr for text in LISTS_TOO_OLD):
        apt_update(system)
        done = apt_get_install(system, state.missing)
    must(done, state.missing)


def apt_get_install(system: System, names: Sequence[str], options: Sequence[str] = ()) -> Completed:
    """Install packages without questions; `options` are more words for apt-get."""
    argv = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *options, *APT_OPTIONS, "--", *names]
    return system.command(argv, APT_ENV, INSTALL_SECONDS)


def apt_update(system: System, options: Sequence[str] = ()) -> None:
    """Read the lists of packages anew. Raises HostStateError."""
    argv = ["apt-get", "update", "-q", *options, "-o", "DPkg::Lock::Timeout=120"]
    done = system.command(argv, APT_ENV, 300.0)
    if done.rc != 0:
        raise HostStateError(f"apt-get update failed (rc {done.rc}): {done.output}")


def must(done: Completed, names: Sequence[str]) -> None:
    """Raise HostStateError, with what the package manager said, where packages were not installed."""
    if done.rc != 0:
        raise HostStateError(f"packages {' '.join(names)} could not be installed (rc {done.rc}): {done.output}")
