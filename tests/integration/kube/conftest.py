# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.kube.api_server import ApiServer
from tests.integration.ssh.conftest import SSHD, end, start
from tests.programs import lacking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.ssh.conftest import Server


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    """A stand-in API server that answers as a healthy cluster of one node."""
    directory = tmp_path / "api"
    directory.mkdir()
    server = ApiServer(directory)
    server.healthy()
    yield server
    server.close()


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Server]:
    """A real sshd on loopback that lets us in by key."""
    if not Path(SSHD).exists():
        lacking(f"{SSHD} is missing: install the package openssh-server")
    directory = tmp_path / "sshd"
    directory.mkdir()
    server = start(directory, [f"AuthorizedKeysFile {directory / 'authorized_keys'}", "PasswordAuthentication no"])
    yield server
    end(server.process)
