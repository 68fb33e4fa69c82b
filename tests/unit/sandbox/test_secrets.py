# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook that makes a sandbox's secrets, run for real, with a stand-in for age-keygen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("admin.txt", "safe.txt", "vault-password")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tools = tmp_path / "bin"
    tools.mkdir()
    keygen = tools / "age-keygen"
    keygen.write_text('#!/bin/sh\n[ ! -e "$2" ] && echo AGE-SECRET-KEY-1 > "$2"\n')
    keygen.chmod(0o755)
    return tmp_path / "secrets"


def run(folder: Path, *tools: Path) -> str:
    path = os.pathsep.join(
        [*map(str, tools), str(folder.parent / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    )
    inventory = folder.parent / "hosts.ini"
    inventory.write_text("[control_plane]\nhere\n")
    done = subprocess.run(
        [
            "ansible-playbook",
            "-i",
            str(inventory),
            "-e",
            f"stagecraft_sandbox_secrets={folder}",
            "playbooks/sandbox-secrets.yml",
        ],
        cwd=ROOT,
        env={**os.environ, "PATH": path, "ANSIBLE_HOME": str(folder.parent / "ansible"), "ANSIBLE_PIPELINING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def opens(folder: Path) -> bool:
    secret = VaultSecret((folder / "vault-password").read_bytes().strip())
    return b"hello_token" in VaultLib([("default", secret)]).decrypt((folder / "vault.yml").read_bytes())


def test_what_a_killed_run_left_empty_is_made_anew_and_this_one_leaves_nothing_empty(
    folder: Path, tmp_path: Path
) -> None:
    folder.mkdir()
    for name in NAMES:
        (folder / name).touch()
    # the shell has opened its file when openssl, and with it the shell, is killed
    killed = tmp_path / "killed"
    killed.mkdir()
    openssl = killed / "openssl"
    openssl.write_text("#!/bin/sh\nkill -9 $PPID\n")
    openssl.chmod(0o755)
    shown = run(folder, killed)
    assert "failed=1" in shown, shown
    assert not (folder / "vault-password").exists()

    shown = run(folder)
    assert "failed=0" in shown, shown
    assert [name for name in NAMES if not (folder / name).stat().st_size] == []
    assert sorted(one.name for one in folder.iterdir()) == sorted([*NAMES, "vault.yml"])
    assert (folder / "vault-password").stat().st_mode & 0o777 == 0o600
    assert opens(folder)
