# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a commit of a release says: a subject, and trailers as git interpret-trailers reads them. Pure.

Trailers annotate. Versions are always read from the files, so that commits by hand count as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.plan import Change, summary

Action = Literal["promote", "rollback", "auto-rollback", "hold", "release"]
_TRAILER = re.compile(r"^(Gitops-[A-Za-z-]+): *(.*)$")


@dataclass(frozen=True)
class Record:
    """What is written down about a release. `gates` are words such as ``soak=pass``."""

    action: Action
    plan: str
    environment: str
    components: tuple[str, ...]
    source_environment: str = ""
    source_commit: str = ""
    changes: tuple[Change, ...] = ()
    gates: tuple[str, ...] = ()
    actor: str = ""
    approved_by: str = ""
    reason: str = ""
    undoes: str = ""
    text: str = ""

    def subject(self) -> str:
        """`promote(podinfo): staging -> production 6.5.4 -> 6.6.0`."""
        names = ",".join(self.components) if len(self.components) <= 3 else f"{len(self.components)} components"
        where = f"{self.source_environment} -> {self.environment}" if self.source_environment else self.environment
        versions = f" {summary(self.changes)}" if self.changes else ""
        return f"{self.action}({names}): {where}{versions}"

    def trailers(self) -> list[tuple[str, str]]:
        """Return the trailers, in order."""
        where = f"{self.source_environment} -> {self.environment}" if self.source_environment else self.environment
        pairs = [
            ("Gitops-Action", self.action),
            ("Gitops-Plan", self.plan),
            ("Gitops-Env", where),
            ("Gitops-Component", ", ".join(self.components)),
            ("Gitops-Source-Commit", self.source_commit),
            *(("Gitops-Change", change.line()) for change in self.changes),
            ("Gitops-Gates", " ".join(self.gates)),
            ("Gitops-Undoes", self.undoes),
            ("Gitops-Actor", self.actor),
            ("Gitops-Approved-By", self.approved_by),
            ("Gitops-Reason", self.reason),
        ]
        return [(key, one_line(value)) for key, value in pairs if value]

    def message(self) -> str:
        """Return the whole message."""
        words = f"{self.text.strip()}\n\n" if self.text.strip() else ""
        return f"{self.subject()}\n\n{words}" + "".join(f"{key}: {value}\n" for key, value in self.trailers())


def trailers(message: str) -> dict[str, list[str]]:
    """Return our trailers of a message: key → values."""
    found: dict[str, list[str]] = {}
    for line in message.splitlines():
        match = _TRAILER.match(line)
        if match:
            found.setdefault(match[1], []).append(match[2].strip())
    return found


def trailer(message: str, key: str) -> str:
    """Return one trailer of a message, or ""."""
    return next(iter(trailers(message).get(key, [])), "")


def one_line(text: str) -> str:
    """Return text on one line: a line break would begin another trailer."""
    return " ".join(text.split())


def names(components: Sequence[str]) -> str:
    """Return components as a branch of a pull request names them."""
    joined = "+".join(sorted(components))
    return joined if len(joined) <= 60 else f"{len(components)}-components"
