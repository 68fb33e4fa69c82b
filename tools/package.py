# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the collection's archive from the files that Git knows, leaving alone whatever else lies in the checkout."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".dev" / "build"


def tracked_files(root: Path = ROOT) -> list[Path]:
    """Return the files that Git tracks or would track, relative to ``root``."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return [Path(name) for name in sorted(set(names)) if name and (root / name).is_file()]


def build() -> Path:
    """Build the archive under ``.dev/build`` and return its path; the one before it is removed."""
    shutil.rmtree(BUILD, ignore_errors=True)
    source = BUILD / "source"
    for name in tracked_files():
        destination = source / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, destination, follow_symlinks=False)
    command = ["ansible-galaxy", "collection", "build", "--output-path", str(BUILD), str(source)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (archive,) = BUILD.glob("*.tar.gz")
    return archive
