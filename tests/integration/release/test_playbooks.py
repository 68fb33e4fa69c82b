# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The user's commands, as they are typed: promote and roll back, with and without --check."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.unit.release.lab import A, B, Lab, kustomization
from tools.stages import ROOT

PRODUCTION = "clusters/production/podinfo/kustomization.yaml"
HOLDS = "clusters/production/gitops-holds.yaml"
RECAP = re.compile(r"localhost\s+: ok=\d+\s+changed=(\d+)\s+unreachable=0\s+failed=(\d+)")


class Commands:
    """ansible-playbook on a lab's repository."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        given = {
            "release_repository": {"url": str(lab.server)},
            "release_git": {"cache": str(lab.directory / "cache")},
        }
        self._variables = lab.directory / "variables.json"
        self._variables.write_text(json.dumps(given))

    def run(self, playbook: str, *arguments: str) -> tuple[int, int, str]:
        """Return how many tasks changed something, how many failed, and the output."""
        command = ["ansible-playbook", str(ROOT / "playbooks" / playbook), "-e", f"@{self._variables}", *arguments]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        output = done.stdout + done.stderr
        recap = RECAP.search(output)
        assert recap is not None, output
        return int(recap[1]), int(recap[2]), output

    def promote(self, *arguments: str) -> tuple[int, int, str]:
        return self.run(
            "promote.yml", "-e", "component=podinfo", "-e", "from=staging", "-e", "to=production", *arguments
        )

    def rollback(self, *arguments: str) -> tuple[int, int, str]:
        return self.run("rollback.yml", "-e", "environment=production", "-e", "component=podinfo", *arguments)


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(Lab(tmp_path))


def test_promote_and_roll_back(commands: Commands) -> None:
    lab = commands.lab
    head = lab.head()
    changed, failed, output = commands.promote("--check", "--diff")
    assert (changed, failed, lab.head()) == (1, 0, head)
    assert "+    newTag: 6.6.0" in output
    plan = re.search(r"plan ([0-9a-f]{12})", output)
    assert plan is not None
    changed, failed, output = commands.promote("-e", f"approved_plan={plan[1]}")
    assert (changed, failed) == (1, 0), output
    assert lab.text(PRODUCTION) == kustomization("6.6.0", B, replicas=3)
    assert commands.promote()[:2] == (0, 0)

    changed, failed, output = commands.rollback()
    assert (changed, failed) == (0, 1)
    assert "a rollback of production needs a reason" in output
    changed, failed, output = commands.rollback("-e", "reason='it loses sessions'", "-e", "version=6.5.4")
    assert (changed, failed) == (1, 0), output
    assert lab.text(PRODUCTION) == kustomization("6.5.4", A, replicas=3)
    assert "Gitops-Reason: it loses sessions" in lab.message()
    assert HOLDS in lab.tree()
    assert commands.rollback("-e", "reason=again", "-e", "version=6.5.4")[:2] == (0, 0)
    changed, failed, output = commands.promote()
    assert (changed, failed) == (0, 1)
    assert "podinfo is held in production" in output


class Two:
    """Two repositories of one release, the second with another component."""

    def __init__(self, directory: Path) -> None:
        self.labs = [Lab(self._made(directory / name)) for name in ("one", "two")]
        self.commands = Commands(self.labs[0])
        renamed = {
            f"clusters/{name}/web/kustomization.yaml": self.labs[1].text(f"clusters/{name}/podinfo/kustomization.yaml")
            for name in ("staging", "production")
        }
        self.labs[1].commit({path: text.replace("podinfo", "web") for path, text in renamed.items()})
        repositories = [
            {"repository": {"url": str(self.labs[0].server)}},
            {"repository": {"url": str(self.labs[1].server)}, "component": "web"},
        ]
        self.several = ("-e", json.dumps({"release_repositories": repositories}))

    @staticmethod
    def _made(directory: Path) -> Path:
        directory.mkdir()
        return directory

    def heads(self) -> list[str]:
        return [lab.head() for lab in self.labs]

    def promote(self, *arguments: str) -> tuple[int, int, str]:
        return self.commands.promote(*self.several, *arguments)


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)


WEB = "clusters/production/web/kustomization.yaml"


def test_several_repositories_are_promoted_in_their_order(two: Two) -> None:
    heads = two.heads()
    changed, failed, output = two.promote("--check")
    assert (changed, failed, two.heads()) == (2, 0, heads), output
    _, failed, output = two.promote()
    assert not failed, output
    assert [lab.head(f"{lab.head()}~1") for lab in two.labs] == heads
    assert "newTag: 6.6.0" in two.labs[0].text(PRODUCTION)
    assert "newTag: 6.6.0" in two.labs[1].text(WEB)
    assert two.promote()[:2] == (0, 0)


def test_a_gate_of_any_repository_keeps_all_from_being_changed(two: Two) -> None:
    two.labs[1].commit({".stagecraft/freeze/production.yaml": "reason: audit\nby: ada\n"})
    heads = two.heads()
    _, failed, output = two.promote()
    assert (failed, two.heads()) == (1, heads)
    assert "audit" in output


def test_of_what_landed_only_that_is_taken_back(two: Two) -> None:
    """With all components: those that were not changed, and what others did since, stay as they are."""
    one, other = two.labs
    other_names = {
        f"clusters/{name}/api/kustomization.yaml": "images:\n- name: api\n  newTag: 1.1.0\n"
        for name in ("staging", "production")
    }
    one.commit({path: text.replace("1.1.0", "1.0.0") for path, text in other_names.items()})
    one.commit(other_names)
    before = one.tree()
    hook = other.server / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    _, failed, output = two.promote("-e", "component=all")
    assert failed == 1
    assert "was taken back by commit" in " ".join(output.split()), output
    assert one.tree() == before


def test_what_landed_before_a_repository_that_refuses_is_taken_back(two: Two) -> None:
    hook = two.labs[1].server / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'the branch is protected' >&2\nexit 1\n")
    hook.chmod(0o755)
    heads = two.heads()
    before = two.labs[0].text(PRODUCTION)
    _, failed, output = two.promote()
    assert failed == 1
    assert "the branch is protected" in output
    said = f"What had landed in {two.labs[0].server} was taken back by commit {two.labs[0].head()}"
    assert said in " ".join(output.split())
    assert two.heads()[1] == heads[1]
    assert two.labs[0].text(PRODUCTION) == before
    assert two.labs[0].head("main~2") == heads[0]
    assert HOLDS not in two.labs[0].tree(), "the same release may be tried again"


def test_what_is_missing_is_told(commands: Commands) -> None:
    _, failed, output = commands.rollback("-e", "reason=it loses sessions")
    assert failed
    assert "loses sessions: this belongs to no variable. Quote a value with spaces twice" in " ".join(output.split())
    _, failed, output = commands.run("promote.yml", "-e", "component=podinfo")
    assert failed
    assert "Say which: -e component=NAME -e from=ENVIRONMENT" in " ".join(output.split())
    _, failed, output = commands.run("rollback.yml", "-e", "component=podinfo")
    assert failed
    assert "Say which: -e environment=NAME" in " ".join(output.split())


def test_hold_and_release(commands: Commands) -> None:
    lab = commands.lab
    where = ("-e", "environment=production", "-e", "component=podinfo")
    changed, failed, output = commands.run(
        "hold.yml", *where, "-e", "version=6.6.0", "-e", "reason='not before christmas'"
    )
    assert (changed, failed) == (0, 1), "what the environment never had cannot be held by its version"
    assert "6.6.0" in output
    changed, failed, output = commands.run("hold.yml", *where, "-e", "reason='not before christmas'")
    assert (changed, failed) == (1, 0), output
    assert "podinfo is held in production" in output
    assert "not before christmas" in lab.text(HOLDS)
    head = lab.head()
    assert commands.run("hold.yml", *where, "-e", "state=absent", "--check")[:2] == (1, 0)
    assert lab.head() == head
    changed, failed, output = commands.run("hold.yml", *where, "-e", "state=absent")
    assert (changed, failed) == (1, 0), output
    assert "nothing is held" in output
    assert HOLDS not in lab.tree()
    assert commands.run("hold.yml", *where, "-e", "state=absent")[:2] == (0, 0)
