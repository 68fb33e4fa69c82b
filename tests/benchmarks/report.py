# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers and the lines that tell them.  Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

LOUD = 1.0


@dataclass(frozen=True)
class Target:
    """What a row must not exceed: the seconds of our way, or the ratio of ours to the other's."""

    limit: float
    of: Literal["seconds", "ratio"]


@dataclass(frozen=True)
class Row:
    """A row's measured wall seconds, one value a run; ``other`` is empty where there is no rival.

    ``broken_rules`` are the things besides time that the row demands and did not find (more tasks than allowed, say).
    """

    name: str
    target: Target
    ours: Sequence[float]
    other: Sequence[float] = ()
    what: str = "no rival"
    broken_rules: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.ours:
            raise ValueError(f"row {self.name}: nothing was measured")
        if self.target.of == "ratio" and not self.other:
            raise ValueError(f"row {self.name}: a ratio needs a rival")

    @property
    def ratio(self) -> float | None:
        """Our median as a multiple of the rival's; None without a rival."""
        return statistics.median(self.ours) / statistics.median(self.other) if self.other else None

    @property
    def ok(self) -> bool:
        """Tell whether the target is met, unrounded, and no rule was broken."""
        value = self.ratio if self.target.of == "ratio" else statistics.median(self.ours)
        return value is not None and value <= self.target.limit and not self.broken_rules

    def line(self) -> str:
        """Return the row as it is printed: medians in seconds."""
        other = f"{statistics.median(self.other):.2f}" if self.other else "-"
        ratio = "-" if self.ratio is None else f"{self.ratio:.2f}"
        return (
            f"{self.name} ours={statistics.median(self.ours):.2f} other={other} ({self.what}) ratio={ratio} "
            f"target={self.target.limit:g} {'ok' if self.ok else 'short'}"
        )

    def details(self) -> str:
        """Return every run's seconds and the broken rules, for whoever doubts a median."""
        parts = [f"ours {_seconds(self.ours)}"]
        parts += [f"other {_seconds(self.other)}"] if self.other else []
        return "; ".join([*parts, *self.broken_rules])


def _seconds(values: Sequence[float]) -> str:
    return " ".join(f"{value:.2f}" for value in values)


def load_report(load: float, cores: int) -> str:
    """Return the machine's load (running processes, average of the last minute) with a warning where it disturbs."""
    text = f"load {load:.2f} on {cores} cores"
    return f"{text}: others are at work, the times below are too long" if load > LOUD else text
