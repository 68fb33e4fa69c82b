# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps a release from being planned or carried out, in words for the admin. No message carries a secret."""

from __future__ import annotations


class ReleaseError(Exception):
    """Any failure of this package; the text is meant for the admin. Nothing was pushed unless it says so."""


class PlanChangedError(ReleaseError):
    """What would be done is not what was approved, or not what was planned a moment ago."""
