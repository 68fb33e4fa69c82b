# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel settings: sysctl values and modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .system import System


def sysctl_path(key: str) -> str:
    """Return the file of a sysctl key; as in sysctl.d(5), the first of `.` and `/` in it is the separator."""
    dot, slash = key.find("."), key.find("/")
    if slash == -1 or (dot != -1 and dot < slash):
        key = key.translate(str.maketrans("./", "/."))
    return "/proc/sys/" + key


def observe_sysctl(system: System, keys: Sequence[str]) -> dict[str, str | None]:
    """Live values with blanks normalised; None where the kernel has no such key."""
    found: dict[str, str | None] = {}
    for key in keys:
        text = system.read_text(sysctl_path(key))
        found[key] = None if text is None else " ".join(text.split())
    return found


def missing_modules(system: System, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the modules that are neither loaded nor built in."""
    if not names:
        return ()
    loaded = {line.split(" ", 1)[0] for line in (system.read_text("/proc/modules") or "").splitlines()}
    candidates = [
        name for name in names if _plain(name) not in loaded and system.stat(f"/sys/module/{_plain(name)}") is None
    ]
    if not candidates:
        return ()
    release = (system.read_text("/proc/sys/kernel/osrelease") or "").strip()
    builtin = {
        _plain(line.rsplit("/", 1)[-1].split(".ko", 1)[0])
        for line in (system.read_text(f"/lib/modules/{release}/modules.builtin") or "").splitlines()
    }
    return tuple(name for name in candidates if _plain(name) not in builtin)


def _plain(name: str) -> str:
    return name.replace("-", "_")
