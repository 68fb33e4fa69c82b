# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials in addresses: found, and kept out of messages.

Private to stagecraft.gitops.
"""

from __future__ import annotations

import re

#: Over HTTP all of it may be secret: a token often stands in the place of the user. The last @ ends it.
_HTTP = re.compile(r"(\bhttps?://)[^/\s]*@", re.IGNORECASE)
_PASSWORD = re.compile(r"(?<=://)([^/@\s:]+):[^/\s]*@")


def has_credentials(url: str) -> bool:
    """Say whether an address of HTTP or HTTPS carries a user, a password or a token."""
    return _HTTP.match(url) is not None


def without_credentials(text: str) -> str:
    """Return `text` with the credentials of all addresses in it taken out; the user of an SSH address stays."""
    return _PASSWORD.sub(r"\1@", _HTTP.sub(r"\1(hidden)@", text))
