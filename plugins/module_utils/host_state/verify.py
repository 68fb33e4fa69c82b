# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking again after a plan was carried out: the same planner has to find nothing to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import ProblemsError

if TYPE_CHECKING:
    from .plan import Plan


def require_empty(after: Plan) -> None:
    """Raise ProblemsError naming everything that does not hold although it was carried out."""
    rest = [
        f"{change.kind} {change.target}: {change.before or 'as before'}, wanted {change.after} ({change.action})"
        for change in after.changes
    ]
    rest += [*after.problems, *after.unmet]
    if rest:
        raise ProblemsError("The plan was carried out, but the host is not as declared:", rest)
