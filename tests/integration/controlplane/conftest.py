# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session

from tests.integration.controlplane import control_plane
from tests.integration.controlplane.control_plane import ControlPlane, Missing
from tests.integration.controlplane.git_server import GitServer
from tests.integration.controlplane.site import Site
from tests.integration.ssh.conftest import SSHD, Server, end, start

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """One control plane for all tests; each takes names of its own."""
    if not shutil.which("setpriv"):
        pytest.skip("setpriv is missing: install the package util-linux")
    try:
        running = control_plane.up()
    except Missing as missing:
        pytest.skip(str(missing))
    yield running
    running.down()


@pytest.fixture
def session(plane: ControlPlane) -> Iterator[Session]:
    with plane.session() as opened:
        yield opened


@pytest.fixture(scope="session")
def git_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    server = GitServer(tmp_path_factory.mktemp("git"))
    yield server
    server.close()


@pytest.fixture
def site(plane: ControlPlane, session: Session, git_server: GitServer, tmp_path: Path) -> Iterator[Site]:
    """A repository, a GitRepository that follows it, and a namespace, all with the same name."""
    made = Site(plane, session, git_server, f"s{next(_numbers)}", tmp_path)
    yield made
    made.remove()


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Server]:
    if not Path(SSHD).exists():
        pytest.skip(f"{SSHD} is missing: install the package openssh-server")
    directory = tmp_path / "sshd"
    directory.mkdir()
    server = start(directory, [f"AuthorizedKeysFile {directory / 'authorized_keys'}", "PasswordAuthentication no"])
    yield server
    end(server.process)
