# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollback is a new commit that restores versions and nothing else, and that automation does not undo."""

from __future__ import annotations

from datetime import timedelta

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.check import Options as CheckOptions
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.check import check
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.schemas import installed_versions
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError

from tests.unit.release.lab import NOW, SELECTOR, A, B, C, Lab, kustomization

PRODUCTION = "clusters/production/podinfo/kustomization.yaml"
STAGING = "clusters/staging/podinfo/kustomization.yaml"
HOLDS = "clusters/production/gitops-holds.yaml"
MARKER = '      # {"$imagepolicy": "flux-system:podinfo:tag"}'


def held(lab: Lab) -> list[dict[str, object]]:
    found: list[dict[str, object]] = yaml.safe_load(lab.text(HOLDS))["spec"]["holds"]
    return found


def three_versions(lab: Lab) -> None:
    lab.promote()
    lab.commit({STAGING: kustomization("6.7.0", C)})
    lab.promote()


def test_the_version_before_comes_back_by_a_new_commit(lab: Lab) -> None:
    lab.promote()
    promoted = lab.head()
    lab.commit({"README.md": "later\n", PRODUCTION: kustomization("6.6.0", B, replicas=5)})
    result = lab.rollback()
    assert result["changed"]
    assert lab.text(PRODUCTION) == kustomization("6.5.4", A, replicas=5)
    assert lab.text("README.md") == "later\n"
    lab.git("merge-base", "--is-ancestor", promoted, "main", cwd=lab.server)
    message = lab.message()
    assert message.splitlines()[0] == "rollback(podinfo): production 6.6.0 -> 6.5.4"
    assert "Gitops-Reason: it is broken" in message
    assert held(lab) == [
        {
            "environment": "production",
            "component": "podinfo",
            "denied": [{SELECTOR: {"newTag": "6.6.0", "digest": B}}],
            "since": "2026-11-21",
            "reason": "it is broken",
            "by": "ada (laptop)",
        }
    ]


def test_the_file_of_holds_is_sent_to_no_cluster(lab: Lab) -> None:
    lab.promote()
    lab.rollback()
    text = lab.text(HOLDS)
    assert yaml.safe_load(text)["metadata"]["annotations"] == {"config.kubernetes.io/local-config": "true"}
    assert "# +argocd:skip-file-rendering" in text.splitlines(), "where Argo CD reads a directory, without kustomize"


def test_a_second_run_changes_nothing_more_of_the_same(lab: Lab) -> None:
    lab.promote()
    lab.rollback("6.5.4")
    head = lab.head()
    assert lab.rollback("6.5.4")["changed"] is False
    assert lab.head() == head


def test_check_mode_tells_what_the_run_then_does(lab: Lab) -> None:
    lab.promote()
    head = lab.head()
    told = lab.rollback(check_mode=True)
    assert lab.head() == head
    done = lab.rollback(now=NOW + timedelta(minutes=5))
    for key in ("changed", "plan_id", "edits", "diff", "rendered_diff"):
        assert told[key] == done[key], key
    assert {entry["after_header"]: entry["after"] for entry in done["diff"]} == {
        path: lab.text(path) for path in (PRODUCTION, HOLDS)
    }


def test_previous_walks_further_back_each_time(lab: Lab) -> None:
    three_versions(lab)
    lab.rollback()
    assert lab.text(PRODUCTION) == kustomization("6.6.0", B, replicas=3)
    lab.rollback()
    assert lab.text(PRODUCTION) == kustomization("6.5.4", A, replicas=3)
    with pytest.raises(ReleaseError, match=r"no previous version to go back to\. It has had .*6\.5\.4@sha256:a{12}; "):
        lab.rollback()


def test_a_held_version_is_not_promoted_and_the_next_one_is(lab: Lab) -> None:
    lab.promote()
    lab.rollback()
    refused = lab.promote()
    assert refused["failed"]
    assert "podinfo is held in production since 2026-11-21 by ada (laptop): it is broken" in refused["msg"]
    lab.commit({STAGING: kustomization("6.7.0", C)})
    lab.promote()
    assert lab.text(PRODUCTION) == kustomization("6.7.0", C, replicas=3)
    assert HOLDS not in lab.tree()


def test_who_takes_the_responsibility_gets_the_held_version(lab: Lab) -> None:
    lab.promote()
    lab.rollback()
    with pytest.raises(ReleaseError, match="force needs a reason"):
        lab.promote(force=True)
    result = lab.promote(force=True, reason="it was the network")
    assert result["changed"]
    assert "hold=forced" in lab.message()
    assert "Gitops-Reason: it was the network" in lab.message()


def test_a_hold_runs_out(lab: Lab) -> None:
    lab.promote()
    lab.rollback(until="2026-11-22T00:00:00Z")
    assert lab.promote()["failed"]
    assert lab.promote(now=NOW + timedelta(days=1))["changed"]


def test_image_automation_leaves_a_held_version_alone(lab: Lab) -> None:
    lab.commit({PRODUCTION: kustomization("6.5.4", A, marker=MARKER)})
    lab.promote()
    assert lab.text(PRODUCTION) == kustomization("6.6.0", B, marker=MARKER)
    lab.rollback()
    text = lab.text(PRODUCTION)
    assert text == kustomization("6.5.4", A, marker="      # gitops-held flux-system:podinfo:tag")
    assert "$imagepolicy" not in text + lab.text(HOLDS)
    lab.commit({STAGING: kustomization("6.7.0", C)})
    lab.promote()
    assert lab.text(PRODUCTION) == kustomization("6.7.0", C, marker=MARKER)


def test_others_that_may_bring_it_back_are_named(lab: Lab) -> None:
    lab.commit({"clusters/production/rsip.yaml": "kind: ResourceSetInputProvider\nmetadata: {name: x}\n"})
    lab.promote()
    result = lab.rollback()
    assert result["warnings"] == [
        "clusters/production/rsip.yaml has a ResourceSetInputProvider, which can bring a newer version back; suspend it, or"
        " narrow its filter"
    ]


def test_they_are_looked_for_in_the_whole_repository_by_their_kind(lab: Lab) -> None:
    provider = "kind: 'ResourceSetInputProvider' # quoted\nmetadata: {name: x}\n"
    updater = "apiVersion: argocd-image-updater.argoproj.io/v1alpha1\nkind: ImageUpdater\nmetadata: {name: x}\n"
    user = "kind: ResourceSet\nspec: {inputsFrom: [{kind: ResourceSetInputProvider, name: x}]}\n"
    application = "kind: Application\nspec: {syncPolicy: {automated: {\n  selfHeal: true}}}\n"
    lab.commit(
        {
            "infrastructure/provider.yaml": provider,
            "clusters/base/updater.yml": updater,
            "clusters/staging/provider.yaml": provider,
            "apps/set.yaml": user,
            "apps/one.yaml": application,
            "renovate.json": '{"packageRules": [{"matchUpdateTypes": ["minor"], "automerge": true}]}\n',
            ".github/renovate.json5": "{extends: ['config:base', ':automergeDisabled'], automerge: false}\n",
        }
    )
    lab.promote()
    assert [said.partition(",")[0] for said in lab.rollback()["warnings"]] == [
        "clusters/base/updater.yml has an ImageUpdater of Argo CD",
        "infrastructure/provider.yaml has a ResourceSetInputProvider",
        "renovate.json lets Renovate merge by itself",
    ]


def test_image_automation_is_named_where_no_hold_hides_the_markers(lab: Lab) -> None:
    automation = "kind: ImageUpdateAutomation\nmetadata: {name: x}\nspec: {interval: 1m}\n"
    lab.commit(
        {
            "infrastructure/automation.yaml": automation,
            "infrastructure/suspended.yaml": automation.replace("{interval: 1m}", "{suspend: true}"),
        }
    )
    lab.promote()
    assert lab.rollback(check_mode=True)["warnings"] == []
    assert lab.rollback(hold=False)["warnings"] == [
        "infrastructure/automation.yaml has an ImageUpdateAutomation, which writes the newer version behind its marker;"
        " suspend it, or hold the version"
    ]


def test_environments_that_are_described_are_told_apart_by_their_paths(lab: Lab) -> None:
    provider = "kind: ResourceSetInputProvider\nmetadata: {name: x}\n"
    lab.commit(
        {"clusters/staging/a.yaml": provider, "clusters/other/b.yaml": provider, "clusters/production/c.yaml": provider}
    )
    lab.promote()
    place = {"environments": [{"name": "staging"}, {"name": "production"}]}
    assert [said.split()[0] for said in lab.rollback(place=place)["warnings"]] == [
        "clusters/other/b.yaml",
        "clusters/production/c.yaml",
    ]


def test_a_version_a_digest_a_commit_a_tag_a_plan_and_a_time(lab: Lab) -> None:
    three_versions(lab)
    plan = next(line for line in lab.message("main~2").splitlines() if line.startswith("Gitops-Plan")).split()[1]
    first = lab.first
    lab.git("tag", "v1", first, cwd=lab.server)
    for to, tag in (
        ("6.5.4", "6.5.4"),
        (f"6.6.0@{B}", "6.6.0"),
        (A, "6.5.4"),
        (A[:19], "6.5.4"),
        (first[:10], "6.5.4"),
        ("v1", "6.5.4"),
        (plan, "6.6.0"),
    ):
        found = lab.rollback(to, check_mode=True)
        assert [edit["after"].partition("@")[0] for edit in found["edits"]] == [tag], to
    with pytest.raises(
        ReleaseError, match=r"'9.9.9' is no version, commit, tag or plan of its history\. It has had .*6\.7\.0"
    ):
        lab.rollback("9.9.9")
    with pytest.raises(ReleaseError, match="does not reach back to 2001-01-01"):
        lab.rollback("@{2001-01-01}")


def test_the_version_of_a_point_in_time(lab: Lab) -> None:
    lab.promote()  # now; what was before is of a fixed day
    found = lab.rollback("@{2026-11-19 12:00:00}", check_mode=True)
    assert [edit["after"] for edit in found["edits"]] == [f"6.5.4@{A}"]


def test_a_commit_by_hand_is_history_as_well(lab: Lab) -> None:
    lab.commit({PRODUCTION: kustomization("6.5.9", C, replicas=3)})
    lab.promote()
    lab.rollback()
    assert lab.text(PRODUCTION) == kustomization("6.5.9", C, replicas=3)


def test_production_wants_a_reason(lab: Lab) -> None:
    lab.promote()
    with pytest.raises(ReleaseError, match="a rollback of production needs a reason"):
        lab.rollback(reason="")


def test_a_boundary_needs_force_and_a_reason(lab: Lab) -> None:
    three_versions(lab)
    place = {"components": [{"name": "podinfo", "irreversible": ["6.6.0"]}]}
    assert lab.rollback("6.6.0", place=place, check_mode=True)["changed"]
    refused = lab.rollback("6.5.4", place=place)
    assert refused["failed"]
    assert "version 6.6.0 cannot be undone" in refused["msg"]
    assert lab.rollback("6.5.4", place=place, force=True, reason="restored from a dump")["changed"]


def test_what_an_environment_never_had_needs_force(lab: Lab) -> None:
    lab.git("checkout", "--quiet", "-b", "other")
    (lab.work / PRODUCTION).write_text(kustomization("1.0.0"))
    lab.git("commit", "--quiet", "-am", "other")
    other = lab.git("rev-parse", "HEAD")
    lab.git("push", "--quiet", "origin", "other:refs/tags/side")
    lab.git("checkout", "--quiet", "main")
    refused = lab.rollback("side")
    assert "production has never had this version" in refused["msg"]
    assert lab.rollback("side", force=True)["changed"], other
    assert "newTag: 1.0.0" in lab.text(PRODUCTION)


def test_an_approved_rollback_is_the_one_that_is_done(lab: Lab) -> None:
    three_versions(lab)
    told = lab.rollback(check_mode=True)["plan_id"]
    lab.rollback()
    refused = lab.rollback(approved_plan=told)
    assert refused["msg"].startswith("plan_changed")


def test_without_a_hold_nothing_is_held(lab: Lab) -> None:
    lab.promote()
    lab.rollback(hold=False)
    assert HOLDS not in lab.tree()
    assert lab.promote()["changed"]


def test_broken_holds_are_told(lab: Lab) -> None:
    lab.commit({HOLDS: "spec: {holds: 5}\n"})
    with pytest.raises(ReleaseError, match=r"gitops-holds\.yaml: the holds cannot be read .*Restore the file"):
        lab.promote()


def test_the_file_of_holds_disturbs_no_check(lab: Lab) -> None:
    """With a kustomization beside it, which does not list it, and without one, where Flux reads every file."""
    lab.promote()
    lab.rollback()
    lab.git("pull", "--quiet", "--rebase", "origin", "main")
    for files in ({}, {"clusters/production/kustomization.yaml": "resources: [podinfo]\n"}):
        for path, text in files.items():
            (lab.work / path).write_text(text)
        report = check(CheckOptions(lab.work, ("clusters/production",), installed_versions()[-1]))
        assert [finding.text() for finding in report.findings] == []
