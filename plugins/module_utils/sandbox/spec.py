# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the admin asks for, what is recorded of it, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from .layout import HOST_NAME, SANDBOX_NAME

SCHEMA = 1


@dataclass(frozen=True)
class HostSpec:
    """One host as the admin writes it; memory_mb in MiB and cpus in cores, 0 for no limit.

    environment: whose inventory the host is in, empty for a host that is in all of them
    """

    name: str
    groups: tuple[str, ...] = ()
    memory_mb: int = 0
    cpus: float = 0
    address: str | None = None
    environment: str = ""


@dataclass(frozen=True)
class HostRecord:
    """One host as it is recorded: a spec with what has been chosen for it."""

    name: str
    groups: tuple[str, ...]
    memory_mb: int
    cpus: float
    address: str
    base: str
    machine_id: str
    environment: str = ""


@dataclass(frozen=True)
class SandboxRecord:
    """A sandbox as it is recorded; subnet as text, port of the package repository."""

    name: str
    subnet: str
    port: int
    hosts: dict[str, HostRecord] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what sandbox.json holds."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SandboxRecord:
        """Build it from sandbox.json.

        Raises ValueError when another version wrote it.
        """
        if value.get("schema") != SCHEMA:
            raise ValueError(f"schema {value.get('schema')}, wanted {SCHEMA}")
        hosts = {name: HostRecord(**{**host, "groups": tuple(host["groups"])}) for name, host in value["hosts"].items()}
        return cls(value["name"], value["subnet"], value["port"], hosts)


def check_names(name: str, hosts: Sequence[HostSpec], only: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return every problem with the names and sizes that the admin wrote; known are the names ``only`` may use."""
    problems = []
    if not SANDBOX_NAME.fullmatch(name):
        problems.append(
            f"sandbox_name {name!r}: wanted 1 to 20 lower-case letters, digits and dashes, the first a letter"
        )
    seen: set[str] = set()
    for host in hosts:
        if not HOST_NAME.fullmatch(host.name):
            problems.append(
                f"host name {host.name!r}: wanted 1 to 32 lower-case letters, digits and dashes, the first a letter"
            )
        if host.name in seen:
            problems.append(f"host {host.name} is listed twice: give each host a name of its own")
        seen.add(host.name)
        if host.environment and not SANDBOX_NAME.fullmatch(host.environment):
            problems.append(
                f"host {host.name}: environment {host.environment!r}: wanted 1 to 20 lower-case letters, digits and "
                f"dashes, the first a letter"
            )
        if host.memory_mb and host.memory_mb < 128:
            problems.append(
                f"host {host.name}: memory_mb {host.memory_mb} is too little to boot; give at least "
                f"128, or 0 for no limit"
            )
        if host.memory_mb < 0 or host.cpus < 0:
            problems.append(f"host {host.name}: memory_mb and cpus must not be negative; 0 means no limit")
        if 0 < host.cpus < 0.1:
            problems.append(
                f"host {host.name}: cpus {host.cpus} is too little to boot; give at least 0.1, or 0 for no limit"
            )
    unknown = [host for host in only if host not in known]
    if unknown:
        problems.append(f"sandbox_only names {', '.join(unknown)}; known hosts are: {', '.join(known) or 'none'}")
    return problems
