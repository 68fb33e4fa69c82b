# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan as a pull request: its branch and text follow the plan, and the target's branch is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.pull_requests import KINDS

from tests.unit.git.forges import REPOSITORY, TOKEN, ForgeServer
from tests.unit.release.lab import A, B, C, Lab, kustomization

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
