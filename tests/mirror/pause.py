# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compile ``pause``, the program that holds a pod's namespaces, from the source that Kubernetes ships."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.mirror.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mirror.run import Runner

SOURCE = "build/pause/linux/pause.c"


def build_pause(kubernetes: Path, version: str, output: Path, runner: Runner, log: Path) -> None:
    """Compile ``pause`` of a Kubernetes tree into ``output`` with upstream's flags, and ask it for its version."""
    program = output / "pause"
    flags = ["-Os", "-Wall", "-Werror", "-static", "-s", f"-DVERSION=v{version}"]
    runner.run(["gcc", *flags, "-o", str(program), str(kubernetes / SOURCE)], log=log)
    answer = runner.run([str(program), "-v"], log=log, timeout=10).both
    if version not in answer:
        raise BuildError(f"pause: wanted version {version}, found: {answer}")
