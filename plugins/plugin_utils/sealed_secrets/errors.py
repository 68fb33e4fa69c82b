# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong with sealed secrets and their keys, in words for the admin. No message carries a secret."""

from __future__ import annotations


class SealError(Exception):
    """Any failure of this package; the text is meant for the admin."""


class UnsealError(SealError):
    """A ciphertext that none of the keys at hand opens with the label that belongs to it."""


class BackupError(SealError):
    """A backup of sealing keys that is not there, not whole, or not readable with the identities at hand."""
