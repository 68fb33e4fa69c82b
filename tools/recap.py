# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the recap with which ansible-playbook ends."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(
    r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)(?:\s+skipped=(\d+))?", re.MULTILINE
)


@dataclass(frozen=True)
class Recap:
    """Ansible's count of a host's tasks."""

    ok: int
    changed: int
    unreachable: int
    failed: int
    skipped: int = 0

    @property
    def tasks(self) -> int:
        """All that the host went through, skipped ones too."""
        return self.ok + self.skipped


def recaps(output: str) -> dict[str, Recap]:
    """Return what the recap says of each host; nothing where the output has none."""
    return {host: Recap(*(int(count or 0) for count in counts)) for host, *counts in _LINE.findall(output)}
