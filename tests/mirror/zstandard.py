# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Store a file as a zstd frame without compressing it: the standard library has no compressor (RFC 8878, raw blocks)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = 0xFD2FB528
BLOCK = 128 << 10
"""The largest block that the format allows, in bytes."""

_DESCRIPTOR = 0b11 << 6
"""The size of the content follows in 8 bytes; no checksum, no dictionary."""

_WINDOW = (17 - 10) << 3
"""A window of 2**17 bytes, as large as a block."""


def store(source: Path, target: Path) -> None:
    """Write ``target``, from which any zstd decoder gets the bytes of ``source``."""
    size = source.stat().st_size
    with source.open("rb") as plain, target.open("wb") as frame:
        frame.write(MAGIC.to_bytes(4, "little") + bytes((_DESCRIPTOR, _WINDOW)) + size.to_bytes(8, "little"))
        left = size
        while True:
            block = plain.read(BLOCK)
            left -= len(block)
            frame.write(((len(block) << 3) | (left == 0)).to_bytes(3, "little") + block)
            if left == 0:
                return
