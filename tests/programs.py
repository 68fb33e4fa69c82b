# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a test whose program is not on this machine."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def lacking(message: str) -> NoReturn:
    """Skip the test; fail it where tools.check has installed what tests need, for then a skip would hide a mistake."""
    if os.environ.get("STAGECRAFT_TEST_PROGRAMS") == "installed":
        pytest.fail(message)
    pytest.skip(message)
