# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong between the controller and an OpenBao server, in words for the admin. No message carries a secret."""

from __future__ import annotations


class OpenBaoError(Exception):
    """Any failure of this package; the text is meant for the admin."""
