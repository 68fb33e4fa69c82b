# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can go wrong, in words that say what was wanted, what was found and what to do."""

from __future__ import annotations


class RefusedError(Exception):
    """The build cannot start on this machine, or with this input. Nothing was changed."""


class BuildError(Exception):
    """One step of the build failed; its message quotes the tool that failed."""
