# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role host asks of a host before anything is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.preflight import (
    HostFacts,
    Requirements,
    evaluate,
)

from .role import requirements

if TYPE_CHECKING:
    from pathlib import Path


def inventory(**variables: Any) -> dict[str, Any]:
    return {
        "vars": {"stagecraft_environment": "staging", **variables},
        "children": {
            "control_plane": {"hosts": {"cp1": {"ansible_host": "192.0.2.11"}}},
            "workers": {"hosts": {"worker1": {"ansible_host": "192.0.2.21"}}},
        },
    }


@pytest.mark.parametrize(
    ("minimum", "host", "expected"),
    [
        ({}, "cp1", (2, 1700, 8000)),
        ({}, "worker1", (1, 900, 8000)),
        ({"memory_mb": 4096}, "cp1", (2, 4096, 8000)),
        ({"memory_mb": 4096}, "worker1", (1, 4096, 8000)),
        ({"cpus": "4", "disk_mb": 1}, "cp1", (4, 1700, 1)),
        ({"cpus": 8, "memory_mb": 4096, "disk_mb": 20000}, "worker1", (8, 4096, 20000)),
    ],
)
def test_sizes_that_are_not_set_keep_their_default(
    minimum: dict[str, object], host: str, expected: tuple[int, int, int], tmp_path: Path
) -> None:
    wanted = requirements(inventory(host_minimum=minimum), host, tmp_path)
    assert (wanted["minimum_cpus"], wanted["minimum_memory_mb"], wanted["minimum_disk_mb"]) == expected


@pytest.mark.parametrize(
    ("variables", "fits"),
    [({}, ["amd64"]), ({"artifacts_architectures": ["amd64", "arm64"]}, ["amd64", "arm64"])],
)
def test_only_the_architectures_that_artefacts_are_fetched_for_are_let_in(
    variables: dict[str, object], fits: list[str], tmp_path: Path
) -> None:
    wanted = Requirements(
        architectures=tuple(requirements(inventory(**variables), "worker1", tmp_path)["architectures"])
    )
    found = {
        name: [str(p) for p in evaluate(HostFacts(architecture=name), wanted, "x").problems if p.code == "architecture"]
        for name in ("amd64", "arm64", "riscv64")
    }
    assert [name for name, told in found.items() if not told] == fits
    assert all("or add arm64 to artifacts_architectures" in text for text in found["arm64"])
    assert not any("artifacts_architectures" in text for text in found["riscv64"])
