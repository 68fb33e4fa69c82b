# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many writers lose nothing, a plan that has become another one is not carried out, and refusals are not repeated."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import BranchMovedError, GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.repository import Repository
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import PlanChangedError, ReleaseError

from tests.unit.release.lab import B, C, Lab, kustomization

PRODUCTION = "clusters/production/podinfo/kustomization.yaml"
STAGING = "clusters/staging/podinfo/kustomization.yaml"
WRITERS = 12


def during(lab: Lab, monkeypatch: pytest.MonkeyPatch, action: object, times: int = 1) -> list[int]:
    """Let `action` happen between a run's look and its push."""
    real, calls = Repository.push, [0]

    def push(self: Repository, commit: str, branch: str, expected: str | None) -> None:
        calls[0] += 1
        if calls[0] <= times:
            action()  # type: ignore[operator]
        real(self, commit, branch, expected)

    monkeypatch.setattr(Repository, "push", push)
    return calls


def test_another_commit_meanwhile_is_kept(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = during(lab, monkeypatch, lambda: lab.commit({"README.md": "meanwhile\n"}))
    result = lab.promote()
    assert (calls[0], result["attempts"]) == (2, 2)
    assert lab.text("README.md") == "meanwhile\n"
    assert lab.text(PRODUCTION) == kustomization("6.6.0", B, replicas=3)
    assert lab.git("rev-list", "--merges", "main", cwd=lab.server) == ""


def test_a_change_of_the_same_lines_meanwhile_is_not_overwritten(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    during(lab, monkeypatch, lambda: lab.commit({PRODUCTION: kustomization("6.5.5", C)}))
    with pytest.raises(
        PlanChangedError, match=r"what would be done is not the same any more: the plan is .*Nothing was pushed"
    ):
        lab.promote()
    assert lab.text(PRODUCTION) == kustomization("6.5.5", C)


def test_a_hold_that_came_meanwhile_counts(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def hold() -> None:
        lab.commit({".stagecraft/freeze/production.yaml": "reason: fire\nby: eve\n"})

    during(lab, monkeypatch, hold)
    with pytest.raises(ReleaseError, match="freeze: eve has stopped it: fire"):
        lab.promote()


def test_somebody_has_done_the_same_meanwhile(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    during(lab, monkeypatch, lambda: lab.commit({PRODUCTION: kustomization("6.6.0", B, replicas=3)}))
    result = lab.promote()
    assert (result["changed"], result["commit"]) == (False, "")


def test_it_does_not_try_for_ever(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = during(lab, monkeypatch, lambda: lab.commit({"README.md": f"{os.urandom(4).hex()}\n"}), times=99)
    with pytest.raises(BranchMovedError):
        lab.promote(retries=3)
    assert calls[0] == 3


@pytest.mark.parametrize("said", ["protected branch hook declined", "You are not allowed to push", "Permission denied"])
def test_a_refusal_is_not_repeated(lab: Lab, said: str) -> None:
    hook = lab.server / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho x >> {lab.directory}/calls\necho '{said}' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(GitError, match=said):
        lab.promote()
    assert (lab.directory / "calls").read_text() == "x\n"


@pytest.mark.parametrize("shared", [True, False], ids=["one machine", "many machines"])
def test_many_writers_lose_nothing(lab: Lab, *, shared: bool) -> None:
    files = {}
    for number in range(WRITERS):
        for name, tag in (("staging", "v2"), ("production", "v1")):
            files[f"clusters/{name}/c{number}/kustomization.yaml"] = f"images: [{{name: c{number}, newTag: {tag}}}]\n"
    lab.commit(files)

    def promote(number: int) -> bool:
        cache = lab.directory / ("cache" if shared else f"cache-{number}")
        return bool(lab.promote(f"c{number}", place={"cache": cache}, retries=40)["changed"])

    with ThreadPoolExecutor(WRITERS) as pool:
        assert all(pool.map(promote, range(WRITERS)))
    for number in range(WRITERS):
        assert "v2" in lab.text(f"clusters/production/c{number}/kustomization.yaml")
    assert lab.git("rev-list", "--merges", "main", cwd=lab.server) == ""
    assert int(lab.git("rev-list", "--count", "main", cwd=lab.server)) == WRITERS + 2
