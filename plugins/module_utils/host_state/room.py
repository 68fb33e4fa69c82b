# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Room for artefacts: what they will take on which file system of the host. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MARGIN = 64 << 20
IMAGE_FACTOR = 2  # containerd keeps the layers and their unpacked files


@dataclass(frozen=True)
class Load:
    """What is to be pushed: `size` of the file, `unpacked` of what it holds (archives, packages), both in bytes."""

    key: str
    install: str
    size: int
    unpacked: int = 0
    directory: str | None = None


def shortages(loads: Iterable[Load], disk: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Sentences on file systems that have not enough room, empty when all fit.

    `disk` maps "state", "store", "images" and directories to {device, free_bytes}, as the module reports it.
    """
    needed: dict[int, int] = {}
    free: dict[int, int] = {}
    names: dict[int, list[str]] = {}
    for name, values in disk.items():
        free[values["device"]] = values["free_bytes"]
        names.setdefault(values["device"], []).append(PLACES.get(name, name))

    def take(place: str, amount: int) -> None:
        device = disk[place]["device"]
        needed[device] = needed.get(device, 0) + amount

    for load in loads:
        target = "images" if load.install == "image" else load.directory or "store"
        take("state", load.size)
        if load.install == "image":
            take(target, IMAGE_FACTOR * load.size)
        elif load.install == "archive":
            take(target, load.unpacked)
        elif load.install == "packages":
            take("state", load.unpacked)
        elif disk[target]["device"] != disk["state"]["device"]:
            take(target, load.size)
    return [
        f"the file system of {', '.join(names[device])} has {free[device]} bytes free, "
        f"{amount + MARGIN} bytes are needed ({amount} for artefacts, {MARGIN} as a margin)"
        for device, amount in sorted(needed.items())
        if amount + MARGIN > free[device]
    ]


PLACES = {"state": "/var/lib/stagecraft", "store": "/opt/stagecraft", "images": "/var/lib/containerd"}
