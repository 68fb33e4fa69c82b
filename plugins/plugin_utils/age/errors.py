# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong with files encrypted by age, in words for the admin. No message carries a secret."""

from __future__ import annotations


class AgeError(Exception):
    """A recipient, identity or file that cannot be used; the text is meant for the admin."""
