# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of the host state engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class HostStateError(Exception):
    """Something that was wanted could not be had; the message says what, where and what to do."""


class ProblemsError(HostStateError):
    """All problems found in one go, before anything was changed."""

    def __init__(self, headline: str, problems: Iterable[str]) -> None:
        self.headline = headline
        self.problems = list(problems)
        super().__init__("\n".join([headline, *(f"- {problem}" for problem in self.problems)]))
