# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the integration tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.play import Play

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Runs playbooks in a directory of its own, beside what the test has in `tmp_path`."""
    directory = tmp_path / "play"
    directory.mkdir()
    return Play(directory)
