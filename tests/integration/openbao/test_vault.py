# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the tests beside this one ran against HashiCorp Vault, too."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.integration.openbao.bao import VAULT


def test_the_program_that_was_named_is_vault() -> None:
    program = os.environ.get(VAULT)
    if not program:
        pytest.skip(f"nothing here was run against HashiCorp Vault: {VAULT} names no program")
    said = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout
    assert said.startswith("Vault v"), said
