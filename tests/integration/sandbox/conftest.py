# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sandboxes with names of their own, removed whatever happens."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox import preflight

from tests.integration.sandbox.machine import STATE_ROOT, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def able() -> None:
    reasons = preflight.problems(preflight.gather(STATE_ROOT), preflight.missing_packages(), install=True)
    if reasons:
        pytest.skip("no sandbox on this machine: " + "; ".join(reasons))


@pytest.fixture(scope="session")
def cache() -> Path:
    """The developer's own cache: a base is made once."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    return Path(os.environ.get("STAGECRAFT_CACHE") or home / "stagecraft") / "sandbox"


@pytest.fixture(scope="session")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror that holds one Debian package."""
    root = tmp_path_factory.mktemp("mirror")
    archive = root / "apt/debian/bookworm"
    archive.mkdir(parents=True)
    package = tmp_path_factory.mktemp("package")
    (package / "DEBIAN").mkdir()
    (package / "opt").mkdir()
    (package / "opt/greeting").write_text("hello\n")
    control = (
        "Package: greeting\nVersion: 1\nArchitecture: all\n"
        "Maintainer: Nobody <nobody@example.com>\nDescription: a greeting\n"
    )
    (package / "DEBIAN/control").write_text(control)
    subprocess.run(
        ["dpkg-deb", "--build", str(package), str(archive / "greeting_1_all.deb")], check=True, capture_output=True
    )
    content = (archive / "greeting_1_all.deb").read_bytes()
    digest = subprocess.run(
        ["sha256sum", str(archive / "greeting_1_all.deb")], check=True, capture_output=True, text=True
    ).stdout.split()[0]
    (archive / "Packages").write_text(
        f"{control}Filename: ./greeting_1_all.deb\nSize: {len(content)}\nSHA256: {digest}\n"
    )
    (root / "outside").symlink_to("/etc/hostname")
    return root


@pytest.fixture(scope="module")
def shared_sandbox(mirror: Path, cache: Path) -> Iterator[Sandbox]:
    """One sandbox for the tests of a module that leave it as they found it."""
    sandbox = Sandbox(f"test-a{os.getpid()}", mirror, cache)
    yield sandbox
    sandbox.bring("absent")


@pytest.fixture
def sandbox(mirror: Path, cache: Path) -> Iterator[Sandbox]:
    """A sandbox of the test's own."""
    sandbox = Sandbox(f"test-b{os.getpid()}", mirror, cache)
    yield sandbox
    sandbox.bring("absent")
