# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare what was declared with what a server answers: times, lists and texts come back in another spelling."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TIME = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d)")


def seconds(value: Any) -> float | None:
    """Read a time as the server does: seconds as a number or digits, or like 1h30m or 2d; None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value) if value >= 0 else None
    text = str(value).strip()
    if text in ("", "0"):
        return 0.0
    if text.isdigit():
        return float(text)
    parts = _TIME.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def same(wanted: Any, found: Any) -> bool:
    """Say whether the server has what was declared, in its own spelling."""
    if isinstance(wanted, bool) or isinstance(found, bool):
        return _truth(wanted) == _truth(found)
    if isinstance(wanted, Mapping) or isinstance(found, Mapping):
        return _same_mapping(wanted or {}, found or {})
    if isinstance(wanted, list) or isinstance(found, list):
        return _listed(wanted) == _listed(found)
    if wanted is None or found is None:
        return not wanted and not found
    if isinstance(wanted, (int, float)) or isinstance(found, (int, float)):
        number = seconds(wanted)
        return number is not None and number == seconds(found)
    return str(wanted).strip() == str(found).strip() or (
        seconds(wanted) is not None and seconds(wanted) == seconds(found)
    )


def _same_mapping(wanted: Any, found: Any) -> bool:
    if not isinstance(wanted, Mapping) or not isinstance(found, Mapping) or set(wanted) != set(found):
        return False
    return all(same(value, found[name]) for name, value in wanted.items())


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    parts = value.split(",") if isinstance(value, str) and not value.startswith("-----") else value
    if not isinstance(parts, list):
        parts = [parts]
    return sorted(text for text in (str(part).strip() for part in parts) if text)


def _truth(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False, "": False, "1": True, "0": False}.get(value.strip().lower())
    return bool(value)


def emptied(value: Any) -> Any:
    """Return what resets a setting of this value."""
    for kind, empty in ((bool, False), (int, 0), (float, 0), (str, ""), (list, []), (Mapping, {})):
        if isinstance(value, kind):
            return empty
    return ""
