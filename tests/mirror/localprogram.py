# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build a program of Go files that are in this checkout, with the modules of a set."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.mirror.errors import BuildError
from tests.mirror.gobuild import PROBE_SECONDS, GoBuilder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.mirror.recipes import LocalProgram


class LocalBuilder(GoBuilder):
    """Runs the same toolchain as GoBuilder, on files of this checkout."""

    def build_local(
        self, recipe: LocalProgram, sources: Sequence[Path], module_set: Path, output: Path, *, scratch: Path, log: Path
    ) -> None:
        """Build the program of ``sources`` into the directory ``output`` and probe it."""
        directory = scratch / "program"
        directory.mkdir()
        for source in (*sources, module_set / "go.mod", module_set / "go.sum"):
            shutil.copyfile(source, directory / source.name)
        version = self._run(["env", "GOVERSION"], log=log, directory=directory).stdout.strip()
        linker = ["-s", "-w"]
        for name, value in (*recipe.variables, ("main.goVersion", version)):
            linker += ["-X", f"{name}={value}"]
        program = output / recipe.program
        arguments = ["build", "-p", str(self._jobs), "-trimpath", "-ldflags", " ".join(linker), "-o", str(program), "."]
        self._run(arguments, log=log, directory=directory)
        for probe in recipe.probes:
            command = [str(output / probe.program), *probe.arguments]
            answer = self._runner.run(command, log=log, directory=scratch, timeout=PROBE_SECONDS, check=False).both
            if absent := [text for text in probe.expects if text not in answer]:
                raise BuildError(
                    f"{recipe.name}: wanted {absent} in the output of {' '.join(command)}, found:\n{answer}"
                )
