# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults on sandbox hosts. Molecule calls these tests too; a run without a sandbox leaves them out."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.cluster.conftest import lab

if TYPE_CHECKING:
    from tests.integration.cluster.lab import Lab

if "STAGECRAFT_TEST_SANDBOX" not in os.environ:
    collect_ignore_glob = ["test_*.py"]


__all__ = ["bare", "chance", "lab"]


@pytest.fixture(scope="session")
def chance() -> random.Random:
    """The moments of the faults. The seed is printed; STAGECRAFT_TEST_SEED brings a run's moments back."""
    seed = os.environ.get("STAGECRAFT_TEST_SEED") or str(random.SystemRandom().randrange(1_000_000))
    print(f"STAGECRAFT_TEST_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def bare(lab: Lab) -> dict[str, Any]:
    """A bare host, whatever the test before has left; returns what it is for ``sandbox_hosts``."""
    return make_bare(lab)


def make_bare(lab: Lab) -> dict[str, Any]:
    """Replace the sandbox by one with a single bare host."""
    host = {"name": "cp1", "groups": ["control_plane"], "memory_mb": 3072}
    lab.power("absent")
    lab.power("present", listed=[host])
    return host
