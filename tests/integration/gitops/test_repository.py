# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role gitops_repository by ansible-playbook, against a directory and against a repository of the real git."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from tests.integration.play import Play

ROLE: dict[str, Any] = {"ansible.builtin.include_role": {"name": "stagecraft.gitops.gitops_repository"}}
VARIABLES = {"stagecraft_environment": "staging", "stagecraft_domain": "example.com"}
STAGES = "clusters/staging/stages.yaml"


def git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def run(play: Play, *arguments: str, **variables: Any) -> int:
    """Run the role; return how many tasks changed something. Fails where the run failed."""
    done = play.run([ROLE], *arguments, variables={**VARIABLES, **variables})
    assert done["code"] == 0, play.output
    return int(done["changed"])


def test_a_directory_is_filled_once_and_what_people_change_stays(play: Play, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    where = {"gitops_repository_directory": str(clone)}
    assert run(play, "--check", **where) == 1
    assert not clone.exists()
    assert run(play, **where) == 1
    assert run(play, **where) == 0
    text = (clone / STAGES).read_text()
    (clone / STAGES).write_text(f"# mine\n{text}")
    (clone / "clusters/base/monitoring/namespace.yaml").unlink()
    assert run(play, "--diff", **where) == 0
    assert f"{STAGES} (kept: you changed it)" in play.output
    assert "namespace.yaml (kept: you removed it)" in play.output
    assert (clone / STAGES).read_text().startswith("# mine\n")
    more = [{"name": name} for name in ("local", "staging", "production", "qa")]
    assert run(play, **where, gitops_repository_environments=more) == 1
    assert (clone / "clusters/qa/stages.yaml").read_text().count("clusters/qa/") == 3


def test_a_repository_gets_one_commit_and_then_none(play: Play, tmp_path: Path) -> None:
    server = tmp_path / "server.git"
    server.mkdir()
    git("init", "--quiet", "--bare", "--initial-branch=main", cwd=server)
    where = {"stagecraft_repository": {"url": f"file://{server}", "branch": "main", "path": "clusters/staging"}}
    assert run(play, "--check", **where) == 1
    assert git("for-each-ref", cwd=server) == ""
    assert run(play, **where) == 1
    assert run(play, **where) == 0
    assert git("rev-list", "--count", "main", cwd=server) == "1"
    assert "  - flux-system\n" in git("show", "main:clusters/staging/kustomization.yaml", cwd=server) + "\n"
    assert "flux-system" not in git("show", "main:clusters/production/kustomization.yaml", cwd=server)


def test_a_secret_in_the_variables_changes_nothing_and_is_not_shown(play: Play, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / ".env.staging").write_text("DOMAIN=example.com\nDB_PASSWORD=hunter2\n")
    done = play.run([ROLE], "--diff", variables={**VARIABLES, "gitops_repository_directory": str(clone)})
    assert done["code"] != 0
    assert ".env.staging:2: DB_PASSWORD looks like a secret" in play.output
    assert "hunter2" not in play.output
    assert [path.name for path in clone.iterdir()] == [".env.staging"]
