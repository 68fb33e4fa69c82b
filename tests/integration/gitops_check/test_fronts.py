# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate as its users call it: the module by ansible-playbook, and the program by python -m."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.play import COLLECTION, Play

FIXTURES = COLLECTION / "tests" / "fixtures" / "gitops_check"
PROGRAM = "ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check"
WRONG = "applications/base/deployment.yaml:21: error: Deployment shop/shop: the variable DOMAIN has no value"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the repository that nothing is wrong with."""
    return shutil.copytree(FIXTURES / "good", tmp_path / "repository", ignore=shutil.ignore_patterns("expected.txt"))


def spoil(repository: Path) -> None:
    shutil.copytree(
        FIXTURES / "variable-unset",
        repository,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("expected.txt"),
    )


def checked(play: Play, repository: Path, *arguments: str, **options: Any) -> int:
    wanted = {"repository": str(repository), "kubernetes_version": "1.36", "cache": str(play.directory / "cache")}
    code: int = play.run([{"name": "Check", "stagecraft.gitops.gitops_check": wanted | options}], *arguments)["code"]
    return code


def test_the_module_passes_a_good_repository_and_names_what_is_wrong(play: Play, repository: Path) -> None:
    for arguments in ([], ["--check"]):
        assert checked(play, repository, *arguments) == 0, play.output
        assert (play.result()["changed"], play.result()["findings"]) == (False, [])
    assert play.result()["objects"] > 0
    spoil(repository)
    assert checked(play, repository) != 0
    found = play.result()
    assert f"the repository {repository} has 1 error:\n- {WRONG}" in found["msg"]
    assert [(f["rule"], f["file"], f["line"]) for f in found["findings"]] == [
        ("variable-unset", "applications/base/deployment.yaml", 21)
    ]
    assert checked(play, repository, ignore=["variable-unset"]) == 0, play.output
    assert checked(play, repository, paths=["clusters/nowhere"]) != 0
    assert "clusters/nowhere" in play.result()["msg"]


def test_what_the_role_generates_passes(play: Play, tmp_path: Path) -> None:
    role = {"name": "Make", "ansible.builtin.include_role": {"name": "stagecraft.gitops.gitops_repository"}}
    made = tmp_path / "made"
    variables = {
        "stagecraft_environment": "staging",
        "stagecraft_domain": "example.com",
        "gitops_repository_directory": str(made),
    }
    done = play.run([role], variables=variables)
    assert done["code"] == 0, play.output
    assert checked(play, made) == 0, play.output
    assert play.result()["findings"] == []
    stages = {f"flux-system/{name}" for name in ("infrastructure", "monitoring", "applications")}
    assert stages <= set(play.result()["kustomizations"])


def program(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", PROGRAM, "--no-cache", "--kubernetes-version", "1.36", *arguments],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(COLLECTION / ".dev" / "collections")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_program_answers_by_its_exit_status(repository: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=repository, check=True)
    assert program(repository).returncode == 0
    spoil(repository)
    found = program(repository)
    assert found.returncode == 1
    assert WRONG in found.stdout
    told = program(repository, "--format", "json")
    assert told.returncode == 1
    assert [finding["rule"] for finding in json.loads(told.stdout)["findings"]] == ["variable-unset"]
    assert program(repository, "--repository", str(repository / "nowhere")).returncode == 2
