# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gate finds, and how it is told."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

Severity = Literal["error", "warning"]


class Finding(NamedTuple):
    """One thing that is wrong: where, what, and the fix. `line` counts from 1."""

    file: str
    line: int
    severity: Severity
    rule: str
    message: str

    def text(self) -> str:
        """Return the finding as compilers write theirs, which editors and CI systems can follow."""
        return f"{self.file}:{self.line}: {self.severity}: {self.message} [{self.rule}]"


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Return each finding once, by file and line."""
    return sorted(set(findings))


def without_ignored(findings: Iterable[Finding], ignore: Sequence[str]) -> list[Finding]:
    """Leave out what `ignore` names: RULE, or RULE:GLOB for a rule in some files only."""
    pairs = [(rule, glob or "*") for rule, _unused, glob in (word.partition(":") for word in ignore)]
    return [
        finding
        for finding in findings
        if not any(finding.rule == rule and fnmatch.fnmatchcase(finding.file, glob) for rule, glob in pairs)
    ]
