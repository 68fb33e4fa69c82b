# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A promotion changes the chosen versions by one commit, or nothing."""

from __future__ import annotations

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError

from tests.unit.release.lab import IMAGE, SELECTOR, A, B, C, Lab, kustomization

PRODUCTION = "clusters/production/podinfo/kustomization.yaml"
STAGING = "clusters/staging/podinfo/kustomization.yaml"


def test_only_the_versions_change(lab: Lab) -> None:
    before = lab.tree()
    result = lab.promote()
    assert result["changed"] is True
    assert result["commit"] == lab.head()
    assert lab.text(PRODUCTION) == kustomization("6.6.0", B, replicas=3)
    assert {path for path, blob in lab.tree().items() if before.get(path) != blob} == {PRODUCTION}
    assert result["edits"] == [
        {
            "component": "podinfo",
            "environment": "production",
            "file": PRODUCTION,
            "selector": SELECTOR,
            "before": f"6.5.4@{A}",
            "after": f"6.6.0@{B}",
        }
    ]


def test_the_commit_says_what_and_why(lab: Lab) -> None:
    result = lab.promote(message="Because.", approved_by="bob (PR 42)")
    message = lab.message()
    assert message.splitlines()[0] == "promote(podinfo): staging -> production 6.5.4 -> 6.6.0"
    for line in (
        "Because.",
        "Gitops-Action: promote",
        f"Gitops-Plan: {result['plan_id']}",
        "Gitops-Env: staging -> production",
        f"Gitops-Source-Commit: {lab.first}",
        f"Gitops-Change: podinfo {SELECTOR} 6.5.4@{A} -> 6.6.0@{B}",
        "Gitops-Actor: ada (laptop)",
        "Gitops-Approved-By: bob (PR 42)",
    ):
        assert line in message.splitlines()
    assert (
        "Gitops-Gates: hold=pass freeze=pass versions=pass no_downgrade=pass digest=pass leak=pass render=pass policy="
        in message
    )


def test_a_second_run_finds_nothing_to_do(lab: Lab) -> None:
    lab.promote()
    head = lab.head()
    result = lab.promote()
    assert (result["changed"], result["edits"], result["plan_id"]) == (False, [], "")
    assert lab.head() == head


def test_check_mode_tells_what_the_run_then_does(lab: Lab) -> None:
    head = lab.head()
    told = lab.promote(check_mode=True)
    assert lab.head() == head
    done = lab.promote()
    for key in ("changed", "plan_id", "edits", "diff", "rendered_diff", "gates"):
        assert told[key] == done[key], key
    (diff,) = done["diff"]
    assert diff["after"] == lab.text(PRODUCTION)
    assert diff["before"] == lab.text(PRODUCTION, "main~1")
    assert f"-        image: ghcr.io/x/podinfo:6.5.4@{A}" in done["rendered_diff"]


def test_the_plan_id_holds_while_its_edits_do(lab: Lab) -> None:
    told = lab.promote(strategy="plan")["plan_id"]
    lab.commit({"README.md": "other\n"})
    assert lab.promote(check_mode=True)["plan_id"] == told
    lab.commit({STAGING: kustomization("6.6.1", C)})
    refused = lab.promote(approved_plan=told)
    assert refused["failed"]
    assert refused["msg"].startswith("plan_changed: approved was the plan")
    assert "6.5.4" in lab.text(PRODUCTION)
    new = lab.promote(check_mode=True)["plan_id"]
    assert new != told
    assert lab.promote(approved_plan=new)["changed"]


def test_other_gates_are_another_plan(lab: Lab) -> None:
    assert lab.promote(check_mode=True)["plan_id"] != lab.promote(check_mode=True, gates={"freeze": "off"})["plan_id"]


def test_a_digest_that_is_not_there_is_added_and_an_old_one_taken_away(lab: Lab) -> None:
    lab.commit({PRODUCTION: kustomization("6.5.4", replicas=3)})
    lab.promote()
    assert lab.text(PRODUCTION) == kustomization("6.6.0", B, replicas=3)
    lab.commit({STAGING: kustomization("6.7.0")})
    result = lab.promote()
    assert lab.text(PRODUCTION) == kustomization("6.7.0", replicas=3)
    assert [(one["name"], one["status"]) for one in result["gates"] if one["name"] == "digest"] == [
        ("digest", "unknown")
    ]
    assert "no digest is known of ghcr.io/x/podinfo:6.7.0" in str(result["gates"])


def test_the_digest_of_the_same_tag_stays(lab: Lab) -> None:
    lab.commit({STAGING: kustomization("6.6.0"), PRODUCTION: kustomization("6.6.0", B)})
    assert lab.promote()["changed"] is False


def test_images_that_go_by_their_digest_alone(lab: Lab) -> None:
    by_digest = kustomization("x", B).replace("    newTag: x\n", "")
    by_tag = kustomization("6.5.4", A, replicas=3)
    lab.commit({STAGING: by_digest})
    done = lab.promote()
    assert [(one["before"], one["after"]) for one in done["edits"]] == [(f"6.5.4@{A}", f"@{B}")]
    assert lab.text(PRODUCTION) == by_tag.replace("    newTag: 6.5.4\n", "").replace(A, B)
    assert f"image: ghcr.io/x/podinfo@{B}\n" in done["rendered_diff"]
    gates = {one["name"]: (one["status"], one["detail"]) for one in done["gates"]}
    assert gates["no_downgrade"] == ("pass", f"not to be compared: {SELECTOR}")
    assert lab.promote()["changed"] is False
    lab.rollback()
    assert lab.text(PRODUCTION) == by_tag
    assert lab.rollback(B)["changed"] is True


def test_several_components_go_in_one_commit_or_not_at_all(lab: Lab) -> None:
    web = "clusters/{}/web/kustomization.yaml"
    one = "images: [{name: example.com/web, newTag: v2}]\n"
    lab.commit({web.format("staging"): one, web.format("production"): one.replace("v2", "v1") + "# end"})
    count = int(lab.git("rev-list", "--count", "main", cwd=lab.server))
    result = lab.promote("podinfo", "web")
    assert {edit["component"] for edit in result["edits"]} == {"podinfo", "web"}
    assert int(lab.git("rev-list", "--count", "main", cwd=lab.server)) == count + 1
    lab.commit({web.format("staging"): one.replace("v2", "v3"), STAGING: kustomization("6.8.0", C)})
    lab.commit({web.format("production"): "images: [{name: example.com/web, newTag: &t v1}]\nother: *t\n"})
    head = lab.head()
    with pytest.raises(ReleaseError, match="would change other as well"):
        lab.promote("podinfo", "web")
    assert lab.head() == head


def test_all_components_are_those_that_both_have(lab: Lab) -> None:
    run = lab.run()
    result = run.promote("staging", "production", (), ask_registry=False)
    assert [edit["component"] for edit in result["edits"]] == ["podinfo"]


def test_what_differs_and_is_no_version_is_told_and_stays(lab: Lab) -> None:
    result = lab.promote()
    assert result["unpromoted_differences"] == [
        "podinfo/kustomization.yaml: replicas.podinfo.count: 1 in staging and 3 in production"
    ]
    assert "count: 3" in lab.text(PRODUCTION)


def test_nothing_secret_is_shown(lab: Lab) -> None:
    release = (
        "kind: HelmRelease\nmetadata: {name: podinfo}\nspec:\n  chart: {spec: {version: '%s'}}\n  values:\n"
        "    adminPassword: hunter-%s\n    sealed: ENC[AES256_GCM,data:%s]\n    host: %s.example.com\n"
    )
    paths = ["clusters/staging/podinfo/release.yaml", "clusters/production/podinfo/release.yaml"]
    lab.commit({paths[0]: release % ("2", "one", "s3aled", "s"), paths[1]: release % ("1", "two", "s4aled", "p")})
    result = lab.promote()
    told = str(result["unpromoted_differences"])
    assert "spec.values.adminPassword: (not shown) in staging and (not shown) in production" in told
    assert "spec.values.host: s.example.com in staging and p.example.com in production" in told
    assert "hunter" not in told
    assert "aled" not in str(result).replace("sealed", "")


def test_unknown_names_are_told(lab: Lab) -> None:
    with pytest.raises(
        ReleaseError, match="there is no environment 'prod'; the repository has base, production, staging"
    ):
        lab.promote(target="prod")
    with pytest.raises(ReleaseError, match=r"- nope: no version of it is found in clusters/staging\. Wanted an image"):
        lab.promote("nope")
    with pytest.raises(ReleaseError, match="from and to are both staging"):
        lab.promote(source="staging", target="staging")


def test_a_selector_of_one_side_is_told(lab: Lab) -> None:
    lab.commit({"clusters/staging/other/kustomization.yaml": "images: [{name: example.com/other, newTag: v1}]\n"})
    with pytest.raises(
        ReleaseError, match=r"images\[example.com/other\] is in staging only\. Add it to clusters/production"
    ):
        lab.promote("other")


def test_only_some_kinds_of_versions_are_promoted(lab: Lab) -> None:
    chart = (
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: podinfo}\n"
        "spec:\n  chart:\n    spec: {chart: podinfo, version: '%s'}\n  values:\n    image: {tag: %s}\n    replicaCount: %s\n"
    )
    paths = ["clusters/staging/podinfo/release.yaml", "clusters/production/podinfo/release.yaml"]
    lab.commit({paths[0]: chart % ("6.9.0", "six", 1), paths[1]: chart % ("6.8.0", "five", 3)})
    assert [edit["selector"] for edit in lab.promote(what="images")["edits"]] == [SELECTOR]
    assert lab.text(paths[1]) == chart % ("6.8.0", "five", 3)
    components = [
        {"name": "podinfo", "select": [{"kind": "HelmRelease", "name": "podinfo", "path": "spec.values.image.tag"}]}
    ]
    result = lab.promote(place={"components": components})
    assert {edit["selector"] for edit in result["edits"]} == {
        "HelmRelease/podinfo chart",
        "HelmRelease/podinfo spec.values.image.tag",
    }
    assert lab.text(paths[1]) == chart % ("6.9.0", "six", 3)


def test_what_belongs_to_an_environment_cannot_be_declared(lab: Lab) -> None:
    select = [
        {"kind": "HelmRelease", "path": "spec.values.replicaCount"},
        {"kind": "Secret", "path": "data.password"},
        {"kind": "Ingress", "path": "spec.rules.host"},
    ]
    with pytest.raises(ReleaseError) as caught:
        lab.promote(place={"components": [{"name": "podinfo", "select": select, "pathss": []}]})
    for said in ("replicaCount belongs", "Secrets are never", "host belongs", "there is no 'pathss'; write paths"):
        assert said in str(caught.value)


def test_excluded_fields_stay(lab: Lab) -> None:
    lab.commit(
        {STAGING: kustomization("6.6.0", B).replace(f"{IMAGE}\n", f"{IMAGE}\n    newName: staging.example/podinfo\n")}
    )
    components = [{"name": "podinfo", "exclude": [f"{SELECTOR}.newName"]}]
    lab.promote(place={"components": components})
    assert lab.text(PRODUCTION) == kustomization("6.6.0", B, replicas=3)
    lab.promote()
    assert "newName: staging.example/podinfo" in lab.text(PRODUCTION)


def test_environments_can_be_directories_of_one_cluster_and_branches(lab: Lab) -> None:
    lab.commit({"apps/web/a.yaml": "x: 1\n", ".stagecraft/releases.yaml": (
        "environments:\n- {name: blue, path: apps/web/overlays/blue}\n- {name: green, path: apps/web/overlays/green, branch: live}\n"
    )})  # fmt: skip
    overlay = "images:\n- {name: web, newTag: %s}\n"
    lab.commit({"apps/web/overlays/blue/kustomization.yaml": overlay % "v2"})
    lab.git("checkout", "--quiet", "-b", "live")
    (lab.work / "apps/web/overlays/green").mkdir(parents=True)
    (lab.work / "apps/web/overlays/green/kustomization.yaml").write_text(overlay % "v1")
    lab.git("add", "-A")
    lab.git("commit", "--quiet", "-m", "live")
    lab.git("push", "--quiet", "origin", "live")
    main = lab.head()
    result = lab.promote("web", source="blue", target="green")
    assert lab.text("apps/web/overlays/green/kustomization.yaml", "live") == overlay % "v2"
    assert (lab.head(), lab.head("live")) == (main, result["commit"])
    with pytest.raises(ReleaseError, match="blue comes before green; releases go the other way"):
        lab.promote("web", source="green", target="blue")


def test_a_subtree_is_copied_whole_and_never_a_secret(lab: Lab) -> None:
    lab.commit({
        "clusters/staging/podinfo/dashboards/a.json": "{}",
        "clusters/production/podinfo/dashboards/old.json": "{}",
    })  # fmt: skip
    place = {"components": [{"name": "podinfo", "subtree": ["podinfo/dashboards/**"]}]}
    lab.promote(place=place)
    assert "clusters/production/podinfo/dashboards/a.json" in lab.tree()
    assert "clusters/production/podinfo/dashboards/old.json" not in lab.tree()
    lab.commit({"clusters/staging/podinfo/dashboards/s.yaml": "kind: Secret\nstringData: {a: b}\n"})
    with pytest.raises(ReleaseError, match="holds a Secret, which is never promoted"):
        lab.promote(place=place)


def test_the_source_that_delivers_the_pin_is_not_pinned(lab: Lab) -> None:
    body = "kind: GitRepository\nmetadata: {name: %s}\nspec:\n  url: %s\n  ref:\n    tag: %s\n"
    for name, url in (("flux-system", "ssh://git@example.com/other.git"), ("mine", lab.url)):
        lab.commit({
            f"clusters/staging/{name}.yaml": body % (name, url, "v2"),
            f"clusters/production/{name}.yaml": body % (name, url, "v1"),
        })  # fmt: skip
        with pytest.raises(ReleaseError, match=f"GitRepository {name} is the source that brings"):
            lab.promote(name)
    lab.commit({
        "clusters/staging/lib.yaml": body % ("lib", "ssh://git@example.com/lib.git", "v2"),
        "clusters/production/lib.yaml": body % ("lib", "ssh://git@example.com/lib.git", "v1"),
    })  # fmt: skip
    assert lab.promote("lib")["changed"]


def test_no_server_no_change(lab: Lab) -> None:
    lab.server.rename(lab.server.with_name("gone.git"))
    with pytest.raises(GitError, match="the server knows no such repository"):
        lab.promote()


def test_the_clone_of_the_user_stays_as_it_is(lab: Lab) -> None:
    (lab.work / "README.md").write_text("not committed\n")
    before = lab.git("status", "--porcelain"), lab.git("rev-parse", "HEAD"), lab.git("for-each-ref")
    lab.promote()
    assert (lab.git("status", "--porcelain"), lab.git("rev-parse", "HEAD"), lab.git("for-each-ref")) == before
