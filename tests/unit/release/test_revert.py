# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The other two ways back: all changes of a plan, and the branch of an environment."""

from __future__ import annotations

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError

from tests.unit.release.lab import A, B, Lab, kustomization

PRODUCTION = "clusters/production/podinfo/kustomization.yaml"
HOLDS = "clusters/production/gitops-holds.yaml"
COMPONENTS = {"components": [{"name": "podinfo", "subtree": ["podinfo/dashboards/**"]}]}


def test_files_that_came_go_and_versions_are_held(lab: Lab) -> None:
    before = lab.tree()
    lab.commit({"clusters/staging/podinfo/dashboards/a.json": "{}"})
    plan = lab.promote(place=COMPONENTS)["plan_id"]
    lab.commit({"README.md": "later\n", PRODUCTION: kustomization("6.6.0", B, replicas=9)})
    result = lab.rollback(plan, method="revert", place=COMPONENTS)
    assert result["changed"]
    assert lab.text(PRODUCTION) == kustomization("6.5.4", A, replicas=9)
    assert "clusters/production/podinfo/dashboards/a.json" not in lab.tree()
    assert lab.text("README.md") == "later\n"
    assert HOLDS in lab.tree()
    assert set(lab.tree()) - set(before) == {HOLDS, "clusters/staging/podinfo/dashboards/a.json"}
    assert lab.rollback(plan, method="revert", place=COMPONENTS)["changed"] is False
    assert lab.promote(place=COMPONENTS)["failed"]


def test_a_conflict_does_nothing_and_is_told(lab: Lab) -> None:
    plan = lab.promote()["plan_id"]
    lab.commit({PRODUCTION: kustomization("6.6.1", B)})
    head = lab.head()
    with pytest.raises(ReleaseError, match=f"others have changed the same lines since of {PRODUCTION}"):
        lab.rollback(plan, method="revert")
    assert lab.head() == head
    with pytest.raises(ReleaseError, match=r"'6\.5\.4' is neither the id of a plan nor a commit"):
        lab.rollback("6.5.4", method="revert")


def test_check_mode_of_a_revert(lab: Lab) -> None:
    plan = lab.promote()["plan_id"]
    head = lab.head()
    told = lab.rollback(plan, method="revert", check_mode=True)
    assert lab.head() == head
    assert told["diff"] == lab.rollback(plan, method="revert")["diff"]


def test_the_branch_of_an_environment_is_moved(lab: Lab) -> None:
    lab.git("push", "--quiet", "origin", f"{lab.first}:refs/heads/live")
    place = {"environments": [{"name": "staging"}, {"name": "production", "branch": "live"}]}
    done = lab.promote(place=place)
    assert lab.head("live") == done["commit"]
    assert lab.rollback(lab.first, method="ref", place=place, check_mode=True)["changed"]
    moved = lab.rollback(lab.first, method="ref", place=place)
    assert (moved["changed"], lab.head("live")) == (True, lab.first)
    assert lab.rollback(lab.first, method="ref", place=place)["changed"] is False
    with pytest.raises(ReleaseError, match="production has no branch of its own"):
        lab.rollback(lab.first, method="ref")
    with pytest.raises(ReleaseError, match="is no commit or tag of the history of live"):
        lab.rollback("0" * 40, method="ref", place=place)


def test_a_branch_is_not_moved_past_what_the_others_ask_for(lab: Lab) -> None:
    lab.git("push", "--quiet", "origin", f"{lab.first}:refs/heads/live")
    environments = [{"name": "staging"}, {"name": "production", "branch": "live"}]
    place = {"environments": environments, "components": [{"name": "podinfo", "irreversible": ["6.6.0"]}]}
    done = lab.promote(place=place)
    for given in ({"strategy": "plan"}, {"strategy": "pull_request"}, {"approved_plan": done["plan_id"]}):
        with pytest.raises(ReleaseError, match="method ref makes no plan that could be approved"):
            lab.rollback(lab.first, method="ref", place=place, **given)
    for mode in (True, False):
        refused = lab.rollback(lab.first, method="ref", place=place, check_mode=mode)
        assert (refused["failed"], refused["changed"]) == (True, False)
        assert "podinfo: version 6.6.0 cannot be undone" in refused["msg"]
    assert lab.head("live") == done["commit"]
    told = lab.rollback(lab.first, method="ref", place=place, force=True, check_mode=True)
    moved = lab.rollback(lab.first, method="ref", place=place, force=True)
    assert lab.head("live") == lab.first
    for result in (told, moved):
        assert (result["changed"], result["commit"], result["verified"]) == (True, lab.first, None)
        assert result["warnings"] == [
            "method ref holds nothing: a promotion or automation may bring the versions back",
            "production was not verified: method ref waits for no cluster",
        ]
