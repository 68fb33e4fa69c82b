# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose Flux it is, what is left to do, and whether it holds: decided on plain data."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import (
    bootstrap,
    deploy_key,
    manifests,
    state,
    sync,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError

from tests.unit.flux.release import RELEASE

URL = "ssh://git@git.example.com/infra/environments.git"
FOLLOWS = state.Sync(URL, "main", "clusters/staging")
HOSTS = "git.example.com ssh-ed25519 AAAAC3Nza"
COMMIT = "1f0c5bd5b6d1f6a7c2f0a4f0d7f3a5ad4b2a9c11"
ASKED, LATER = "2026-11-21T16:00:00.000001+00:00", "2026-11-21T16:00:00.000002123Z"
WANTED = bootstrap.Wanted(
    environment="staging",
    namespace="flux-system",
    version="v2.9.4",
    sync=FOLLOWS,
    known_hosts=HOSTS,
    components=tuple(manifests.build(RELEASE, manifests.Installation(version="v2.9.4"))),
    follow=tuple(sync.objects("flux-system", FOLLOWS, sync.Intervals(), secret=True)),
)


def crd(version: str = "v2.9.4", manager: str = "kustomize-controller", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {
            "labels": {"app.kubernetes.io/version": version, **labels},
            "managedFields": [{"manager": manager}],
        }
    }


def deployment(name: str, available: int = 1, old: int = 0) -> dict[str, Any]:
    """A Deployment of one pod, as the API server lists it: `available` of the new version's, and `old` ones."""
    conditions = [
        {"type": "Available", "status": "True" if available + old else "False"},
        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
    ]
    counts = {"replicas": 1 + old, "updatedReplicas": 1, "availableReplicas": available + old}
    status = {"observedGeneration": 1, **counts, "readyReplicas": available + old, "conditions": conditions}
    return {"metadata": {"name": name, "generation": 1}, "spec": {"replicas": 1}, "status": status}


def ready(status: str = "True", reason: str = "Succeeded", message: str = "", generation: int = 1) -> dict[str, Any]:
    return {
        "type": "Ready",
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": "2026-01-01T00:00:05Z",
    }


def source(revision: str = f"main@sha1:{COMMIT}", **changes: Any) -> dict[str, Any]:
    return {
        "metadata": {"generation": 1},
        "spec": {"url": URL, "ref": {"branch": "main"}},
        "status": {"artifact": {"revision": revision}, "conditions": [ready()], **changes},
    }


def root(path: str = "./clusters/staging", applied: str = f"main@sha1:{COMMIT}", **changes: Any) -> dict[str, Any]:
    return {
        "metadata": {"generation": 1},
        "spec": {"path": path},
        "status": {"lastAppliedRevision": applied, "conditions": [ready()], **changes},
    }


ELSEWHERE = {**source(), "spec": {"url": URL, "ref": {"branch": "trial"}}}
OTHER = {**source(), "spec": {"url": "ssh://git@other/x/y.git"}}
HOLDS = state.Observed(
    kubernetes="v1.36.3",
    crd=crd(),
    deployments=tuple(deployment(name) for name in manifests.COMPONENTS),
    source=source(),
    sync=root(),
    key=deploy_key.KeySecret("ssh-ed25519 AAAA flux-staging", HOSTS + "\n", complete=True),
    namespace_phase="Active",
)
GOING = {"metadata": {**crd()["metadata"], "deletionTimestamp": "2026-11-21T16:00:00Z"}}
HELM = crd(**{"app.kubernetes.io/managed-by": "Helm"})
#: As the flux command line leaves them: applied by it, and by Flux itself from the repository since.
CLI = [{"manager": "kustomize-controller", "operation": "Apply"}, {"manager": "flux", "operation": "Apply"}]
#: A human who asks for a reconciliation by it only patches.
ASKED_BY_CLI = [{"manager": "kustomize-controller", "operation": "Apply"}, {"manager": "flux", "operation": "Update"}]


def managed(item: dict[str, Any], fields: list[dict[str, str]]) -> dict[str, Any]:
    return {**item, "metadata": {**item["metadata"], "managedFields": fields}}


BY_CLI = replace(HOLDS, source=managed(source(), CLI), sync=managed(root(), CLI))
FIVE_STATES: list[tuple[state.State, state.Observed]] = [
    ("absent", state.Observed(kubernetes="v1.36.3")),
    ("unfinished", state.Observed(crd=crd(manager="stagecraft.gitops"))),
    ("unfinished", state.Observed(deployments=(deployment("source-controller"),))),
    ("plain", state.Observed(crd=crd(manager="flux"), deployments=(deployment("source-controller"),))),
    ("bootstrapped", HOLDS),
    ("foreign", replace(HOLDS, sync=root("./clusters/production"))),
    ("foreign", replace(HOLDS, source={**source(), "spec": {"url": "ssh://git@other/x/y.git"}})),
    ("foreign", replace(HOLDS, source=ELSEWHERE)),
    ("foreign", BY_CLI),
    ("foreign", replace(HOLDS, generated_by_cli=True)),
    ("bootstrapped", replace(BY_CLI, generated_by_cli=False)),
    ("bootstrapped", replace(HOLDS, source=managed(source(), ASKED_BY_CLI))),
    ("helm", state.Observed(crd=crd(**{"app.kubernetes.io/managed-by": "Helm"}))),
    ("flux-operator", state.Observed(crd=crd(**{"app.kubernetes.io/managed-by": "flux-operator"}))),
    ("flux-operator", state.Observed(operator=True)),
    ("unfinished", replace(HOLDS, crd=GOING, source=None, sync=None)),
]


@pytest.mark.parametrize(("kind", "seen"), FIVE_STATES)
def test_whose_flux_it_is(kind: state.State, seen: state.Observed) -> None:
    assert state.classify(seen, FOLLOWS) == kind


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (replace(HOLDS, sync=root("./clusters/production")), "another environment's: .*clusters/production; wanted .*staging"),
        (replace(HOLDS, source=OTHER), "another repository or branch: .*flux_takeover: true"),
        (replace(HOLDS, source=ELSEWHERE), "branch: it follows .*, branch trial, .*; wanted .*, branch main, .*flux_takeover: true"),
        (BY_CLI, "flux command line .* bootstrapped this environment, .*: it has applied the GitRepository.*flux_takeover: true"),
        (replace(HOLDS, generated_by_cli=True), 'gotk-components.yaml in the repository says "generated by flux".*flux_takeover'),
        (state.Observed(kubernetes="v1.36.3", generated_by_cli=True), "flux command line .* bootstrapped this environment"),
        (state.Observed(crd=crd(manager="flux")), r"Flux v2\.9\.4 is installed here and follows no repository that we know"),
        (state.Observed(crd=crd(**{"app.kubernetes.io/managed-by": "Helm"})), "installed by Helm"),
        (state.Observed(operator=True), "managed by Flux Operator"),
        (state.Observed(kubernetes="v1.32.9"), r"wants Kubernetes 1\.33 or newer, the cluster runs v1\.32\.9"),
        (state.Observed(namespace_phase="Terminating"), "is being removed here"),
        (replace(HOLDS, crd=GOING), "is being removed here"),
    ],
)  # fmt: skip
def test_what_is_not_ours_is_left_alone(seen: state.Observed, said: str) -> None:
    with pytest.raises(FluxError, match=said):
        bootstrap.plan(seen, WANTED, {})


def test_what_the_flux_command_line_bootstrapped_is_adopted_on_demand() -> None:
    taking = replace(WANTED, takeover=True)
    chosen = bootstrap.plan(replace(BY_CLI, generated_by_cli=True), taking, {"x": b""})
    assert [step.action for step in chosen.steps] == ["commit", "adopt"]
    assert (chosen.adopt, chosen.release, chosen.install, chosen.make_key) == (True, True, False, False)
    # killed after its commit: what is left needs no word any more
    killed = bootstrap.plan(replace(BY_CLI, generated_by_cli=False), WANTED, {})
    assert [step.action for step in killed.steps] == ["adopt"]
    assert not bootstrap.plan(replace(HOLDS, generated_by_cli=False), WANTED, {}).adopt


def test_what_the_flux_command_line_bootstrapped_is_removed_on_demand() -> None:
    kind = state.classify(BY_CLI, FOLLOWS)
    (refused,) = state.removal_refusals(BY_CLI, kind, FOLLOWS, takeover=False)
    assert "flux uninstall" in refused
    assert state.removal_refusals(BY_CLI, kind, FOLLOWS, takeover=True) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"---\n# This manifest was generated by flux. DO NOT EDIT.\n# Flux Version: v2.9.4\n", True),
        (sync.own_files("clusters/staging", "flux-system", [], [])["clusters/staging/flux-system/gotk-components.yaml"], False),
        (None, None),
    ],
)  # fmt: skip
def test_who_wrote_the_manifests_in_the_repository(text: bytes | None, found: bool | None) -> None:
    assert sync.generated_by_cli(text) is found


def test_takeover_never_takes_another_path() -> None:
    taking = replace(WANTED, takeover=True)
    with pytest.raises(FluxError, match="another environment's"):
        bootstrap.plan(replace(HOLDS, sync=root("./clusters/production")), taking, {})
    taken = bootstrap.plan(state.Observed(crd=crd(manager="flux")), taking, {"x": b""})
    assert taken.state == "plain"
    assert taken.install
    assert taken.follow


def test_what_helm_has_left_behind_is_taken_over_and_its_release_is_not() -> None:
    taking = replace(WANTED, takeover=True)
    released = {**deployment("source-controller"), "metadata": {"name": "source-controller", **HELM["metadata"]}}
    with pytest.raises(FluxError, match="helm uninstall"):
        bootstrap.plan(state.Observed(crd=HELM, deployments=(released,)), taking, {"x": b""})
    assert bootstrap.plan(state.Observed(crd=HELM), taking, {"x": b""}).install


@pytest.mark.parametrize(
    ("seen", "said", "takeover_helps"),
    [
        (HOLDS, "", True),
        (state.Observed(deployments=(deployment("source-controller"),)), "", True),
        (replace(HOLDS, crd=GOING, source=None, sync=None), "", True),
        (replace(HOLDS, sync=root("./clusters/production")), "another environment's: .*clusters/production; wanted .*staging", False),
        (replace(HOLDS, source=OTHER), "another repository or branch: .*flux_takeover: true", True),
        (state.Observed(crd=crd(manager="flux")), r"Flux v2\.9\.4 is installed here and follows no repository that we know", True),
        (state.Observed(crd=HELM), "installed by Helm", True),
        (state.Observed(operator=True), "Delete its FluxInstance", False),
    ],
)  # fmt: skip
def test_only_this_environments_flux_is_taken_away(seen: state.Observed, said: str, takeover_helps: bool) -> None:
    kind = state.classify(seen, FOLLOWS)
    told = " ".join(state.removal_refusals(seen, kind, FOLLOWS, takeover=False))
    assert re.search(said, told) if said else not told
    assert (not state.removal_refusals(seen, kind, FOLLOWS, takeover=True)) == takeover_helps


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(FluxError) as caught:
        bootstrap.plan(replace(HOLDS, sync=root("./clusters/b"), kubernetes="v1.30.0"), WANTED, {})
    assert str(caught.value).count("\n- ") == 2


def test_what_holds_needs_nothing() -> None:
    assert bootstrap.plan(HOLDS, WANTED, {}) == bootstrap.Plan("bootstrapped", ())
    assert bootstrap.judge(HOLDS, WANTED, COMMIT, "") == bootstrap.Verdict()


def test_a_bare_cluster_gets_everything() -> None:
    chosen = bootstrap.plan(FIVE_STATES[0][1], WANTED, {"clusters/staging/flux-system/gotk-sync.yaml": b""})
    assert [step.action for step in chosen.steps] == ["install", "create", "commit", "follow"]
    assert (chosen.install, chosen.make_key, chosen.commit, chosen.follow, chosen.release) == (True,) * 5
    assert not chosen.migrate


def test_a_lost_controller_is_brought_back_from_outside() -> None:
    seen = replace(HOLDS, deployments=HOLDS.deployments[1:])
    chosen = bootstrap.plan(seen, WANTED, {})
    assert [(step.action, step.before) for step in chosen.steps] == [("install", "incomplete")]
    assert not chosen.follow


def test_an_upgrade_is_a_commit_after_a_migration() -> None:
    chosen = bootstrap.plan(replace(HOLDS, crd=crd("v2.8.1")), WANTED, {"clusters/staging/flux-system/x": b""})
    assert next((step.action, step.before, step.after) for step in chosen.steps) == ("upgrade", "v2.8.1", "v2.9.4")
    assert chosen.migrate
    assert not chosen.install
    pushed_but_not_applied = bootstrap.plan(replace(HOLDS, crd=crd("v2.8.1")), WANTED, {})
    assert not pushed_but_not_applied.steps
    # without it Flux could not apply what is pushed, whoever pushed it
    assert pushed_but_not_applied.migrate


def test_an_interrupted_hand_over_is_completed() -> None:
    chosen = bootstrap.plan(replace(HOLDS, crd=crd(manager="stagecraft.gitops")), WANTED, {})
    assert [step.action for step in chosen.steps] == ["hand over"]
    assert chosen.release


@pytest.mark.parametrize(
    ("key", "action"),
    [
        (None, "create"),
        (deploy_key.KeySecret("", "", complete=False), "create"),
        (deploy_key.KeySecret("ssh-ed25519 AAAA", "git.example.com ssh-ed25519 OTHER", complete=True), "update"),
    ],
)
def test_the_key_is_made_once_and_its_hosts_are_pinned(key: deploy_key.KeySecret | None, action: str) -> None:
    chosen = bootstrap.plan(replace(HOLDS, key=key), WANTED, {})
    assert [step.action for step in chosen.steps] == [action]


@pytest.mark.parametrize(
    ("changes", "said", "terminal"),
    [
        ({"deployments": HOLDS.deployments[1:]}, "Deployment source-controller is not there", False),
        (
            {"deployments": (deployment("source-controller", 0), *HOLDS.deployments[1:])},
            "Deployment source-controller is not available: 0 of 1 available",
            False,
        ),
        (
            # the old pod still answers, and the new version's does not start
            {"deployments": (deployment("source-controller", 0, 1), *HOLDS.deployments[1:])},
            "Deployment source-controller is not available: 1 pods of the previous version are still there",
            False,
        ),
        (
            {"sync": {**root(), "spec": {"suspend": True}}},
            "Kustomization flux-system/flux-system is suspended: nothing new of the repository reaches the cluster. "
            "Let it go on by resume.yml (resume_objects: [Kustomization/flux-system])",
            True,
        ),
        ({"source": source("main@sha1:0")}, f"has main@sha1:0, wanted commit {COMMIT}", False),
        ({"sync": root(applied="main@sha1:0")}, "has applied main@sha1:0, wanted commit", False),
        (
            {"source": source(conditions=[ready("False", "GitOperationFailed", "ssh: unable to authenticate")])},
            f"unable to authenticate. Allow this key to read {URL}: ssh-ed25519 AAAA flux-staging",
            False,
        ),
        (
            {
                "source": source(
                    conditions=[ready("False", "GitOperationFailed", "couldn't find remote ref")],
                    lastHandledReconcileAt=LATER,
                )
            },
            "GitRepository flux-system/flux-system: GitOperationFailed: couldn't find remote ref. The branch or tag does not",
            True,
        ),
        (
            # known before the root has tried anything of the commit
            {
                "sync": root(
                    conditions=[ready("False", "ArtifactFailed", "kustomization path not found: x")],
                    lastAttemptedRevision="main@sha1:0",
                    lastHandledReconcileAt=LATER,
                ),
                "source": source(
                    artifact={"revision": f"main@sha1:{COMMIT}", "lastUpdateTime": "2025-12-31T00:00:00Z"}
                ),
            },
            "The path is not in the repository at this commit",
            True,
        ),
        (
            {
                "sync": root(
                    conditions=[ready("False", "BuildFailed", "no such file")],
                    lastAttemptedRevision=f"main@sha1:{COMMIT}",
                    lastHandledReconcileAt=LATER,
                )
            },
            "Kustomization flux-system/flux-system: BuildFailed: no such file",
            True,
        ),
        (
            {"sync": root(conditions=[ready("False", "BuildFailed", "old")], lastAttemptedRevision="main@sha1:0")},
            "BuildFailed: old",
            False,
        ),
        ({"sync": root(conditions=[ready(generation=0)])}, "has applied", False),
    ],
)
def test_what_does_not_hold_is_named(changes: dict[str, Any], said: str, terminal: bool) -> None:
    verdict = bootstrap.judge(replace(HOLDS, **changes), WANTED, COMMIT, ASKED)
    assert said in "; ".join(verdict.problems)
    assert verdict.terminal == terminal


@pytest.mark.parametrize("said", ["lookup git: no such host", "connect: connection refused", "read: i/o timeout"])
def test_trouble_that_time_may_heal_is_not_terminal(said: str) -> None:
    away = source(conditions=[ready("False", "GitOperationFailed", said)], lastHandledReconcileAt=LATER)
    verdict = bootstrap.judge(replace(HOLDS, source=away), WANTED, COMMIT, ASKED)
    assert (verdict.terminal, verdict.passing) == (False, frozenset({"GitRepository"}))
    assert "check that it is up" in "; ".join(verdict.problems)
    hook = "failed calling webhook: connection refused"
    late = root(
        applied="main@sha1:0",
        conditions=[ready("False", "ReconciliationFailed", hook)],
        lastAttemptedRevision=f"main@sha1:{COMMIT}",
        lastHandledReconcileAt=LATER,
    )
    verdict = bootstrap.judge(replace(HOLDS, sync=late), WANTED, COMMIT, ASKED)
    assert (verdict.terminal, verdict.passing) == (False, frozenset({"Kustomization"}))


def test_another_host_key_is_not_told_as_a_refused_key() -> None:
    said = "ssh: handshake failed: knownhosts: key mismatch"
    failing = source(conditions=[ready("False", "GitOperationFailed", said)], lastHandledReconcileAt=LATER)
    verdict = bootstrap.judge(replace(HOLDS, source=failing), WANTED, COMMIT, ASKED)
    assert verdict.terminal
    assert "Allow this key" not in "; ".join(verdict.problems)


@pytest.mark.parametrize(
    ("handled", "terminal"),
    [(ASKED, True), (LATER, True), ("2026-11-21T15:59:59Z", False), ("words", False), ("", False)],
)
def test_a_failure_counts_after_flux_was_asked_by_us_or_later_by_others(handled: str, terminal: bool) -> None:
    failing = source(conditions=[ready("False", "GitOperationFailed", "x")], lastHandledReconcileAt=handled)
    assert bootstrap.judge(replace(HOLDS, source=failing), WANTED, COMMIT, ASKED).terminal == terminal
    assert not bootstrap.judge(replace(HOLDS, source=failing), WANTED, COMMIT, "").terminal


def test_a_key_is_ed25519_and_its_private_half_is_never_shown() -> None:
    key = deploy_key.generate("flux-staging")
    assert key.public.startswith("ssh-ed25519 ")
    assert key.public.endswith(" flux-staging")
    assert "PRIVATE" not in repr(key)
    item = deploy_key.secret("flux-system", "flux-system", key, HOSTS)
    assert base64.b64decode(item["data"]["identity"]).decode() == key.private
    assert deploy_key.read(item) == deploy_key.KeySecret(key.public, HOSTS, complete=True)
    assert deploy_key.generate("x").public != key.public


def test_half_a_secret_is_no_key() -> None:
    assert deploy_key.read(None) is None
    assert deploy_key.read({"data": {"identity.pub": "c3No"}}) == deploy_key.KeySecret("ssh", "", complete=False)
    assert deploy_key.read({"data": {"identity.pub": "%%%"}}) == deploy_key.KeySecret("", "", complete=False)


def test_pinned_hosts_are_the_same_in_any_order() -> None:
    assert deploy_key.same_hosts("# x\na b c\nd e f\n", "d  e f\na b c")
    assert not deploy_key.same_hosts("a b c", "a b c\nd e f")
