# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all sandboxes of the machine share: kernel limits and the directories that hold their traces.

The ledger says how things were before the first sandbox; the last one to go puts them back.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from . import machine
from .journal import read_json, write_json
from .layout import SharedLayout

SYSCTL_ROOT = Path("/proc/sys")

DIRECTORIES = (
    "/run/netns",
    "/run/systemd/nspawn",
    "/run/systemd/nspawn/locks",
    "/run/systemd/nspawn/propagate",
    "/run/systemd/nspawn/unix-export",
)
"""Made by ip and systemd-nspawn at their first use, outermost first."""


def sysctl_path(name: str) -> Path:
    """Return the file of a kernel setting."""
    return SYSCTL_ROOT / name.replace(".", "/")


def read_sysctl(name: str) -> int:
    """Return the value of a kernel setting that is a number."""
    return int(sysctl_path(name).read_text("ascii"))


class Ledger:
    """How the machine was before the first sandbox.  Use it with the shared lock held, except for reading."""

    def __init__(self, layout: SharedLayout) -> None:
        self.layout = layout

    def read(self) -> dict[str, Any]:
        """Return {"sysctl": {name: [previous, raised]}, "directories": [made by us], "modules": [loaded by us]}."""
        return read_json(self.layout.ledger) or {"sysctl": {}, "directories": [], "modules": []}

    def others(self, name: str) -> list[str]:
        """Return the names of the other sandboxes, half-made ones too."""
        root = self.layout.state_root
        if not root.is_dir():
            return []
        return sorted(
            entry.name
            for entry in root.iterdir()
            if entry.is_dir() and not entry.name.startswith(".") and entry.name != name
        )

    def begin(self) -> None:
        """Write down which directories were not there before the first sandbox."""
        if self.layout.ledger.exists():
            return
        missing = [directory for directory in DIRECTORIES if not Path(directory).exists()]
        write_json(self.layout.ledger, {"sysctl": {}, "directories": missing, "modules": []})

    def raise_sysctl(self, name: str, value: int) -> None:
        """Raise a kernel limit, its previous value written down first."""
        ledger = self.read()
        previous = ledger["sysctl"].get(name, [read_sysctl(name)])[0]
        ledger["sysctl"][name] = [previous, value]
        write_json(self.layout.ledger, ledger)
        sysctl_path(name).write_text(str(value), "ascii")

    def load_module(self, name: str) -> None:
        """Load a kernel module; hosts cannot."""
        ledger = self.read()
        ledger["modules"].append(name)
        write_json(self.layout.ledger, ledger)
        machine.run(["modprobe", name])

    def end(self) -> list[str]:
        """Put everything back; return the limits that somebody else has changed since, which stay as they are."""
        foreign = []
        ledger = self.read()
        for name, (previous, raised) in ledger["sysctl"].items():
            now = read_sysctl(name)
            if now == raised:
                sysctl_path(name).write_text(str(previous), "ascii")
            elif now != previous:
                foreign.append(name)
        self.layout.ledger.unlink(missing_ok=True)
        for directory in reversed(ledger["directories"]):
            path = Path(directory)
            if path == machine.NETNS_ROOT and path.is_dir() and not any(path.iterdir()):
                subprocess.run(["umount", directory], capture_output=True, check=False)  # pylint: disable=ansible-bad-function
            machine.remove_empty(path)
        for name in reversed(ledger["modules"]):  # one that somebody else uses by now stays
            subprocess.run(["modprobe", "-r", "-q", name], capture_output=True, check=False)  # pylint: disable=ansible-bad-function
        return foreign
