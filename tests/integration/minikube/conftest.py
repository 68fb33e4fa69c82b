# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of a Minikube cluster. Molecule calls them (see molecule/resources/pytest.yml); a run without a sandbox leaves them out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.minikube.lab import MinikubeLab

if "STAGECRAFT_TEST_SANDBOX" not in os.environ:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def lab() -> MinikubeLab:
    """The sandbox that Molecule names."""
    return MinikubeLab(
        sandbox=os.environ["STAGECRAFT_TEST_SANDBOX"],
        state=Path(os.environ["STAGECRAFT_TEST_STATE"]),
        kubeconfig=Path(os.environ["STAGECRAFT_TEST_KUBECONFIG"]),
    )
