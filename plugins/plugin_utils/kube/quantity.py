# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantities of Kubernetes (``250m``, ``1.5Gi``) as numbers. Pure."""

from __future__ import annotations

import re

_QUANTITY = re.compile(r"([+-]?[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)([numkKMGTPE]?i?)")
_SUFFIXES = {
    "": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    **{f"{letter}i": 1024.0 ** (power + 1) for power, letter in enumerate("KMGTPE")},
}  # fmt: skip


def quantity(text: str) -> float:
    """Return a quantity in its unit (cores, bytes); 0 for what is none."""
    found = _QUANTITY.fullmatch(text.strip())
    return float(found[1]) * _SUFFIXES.get(found[2], 0.0) if found else 0.0
