# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.openbao.bao import VAULT, Bao, Kind, Missing
from tests.integration.openbao.site import Sealing, prepared, self_unsealing
from tests.programs import lacking


@pytest.fixture(params=["bao", "vault"] if os.environ.get(VAULT) else ["bao"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Whose program the test is run with; test_vault.py says which were."""
    found: Kind = request.param
    return found


@pytest.fixture
def bare(tmp_path: Path, kind: Kind) -> Iterator[Bao]:
    """A server that runs and is not initialised."""
    try:
        made = Bao(tmp_path / "bao", kind=kind)
    except Missing as missing:
        lacking(str(missing))
    made.start()
    yield made
    made.kill()


@pytest.fixture
def bao(bare: Bao) -> Bao:
    """A server that is initialised and unsealed."""
    prepared(bare)
    return bare


@pytest.fixture
def sealing(tmp_path: Path, kind: Kind) -> Iterator[Sealing]:
    """What a server unseals itself by: a static key, or with Vault, which knows none, another server."""
    try:
        with self_unsealing(tmp_path / "sealing", kind) as found:
            yield found
    except Missing as missing:
        lacking(str(missing))
