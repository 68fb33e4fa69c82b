# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.openbao.bao import Bao, Missing
from tests.integration.openbao.site import prepared
from tests.programs import lacking


@pytest.fixture
def bao(tmp_path: Path) -> Iterator[Bao]:
    """A server that is initialised and unsealed."""
    try:
        made = Bao(tmp_path / "bao")
    except Missing as missing:
        lacking(str(missing))
    made.start()
    prepared(made)
    yield made
    made.kill()
