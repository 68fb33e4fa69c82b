# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cluster.lab import cache
from tests.integration.k3s.lab import NEW
from tests.integration.k3s_server.databases import USER
from tests.integration.k3s_server.host import K3s, Network
from tests.programs import lacking


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory whose name is short enough for a socket, and that every user may pass."""
    made = Path(tempfile.mkdtemp(prefix="k3s-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def program(place: Path) -> Path:
    """K3s from the mirror; it unpacks itself once for all tests of a file."""
    if os.geteuid() != 0:
        lacking("a network of its own wants root")
    held = cache() / "mirror/github.com/k3s-io/k3s/releases/download" / NEW / "k3s"
    if not held.exists():
        lacking(f"the mirror has no K3s {NEW}: run `make mirror`")
    copy = place / "k3s"
    shutil.copyfile(held, copy)
    copy.chmod(0o755)
    return copy


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network()
    yield made
    made.close()


@pytest.fixture
def k3s(program: Path, place: Path, network: Network) -> Iterator[K3s]:
    """A server that has nothing yet and is not started."""
    made = K3s(program, place, network)
    made.forget()
    yield made
    made.stop()


@pytest.fixture
def foreign(place: Path) -> Iterator[Path]:
    """A directory of the user that databases run as."""
    made = place / "foreign"
    made.mkdir()
    shutil.chown(made, USER)
    yield made
    shutil.rmtree(made)
