# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of a cluster in a machine's /etc/hosts, in a block of their own; every other line stays as it is."""

from __future__ import annotations

import re
from collections.abc import Sequence

HOSTS = "/etc/hosts"


def marks(profile: str) -> tuple[str, str]:
    """The lines before and after the block of a profile."""
    return f"# stagecraft.gitops minikube {profile} begin", f"# stagecraft.gitops minikube {profile} end"


def _block(profile: str) -> re.Pattern[str]:
    first, last = marks(profile)
    return re.compile(rf"^{re.escape(first)}\n(.*?)^{re.escape(last)}\n?", re.MULTILINE | re.DOTALL)


def read(text: str, profile: str) -> dict[str, list[str]]:
    """The names in the block of a profile by their address; empty where there is none."""
    found: dict[str, list[str]] = {}
    block = _block(profile).search(text)
    for line in block.group(1).splitlines() if block else ():
        address, *names = line.split()
        found.setdefault(address, []).extend(names)
    return found


def write(text: str, profile: str, address: str, names: Sequence[str]) -> str:
    """``text`` with the block of a profile holding ``names``; without names it has no block."""
    rest = _block(profile).sub("", text)
    if not names:
        return rest
    first, last = marks(profile)
    start = rest if not rest or rest.endswith("\n") else rest + "\n"
    return f"{start}{first}\n{address} {' '.join(names)}\n{last}\n"
