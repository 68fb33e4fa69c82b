# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that tests run, and what becomes of a test whose program is not on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.cache import default_directory


def lacking(message: str) -> NoReturn:
    """Skip the test; fail it where tools.check has installed what tests need, for then a skip would hide a mistake."""
    if os.environ.get("STAGECRAFT_TEST_PROGRAMS") == "installed":
        pytest.fail(message)
    pytest.skip(message)


def debian_program(name: str, directory: Path) -> str:
    """Return the path of a server that Debian's package of its name gives where it is not installed.

    The package is unpacked below `directory` and not installed: it would run as a service.
    """
    if installed := shutil.which(name):
        return installed
    directory.mkdir()
    got = subprocess.run(
        # apt drops its rights to a user who cannot write below pytest's directory
        ["apt-get", "--quiet", "--option", "APT::Sandbox::User=root", "download", name],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    packages = list(directory.glob("*.deb"))
    if got.returncode or not packages:
        lacking(f"apt-get has no package {name} here: {got.stderr.strip()}")
    subprocess.run(["dpkg-deb", "--extract", packages[0], directory], check=True)
    return str(directory / "usr" / "bin" / name)


def go_program(package: str, version: str) -> Path | None:
    """Return a program of Go's module proxy, built once outside of the checkout; None where there is neither it nor Go."""
    name = next(part for part in reversed(package.split("/")) if not part.startswith("v") or not part[1:].isdecimal())
    place = default_directory().parent / "tools" / f"{name}-{version}"
    if not (place / name).exists():
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
        if go is None:
            return None
        built = {**os.environ, "GOBIN": str(place)}
        subprocess.run([go, "install", f"{package}@{version}"], env=built, check=True, capture_output=True)
    return place / name


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
