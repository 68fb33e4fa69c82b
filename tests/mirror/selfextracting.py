# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs that carry others behind them and unpack them when they start."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.mirror.oci import FileEntry, file_digest, write_tar_gz

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write(target: Path, program: Path, payload: Mapping[str, Path], word: str) -> None:
    """Write ``program``, a tar.gz of ``payload`` (name → file) and a trailer to ``target``.

    The trailer is the sha256 of what comes before it (32 bytes), the length of the archive (8 bytes, big endian) and
    ``word``.
    """
    archive = target.with_name(f"{target.name}.payload")
    write_tar_gz(archive, {name: FileEntry(file, 0o755) for name, file in payload.items()})
    size = archive.stat().st_size
    with target.open("wb") as out:
        for source in (program, archive):
            with source.open("rb") as content:
                shutil.copyfileobj(content, out, 1 << 20)
    archive.unlink()
    digest = bytes.fromhex(file_digest(target).sha256)
    with target.open("ab") as out:
        out.write(digest + size.to_bytes(8, "big") + word.encode())
    target.chmod(0o755)
