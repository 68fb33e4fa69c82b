# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventories for the role host."""

from __future__ import annotations

from typing import Any

CONTROL_PLANES = ("192.0.2.11", "192.0.2.12", "192.0.2.13")
WORKERS = ("192.0.2.21", "192.0.2.22")


def cluster(control_planes: int = 3, workers: int = 2, **variables: Any) -> dict[str, Any]:
    """cp1, cp2, ... and worker1, worker2, ..., all with the same variables."""
    return {
        "vars": {"stagecraft_environment": "staging", **variables},
        "children": {
            "control_plane": {"hosts": _hosts("cp", CONTROL_PLANES[:control_planes])},
            "workers": {"hosts": _hosts("worker", WORKERS[:workers])},
        },
    }


def _hosts(name: str, addresses: tuple[str, ...]) -> dict[str, Any]:
    return {f"{name}{number}": {"ansible_host": address} for number, address in enumerate(addresses, 1)}
