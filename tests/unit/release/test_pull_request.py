# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan as a pull request: its branch and text follow the plan, and the target's branch is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.pull_requests import KINDS
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import history, status, verify
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.run import Clusters

from tests.unit.git.forges import REPOSITORY, TOKEN, ForgeServer
from tests.unit.release.lab import NOW, A, B, C, Lab, kustomization

STAGING = "clusters/staging/podinfo/kustomization.yaml"
PRODUCTION = "clusters/production/podinfo/kustomization.yaml"
BRANCH = "gitops/promote/production/podinfo"


@pytest.fixture
def server() -> Iterator[ForgeServer]:
    made = ForgeServer("gitea")
    yield made
    made.close()


def propose(lab: Lab, server: ForgeServer, **options: Any) -> dict[str, Any]:
    forge = KINDS["gitea"](server.url, REPOSITORY, TOKEN)
    return lab.promote(strategy="pull_request", forge=forge, **options)


def test_it_is_opened_with_versions_gates_difference_and_trailers(lab: Lab, server: ForgeServer) -> None:
    main = lab.head()
    result = propose(lab, server)
    assert (result["changed"], result["branch"], lab.head()) == (True, BRANCH, main)
    assert lab.head(BRANCH) == result["commit"]
    assert lab.text(PRODUCTION, BRANCH) == kustomization("6.6.0", B, replicas=3)
    (pull,) = server.pulls
    assert result["pr_url"] == pull["html_url"]
    assert pull["title"] == "promote(podinfo): staging -> production 6.5.4 -> 6.6.0"
    for said in (
        f"| podinfo | `images[ghcr.io/x/podinfo]` | `6.5.4@{A}` | `6.6.0@{B}` |",
        "| no_downgrade | pass |",
        "+    newTag: 6.6.0",
        f"Gitops-Plan: {result['plan_id']}",
    ):
        assert said in pull["body"]


def test_a_second_run_leaves_it_and_a_newer_version_takes_its_place(lab: Lab, server: ForgeServer) -> None:
    first = propose(lab, server)
    again = propose(lab, server)
    assert (again["changed"], again["commit"]) == (False, first["commit"])
    lab.commit({"README.md": "unrelated\n"})
    assert propose(lab, server)["changed"] is False
    lab.commit({STAGING: kustomization("6.7.0", C)})
    newer = propose(lab, server)
    assert newer["changed"]
    assert newer["pr_url"] == first["pr_url"]
    assert [pull["title"] for pull in server.pulls] == ["promote(podinfo): staging -> production 6.5.4 -> 6.7.0"]
    assert lab.git("rev-parse", f"{BRANCH}~1", cwd=lab.server) == lab.head()


def test_merged_it_leaves_nothing_to_do(lab: Lab, server: ForgeServer) -> None:
    propose(lab, server)
    lab.git("update-ref", "refs/heads/main", BRANCH, cwd=lab.server)
    assert propose(lab, server)["changed"] is False


def back(lab: Lab, server: ForgeServer) -> dict[str, Any]:
    return lab.rollback("6.5.4", strategy="pull_request", forge=KINDS["gitea"](server.url, REPOSITORY, TOKEN))


def merge(lab: Lab, branch: str = BRANCH) -> str:
    """Merge a branch as a forge's button does: by a merge commit whose message is the forge's own."""
    lab.git("fetch", "--quiet", "origin")
    lab.git("checkout", "--quiet", "-B", "main", "origin/main")
    lab.git("merge", "--quiet", "--no-ff", "-m", f"Merge pull request #1 from {branch}", f"origin/{branch}")
    lab.git("push", "--quiet", "origin", "main")
    return lab.head()


def verified(monkeypatch: pytest.MonkeyPatch, *answers: bool) -> dict[str, Any]:
    """Have production answer this to verifications, and return the options of such a run."""
    left = [verify.Verification(answer, () if answer else ("it crashes",)) for answer in answers]
    monkeypatch.setattr(verify, "verify", lambda *_: left.pop(0))
    monkeypatch.setattr(Clusters, "of", lambda _self, one: SimpleNamespace() if one.name == "production" else None)
    off = dict.fromkeys(("server_dry_run", "secrets", "capacity", "connectivity"), "off")
    return {"verify": verify.Options(), "gates": off}


def test_merged_it_is_verified_by_the_next_run_and_goes_back_where_it_is_bad(
    lab: Lab, server: ForgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = verified(monkeypatch, False, True)
    before = lab.text(PRODUCTION)
    opened = propose(lab, server, **checks)
    assert opened["warnings"] == [
        "production is verified by the next run after the merge: run the same again then; nothing goes back before that"
    ]
    merged = merge(lab)
    done = propose(lab, server, **checks)
    assert (done["failed"], done["commit"], done["plan_id"]) == (True, merged, opened["plan_id"])
    assert (done["rolled_back"], lab.head(), lab.text(PRODUCTION)) == (True, done["rollback_commit"], before)
    assert f"Gitops-Undoes: {opened['plan_id']}" in lab.message()


def test_a_merge_of_something_else_is_left_to_somebody(
    lab: Lab, server: ForgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.git("checkout", "--quiet", "-B", "work", "origin/main")
    (lab.work / PRODUCTION).write_text(kustomization("6.5.9", C, replicas=3))
    lab.git(
        "commit",
        "--quiet",
        "-am",
        "promote\n\nGitops-Action: promote\nGitops-Env: a -> staging\nGitops-Component: podinfo",
    )
    (lab.work / STAGING).write_text(kustomization("6.5.9", C))
    lab.git("commit", "--quiet", "-am", "by hand")
    lab.git("push", "--quiet", "origin", "work")
    merged = merge(lab, "work")
    done = propose(lab, server, **verified(monkeypatch, False))
    assert (done["failed"], done["commit"], done["rolled_back"], lab.head()) == (True, merged, False, merged)


def test_a_plan_that_was_merged_is_found_and_can_be_undone(lab: Lab, server: ForgeServer) -> None:
    before = lab.text(PRODUCTION)
    plan = propose(lab, server)["plan_id"]
    lab.commit({"README.md": "meanwhile\n"})
    merged = merge(lab)
    lab.commit({STAGING: kustomization("6.7.0", C)})
    lab.promote()
    with lab.place().open() as repository:
        tip = repository.fetch(["main"])["main"]
        assert history.planned(repository, tip, plan) == [merged]
    lab.rollback(plan)
    assert lab.text(PRODUCTION) == kustomization("6.6.0", B, replicas=3)
    lab.rollback(plan, method="revert")
    assert lab.text(PRODUCTION) == before
    assert lab.text("README.md") == "meanwhile\n"


def test_the_same_plan_can_be_proposed_again_after_it_was_merged_and_taken_back(lab: Lab, server: ForgeServer) -> None:
    server.git = lab.server
    for _time in range(2):
        for change in (propose, back):
            opened = change(lab, server)
            assert opened["changed"]
            assert lab.git("rev-parse", f"{opened['branch']}~1", cwd=lab.server) == lab.head()
            merge(lab, opened["branch"])
            server.pulls[-1]["state"] = "closed"
        lab.run(reason="it was the network").hold("production", ["podinfo"], "absent")
    assert len(server.pulls) == 4


def test_where_the_files_have_changed_it_is_made_anew(lab: Lab, server: ForgeServer) -> None:
    first = propose(lab, server)
    lab.commit({PRODUCTION: kustomization("6.5.4", A, replicas=4)})
    again = propose(lab, server)
    assert (again["changed"], again["plan_id"], again["pr_url"]) == (True, first["plan_id"], first["pr_url"])
    assert lab.text(PRODUCTION, BRANCH) == kustomization("6.6.0", B, replicas=4)
    merge(lab)
    assert lab.text(PRODUCTION) == kustomization("6.6.0", B, replicas=4)


def test_the_board_says_who_proposed_what_was_merged(lab: Lab, server: ForgeServer) -> None:
    propose(lab, server)
    merged = merge(lab)
    (row,) = status.collect(lab.place(), Clusters({}), ["production"], ["podinfo"], NOW)
    assert (row.commit, row.action, row.by) == (merged, "promote", "ada (laptop)")


def test_check_mode_opens_nothing(lab: Lab, server: ForgeServer) -> None:
    assert propose(lab, server, check_mode=True)["changed"]
    assert (server.requests, lab.git("branch", cwd=lab.server)) == ([], "* main")


def test_the_forge_may_merge_and_says_what_was_done(lab: Lab, server: ForgeServer) -> None:
    result = propose(lab, server, auto_merge=True)
    assert (result["merged"], result["scheduled"]) == (False, True)
    assert f"Gitops-Plan: {result['plan_id']}" in server.merging[1]
    assert propose(lab, server, auto_merge=True)["changed"] is False
    lab.commit({STAGING: kustomization("6.7.0", C)})
    newer = propose(lab, server, auto_merge=True)
    assert (newer["scheduled"], f"Gitops-Plan: {newer['plan_id']}" in server.merging[1]) == (True, True)


def test_a_run_that_was_killed_before_it_asked_for_the_merge_is_made_up_for(lab: Lab, server: ForgeServer) -> None:
    propose(lab, server)
    assert server.merging == {}
    again = propose(lab, server, auto_merge=True)
    assert (again["changed"], again["scheduled"], list(server.merging)) == (True, True, [1])
    assert propose(lab, server, auto_merge=True)["changed"] is False


def test_nothing_holds_it_up_and_it_is_merged(lab: Lab, server: ForgeServer) -> None:
    server.checks = "passed"
    result = propose(lab, server, auto_merge=True)
    assert (result["merged"], result["scheduled"]) == (True, False)


def test_without_a_forge_the_branch_is_pushed(lab: Lab) -> None:
    result = lab.promote(strategy="pull_request")
    assert result["pr_url"] == ""
    assert result["warnings"] == [
        f"the branch {BRANCH} was pushed; no forge is named, so open the pull request by hand"
    ]


def test_a_rollback_can_be_proposed_as_well(lab: Lab, server: ForgeServer) -> None:
    lab.promote()
    forge = KINDS["gitea"](server.url, REPOSITORY, TOKEN)
    result = lab.rollback(strategy="pull_request", forge=forge)
    assert result["branch"] == "gitops/rollback/production/podinfo"
    assert "Gitops-Reason: it is broken" in server.pulls[0]["body"]
