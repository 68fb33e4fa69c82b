# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The flags of `k3s server` and `k3s agent`, which are also the keys of their configuration file.

K3s itself passes over a key that it does not know with a line in its log. What is misspelt is therefore found here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = Path(__file__).with_name("flags.json")


@dataclass(frozen=True)
class Flags:
    """Kinds (string, list, bool, int, duration) by name, for servers and for agents; what `disable` may name."""

    server: Mapping[str, str]
    agent: Mapping[str, str]
    disable: tuple[str, ...]


@cache
def load_flags() -> Flags:
    """Read the table, which the stand-in for K3s in tests/ refuses unknown flags by, too."""
    data = json.loads(FILE.read_text(encoding="utf-8"))
    return Flags(server=data["server"], agent=data["agent"], disable=tuple(data["disable"]))


def wrong_type(kind: str, value: Any) -> str:
    """Say what is wrong with a value for a flag of this kind; "" where nothing is."""
    scalars = value if isinstance(value, list) else [value]
    if any(isinstance(item, (dict, list)) for item in scalars):
        return "must be a plain value or a list of plain values"
    if kind == "bool" and not isinstance(value, bool):
        return "must be true or false"
    if kind == "int" and (isinstance(value, bool) or not str(value).isdecimal()):
        return "must be a whole number"
    if kind != "list" and isinstance(value, list):
        return "takes one value, not a list"
    return ""
