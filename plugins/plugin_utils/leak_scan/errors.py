# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stops a scan; what it finds is no error. No message carries a secret."""

from __future__ import annotations


class LeakScanError(Exception):
    """The scan cannot be done; the text is meant for the admin."""
