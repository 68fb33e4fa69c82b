# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mirror and a registry on loopback, and a transport that does not wait long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.transport import Policy, Transport

from .servers import FakeRegistry, Mirror

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    server = Mirror()
    with server:
        yield server


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    server = FakeRegistry()
    with server:
        yield server


@pytest.fixture
def transport() -> Transport:
    return Transport(Policy(attempts=3, connect_timeout=2.0, read_timeout=0.5, backoff=0.001, backoff_most=0.01))
