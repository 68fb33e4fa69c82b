# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of a K3s cluster. Molecule calls them (see molecule/resources/pytest.yml); a run without a sandbox leaves them out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.k3s.lab import K3sLab

if "STAGECRAFT_TEST_SANDBOX" not in os.environ:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def lab() -> K3sLab:
    """The sandbox that Molecule names."""
    return K3sLab(
        sandbox=os.environ["STAGECRAFT_TEST_SANDBOX"],
        state=Path(os.environ["STAGECRAFT_TEST_STATE"]),
        kubeconfig=Path(os.environ["STAGECRAFT_TEST_KUBECONFIG"]),
    )
