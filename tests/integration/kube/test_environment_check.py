# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of the inventory as playbooks/setup-production.yml runs it, by ansible-playbook."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ansible.release import __version__ as core

COLLECTION = Path(__file__).parents[3]
PLAYBOOK = """\
- name: Check
  hosts: all:localhost
  gather_facts: false
  tasks:
    - name: Check the inventory
      stagecraft.gitops.environment_check:
      run_once: true
"""
GOOD = """\
all:
  vars:
    stagecraft_environment: production
    stagecraft_distribution: kubeadm
    stagecraft_kubernetes_version: "1.36.3"
    artifacts_bundle: "{{ lookup('ansible.builtin.env', 'BUNDLE') }}"
  children:
    control_plane: {hosts: {cp1: {ansible_host: 192.0.2.11}}}
"""


def at(line: int) -> str:
    """Where a value stands, as a problem says it: ansible-core knows that from 2.19 on."""
    return f" (hosts.yml:{line})" if core >= "2.19" else ""


def program(name: str) -> str:
    return shutil.which(name) or str(Path(sys.executable).with_name(name))


def check(directory: Path, inventory: str, *arguments: str, **environment: str) -> tuple[int, str]:
    (directory / "hosts.yml").write_text(inventory)
    (directory / "play.yml").write_text(PLAYBOOK)
    done = subprocess.run(
        [program("ansible-playbook"), "-i", "hosts.yml", "play.yml", *arguments],
        cwd=directory,
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTION / ".dev" / "collections"),
            "ANSIBLE_LOCAL_TEMP": str(directory / "tmp"),
            "ANSIBLE_NOCOLOR": "1",
            "COLUMNS": "5000",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_good_inventory_passes_and_values_are_templated(tmp_path: Path) -> None:
    code, output = check(tmp_path, GOOD, BUNDLE="")
    assert code == 0, output
    code, output = check(tmp_path, GOOD, BUNDLE="/no/such/bundle")
    assert code != 0
    assert f"artifacts_bundle{at(6)}: there is no directory /no/such/bundle on the controller" in output


def test_no_host_is_needed_to_be_told_everything(tmp_path: Path) -> None:
    code, output = check(tmp_path, GOOD.replace("control_plane", "masters").replace("kubeadm", "kubadm"), BUNDLE="")
    assert code != 0
    assert "the inventory has 2 problems; nothing was changed:" in output
    assert f"- stagecraft_distribution{at(4)}: 'kubadm' is unknown. Did you mean kubeadm?" in output
    assert "- group control_plane: it is missing. The group 'masters' must be called control_plane." in output
    code, output = check(tmp_path, "all: {}\n")
    assert code != 0
    assert "- group control_plane: it is missing." in output


def test_the_command_line_and_a_limit_do_not_escape_the_check(tmp_path: Path) -> None:
    code, output = check(tmp_path, GOOD, "-e", "kubeadm_audit_log=true", "--limit", "cp1", "--check", BUNDLE="")
    assert code == 0, output
    code, output = check(tmp_path, GOOD, "-e", "kubeadm_pod_cidr=10.96.0.0/16", "--limit", "cp1", BUNDLE="")
    assert code != 0
    assert "10.96.0.0/16 and 10.96.0.0/16 overlap" in output


def test_production_takes_an_encrypted_password_only(tmp_path: Path) -> None:
    (tmp_path / "vault").write_text("word\n")
    done = subprocess.run(
        [
            program("ansible-vault"),
            "encrypt_string",
            "--vault-password-file",
            str(tmp_path / "vault"),
            "--name",
            "P",
            "x",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    body = "\n".join(f"    {line}" for line in done.stdout.replace("P:", "ansible_become_password:").splitlines())
    encrypted = GOOD.replace("  vars:\n", f"  vars:\n{body}\n")
    code, output = check(tmp_path, encrypted, "--vault-password-file", "vault", BUNDLE="")
    assert code == 0, output
    clear = GOOD.replace("  vars:\n", "  vars:\n    ansible_become_password: canary-pass\n")
    code, output = check(tmp_path, clear, BUNDLE="")
    assert code != 0
    assert "a password of production stands unencrypted in the inventory" in output
    assert "canary-pass" not in output
