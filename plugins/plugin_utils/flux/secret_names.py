# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What looks like a secret, by its name or by its value: one answer for what is generated and for what is checked."""

from __future__ import annotations

import re
from typing import Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.search import is_clear

_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+")
#: What the last word of a secret's name ends in. Words after it make it a name for something else: TOKEN_URL.
_ENDING = re.compile(
    r"(PASSWORDS?|PASSWD|PASSPHRASE|SECRETS?|TOKEN|CREDENTIALS?|(API|ACCESS|AUTH|PRIVATE|ENCRYPTION|SIGNING)KEY)[0-9]*\Z"
)
_WORDS = ("PASS", "DSN")
#: Alone, these are something else: PWD is the working directory.
_LATER_WORDS = ("PWD", "PW")
_OPEN_KEYS = ("PUBLIC", "PUB", "HOST")
_VALUE = re.compile(
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY|AGE-SECRET-KEY-1[0-9A-Z]{50}|://[^/\s:@]*:(?!\$\{)[^/\s@]+@|\bgh[pousr]_\w{20,}"
    r"|\bgithub_pat_\w{50}|\bglpat-[\w-]{20}|\bAKIA[0-9A-Z]{16}\b|^eyJ[\w-]+\.eyJ"
)


def is_secret_name(name: str) -> bool:
    """Say whether a name is that of a secret: `DB_PASS`, `apiToken`, `tls.key`, but not `PRIVATE_SUBNET`, `PUBLIC_KEY`."""
    words = [word.upper() for word in _BOUNDARY.split(name) if word]
    while len(words) > 1 and words[-1].isdigit():
        words.pop()
    if not words:
        return False
    last, before = words[-1], words[:-1]
    if last == "KEY":
        return not before or before[-1] not in _OPEN_KEYS
    rails = words[-3:] == ["SECRET", "KEY", "BASE"]
    return last in _WORDS or bool(before and last in _LATER_WORDS) or bool(_ENDING.search(last)) or rails


def secret_by(name: str, value: object) -> Literal["name", "value", ""]:
    """Say by what a variable looks like a secret that stands there readable, "" for one that does not."""
    if not is_clear(value):
        return ""
    if is_secret_name(name):
        return "name"
    return "value" if _VALUE.search(str(value)) else ""
