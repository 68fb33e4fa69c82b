# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan as texts for --diff; content of sensitive files never gets here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .plan import Plan


def diff_of(plan: Plan) -> list[dict[str, Any]]:
    """One entry per change: whole texts where they may be shown, else the words of the plan."""
    entries = []
    for change in plan.changes:
        header = f"{change.kind} {change.target}"
        before, after = change.texts if change.texts is not None else (_line(change.before), _line(change.after))
        if change.texts is not None and before == after:
            before, after = _line(change.before), _line(change.after)
        entries.append(
            {
                "before_header": header,
                "after_header": f"{header} ({change.action})",
                "before": before,
                "after": after,
            }
        )
    return entries


def _line(text: str) -> str:
    return text + "\n" if text else ""
