# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Helpers of the tests of the SSH engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@pytest.fixture
def run_in_forks() -> Callable[[Callable[[int], None], Iterable[int]], None]:
    """Run a function once per number, each in a process of its own, all at the same time."""

    def run(function: Callable[[int], None], numbers: Iterable[int]) -> None:
        children = []
        for number in numbers:
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    function(number)
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)

    return run
