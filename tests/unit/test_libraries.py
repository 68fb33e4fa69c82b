# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens on a controller that has Ansible and none of the other libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import LibraryMissingError, missing

ROOT = Path(__file__).resolve().parents[2]
ENGINE = "ansible_collections.stagecraft.gitops.plugins"
LOAD_ALL = """
import importlib, sys
for name in ("cryptography", "hvac", "paramiko", "pyrage", "urllib3", "requests", "tomli_w"):
    sys.modules[name] = None
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        print(f"{name}: {error!r}")
"""


def test_the_first_use_says_what_to_install() -> None:
    library = missing("paramiko", ImportError("No module named 'paramiko'"))
    with pytest.raises(LibraryMissingError, match=r"paramiko.*No module named 'paramiko'.*pip install paramiko"):
        _ = library.SSHClient


def test_every_plugin_can_be_loaded_without_them() -> None:
    modules = [
        ".".join((ENGINE, *path.relative_to(ROOT / "plugins").with_suffix("").parts))
        for folder in ("action", "filter", "plugin_utils")
        for path in (ROOT / "plugins" / folder).rglob("*.py")
    ]
    environment = {"PYTHONPATH": str(ROOT / ".dev" / "collections"), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", LOAD_ALL, *(module.removesuffix(".__init__") for module in sorted(modules))]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == []
    assert len(modules) > 10
