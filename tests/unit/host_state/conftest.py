# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests of the host state engine share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .fake_host import FakeHost


@pytest.fixture(autouse=True)
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Keep the tests off the disk's queue; what was asked to be synced is counted."""
    calls: list[int] = []
    monkeypatch.setattr(os, "fsync", calls.append)
    return calls


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    """A host with systemd and nothing else."""
    root = tmp_path / "host"
    root.mkdir()
    return FakeHost(root)
