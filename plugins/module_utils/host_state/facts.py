# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts about a host that roles decide by."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .system import System

ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def architecture(machine: str) -> str:
    """Go's name of a machine type (amd64, arm64); others stay as the kernel names them."""
    return ARCHITECTURES.get(machine, machine)


def parse_os_release(text: str) -> dict[str, str]:
    """Return the variables of os-release, quotes removed."""
    values = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not key.startswith("#"):
            values[key.strip()] = value.strip().strip("\"'")
    return values


def release_of(facts: Mapping[str, Any]) -> str:
    """Distribution, release and architecture, by which packages are told apart: debian/bookworm/amd64."""
    return "/".join((facts["os"]["id"], facts["os"]["codename"], facts["arch"]))


def gather(system: System) -> dict[str, Any]:
    """Architecture, operating system, kernel, memory in MiB, number of CPUs, host name."""
    release = parse_os_release(system.read_text("/etc/os-release") or "")
    memory = 0
    for line in (system.read_text("/proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            memory = int(line.split()[1]) // 1024
    kernel = os.uname()
    return {
        "arch": architecture(kernel.machine),
        "os": {
            "id": release.get("ID", ""),
            "version": release.get("VERSION_ID", ""),
            "codename": release.get("VERSION_CODENAME", ""),
            "like": release.get("ID_LIKE", "").split(),
            "name": release.get("PRETTY_NAME", ""),
        },
        "kernel": kernel.release,
        "hostname": kernel.nodename,
        "memory_mb": memory,
        "cpus": len(os.sched_getaffinity(0)),
    }
