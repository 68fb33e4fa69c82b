# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Take files out of Go modules, and write trees of files."""

from __future__ import annotations

import base64
import hashlib
import shutil
from typing import TYPE_CHECKING

from tests.mirror.errors import BuildError
from tests.mirror.oci import Entry, FileEntry

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def module_checksum(tree: Path, module: str, version: str) -> str:
    """Return the checksum that go.sum has for a module whose files lie in ``tree``."""
    lines = []
    for path in tree.rglob("*"):
        if path.is_file():
            name = f"{module}@{version}/{path.relative_to(tree).as_posix()}"
            lines.append((name, f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n"))
    listing = "".join(line for _, line in sorted(lines))
    return "h1:" + base64.b64encode(hashlib.sha256(listing.encode()).digest()).decode()


def copy_files(tree: Path, paths: Iterable[str], output: Path) -> None:
    """Copy files and directories of a module into ``output``; the module cache is read-only, the copy is not."""
    for name in paths:
        source = tree / name
        if not source.exists():
            raise BuildError(f"{tree}: wanted {name} in this module, found no such file or directory")
        files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
        for path in files:
            target = output / path.relative_to(tree)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def entries(directories: Iterable[Path]) -> dict[str, Entry]:
    """Return the files of directories as one tree; a file that is executable on disk is so in the tree."""
    tree: dict[str, Entry] = {}
    for directory in directories:
        for path in directory.rglob("*"):
            if path.is_file():
                executable = path.stat().st_mode & 0o100
                tree[path.relative_to(directory).as_posix()] = FileEntry(path, 0o755 if executable else 0o644)
    return tree
