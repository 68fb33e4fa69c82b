# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build programs from Go modules."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tests.mirror.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.mirror.recipes import CopiedModule, GoPrograms
    from tests.mirror.run import Output, Runner

PROBE_SECONDS = 60.0


def without_direct(proxies: str) -> str:
    """Take the fall-back to version control out of a GOPROXY value: it hides what the proxy itself answered."""
    parts = re.split(r"[,|]", proxies)
    kept = [part for part in parts if part != "direct"]
    return ",".join(kept) if kept else proxies


def executable_name(package: str) -> str:
    """Return the name that ``go build`` gives to the program of ``package``."""
    path = PurePosixPath(package)
    return path.parent.name if re.fullmatch(r"v[2-9]\d*", path.name) else path.name


def build_arguments(recipe: GoPrograms) -> list[str]:
    """Return the arguments of ``go build`` but for output and packages."""
    linker = ["-s", "-w"]
    for name, value in recipe.variables:
        linker += ["-X", f"{name}={value}"]
    arguments = ["-trimpath"]
    if recipe.tags:
        arguments += ["-tags", ",".join(recipe.tags)]
    if recipe.static_cgo:
        arguments += ["-buildmode=pie"]
        linker += ["-linkmode", "external", "-extldflags", "-static-pie"]
    return [*arguments, "-ldflags", " ".join(linker)]


class GoBuilder:
    """Runs one Go toolchain with the project's settings; ``jobs`` is the number of compilers at a time."""

    def __init__(self, go: Path, cache: Path, jobs: int, runner: Runner) -> None:
        self._go = str(go)
        self._jobs = jobs
        self._runner = runner
        self._environment = {
            "GOCACHE": str(cache),
            "GOFLAGS": "-buildvcs=false -mod=readonly",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            "GOOS": "linux",
            "GOTELEMETRY": "off",
        }
        self._proxy_known = False

    def _run(self, arguments: Sequence[str], *, log: Path, directory: Path, cgo: bool = False) -> Output:
        if not self._proxy_known:
            proxies = self._runner.run([self._go, "env", "GOPROXY"], log=log, environment=self._environment)
            self._environment["GOPROXY"] = without_direct(proxies.stdout.strip())
            self._proxy_known = True
        environment = {**self._environment, "CGO_ENABLED": "1" if cgo else "0"}
        return self._runner.run([self._go, *arguments], log=log, directory=directory, environment=environment)

    def build(self, recipe: GoPrograms, module_set: Path, output: Path, *, scratch: Path, log: Path) -> None:
        """Build the recipe's programs into the directory ``output`` and probe them."""
        directory = module_set
        if recipe.copied is not None:
            directory = self._copied_set(recipe.copied, module_set, scratch, log)
        packages = [package for _, package in recipe.packages]
        arguments = ["build", "-p", str(self._jobs), *build_arguments(recipe), "-o", f"{output}/", *packages]
        self._run(arguments, log=log, directory=directory, cgo=recipe.static_cgo)
        for name, package in recipe.packages:
            (output / executable_name(package)).rename(output / name)
        for probe in recipe.probes:
            command = [str(output / probe.program), *probe.arguments]
            answer = self._runner.run(command, log=log, directory=scratch, timeout=PROBE_SECONDS, check=False).both
            if absent := [text for text in probe.expects if text not in answer]:
                raise BuildError(
                    f"{recipe.name}: wanted {absent} in the output of {' '.join(command)}, found:\n{answer}"
                )

    def module_directory(self, module: str, module_set: Path, log: Path) -> Path:
        """Where the tree of a module is that a set requires; its checksum is verified against the set's go.sum."""
        answer = self._run(["mod", "download", "-json", module], log=log, directory=module_set)
        return Path(json.loads(answer.stdout)["Dir"])

    def _copied_set(self, copied: CopiedModule, module_set: Path, scratch: Path, log: Path) -> Path:
        """Copy a set with the edited tree of a module beside it, as ``src``; return the copy's directory."""
        answer = json.loads(
            self._run(
                ["mod", "download", "-json", f"{copied.module}@{copied.version}"], log=log, directory=scratch
            ).stdout
        )
        if answer.get("Sum") != copied.h1:
            raise BuildError(
                f"{copied.module}@{copied.version}: wanted checksum {copied.h1}, found {answer.get('Sum')}"
            )
        directory = scratch / "copied"
        tree = directory / "src"
        shutil.copytree(answer["Dir"], tree, copy_function=shutil.copyfile)
        for path in [tree, *(path for path in tree.rglob("*") if path.is_dir())]:
            path.chmod(0o755)
        for removed in copied.removed:
            shutil.rmtree(tree / removed)
        for name, fragments in copied.edited:
            lines = (tree / name).read_text().splitlines(keepends=True)
            if unused := [fragment for fragment in fragments if not any(fragment in line for line in lines)]:
                raise BuildError(
                    f"{copied.module}@{copied.version}: {name}: wanted lines with {unused} to take out, found none"
                )
            (tree / name).write_text("".join(line for line in lines if not any(part in line for part in fragments)))
        for name in ("go.mod", "go.sum"):
            shutil.copyfile(module_set / name, directory / name)
        return directory
