# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Swap: what is on now, and /etc/fstab without it, every other byte kept."""

from __future__ import annotations

FSTAB = "/etc/fstab"


def active_devices(proc_swaps: str) -> tuple[str, ...]:
    """Devices and files of /proc/swaps, in its own notation."""
    return tuple(line.split()[0] for line in proc_swaps.splitlines()[1:] if line.split())


def device_path(device: str) -> str:
    r"""Return a path as /proc/swaps writes it (blanks as \040), as a path."""
    text = device
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def _is_swap_line(line: str) -> bool:
    parts = line.split()
    return len(parts) >= 3 and not parts[0].startswith("#") and parts[2] == "swap"


def swap_lines(fstab: str) -> tuple[str, ...]:
    """Return the lines that would turn swap on at boot."""
    return tuple(line for line in fstab.split("\n") if _is_swap_line(line))


def without_swap(fstab: str) -> str:
    """Return the same text with "# " before each swap line; nothing else differs, line ends included."""
    return "\n".join("# " + line if _is_swap_line(line) else line for line in fstab.split("\n"))
