# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Applications bring a file, and when one is where it should be."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.argocd import applications
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.argocd.applications import Verdict, judge

URL = "ssh://git@forge.example/team/fleet.git"
OLD, NEW, NEWER = "a" * 40, "b" * 40, "c" * 40


def source(path: str, url: str = URL, target: str = "main") -> dict[str, Any]:
    return {"repoURL": url, "path": path, "targetRevision": target}


def application(name: str, *sources: dict[str, Any], **status: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"source": sources[0]} if len(sources) == 1 else {"sources": list(sources)}
    metadata = {"name": name, "namespace": "argocd"}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }


def synced(**changed: Any) -> dict[str, Any]:
    """Return an Application that is synced at the new commit and healthy, but for what is changed."""
    status = {
        "sync": {"status": "Synced", "revision": NEW},
        "health": {"status": "Healthy"},
        "reconciledAt": "2026-11-20T10:00:05Z",
        "operationState": {
            "phase": "Succeeded",
            "finishedAt": "2026-11-20T10:00:04Z",
            "syncResult": {"revision": NEW},
        },
    }
    return application("app", source("clusters/production"), **{**status, **changed})


@pytest.mark.parametrize(
    "url",
    [
        "git@forge.example:team/fleet",
        "https://me:secret@FORGE.example/team/fleet.git/",
        "ssh://git@forge.example:2222/team/fleet.git",
    ],
)
def test_a_repository_is_recognised_in_all_protocols(url: str) -> None:
    assert applications.repository(url) == applications.repository(URL) == "forge.example/team/fleet"
    assert applications.repository("/srv/git/fleet.git") == "/srv/git/fleet"


def test_the_innermost_application_brings_a_file() -> None:
    root = application("root", source("."))
    production = application("production", source("clusters/production", target="HEAD"))
    podinfo = application("podinfo", source("charts", "https://charts.example"), source("clusters/production/podinfo/"))
    elsewhere = [
        application("branch", source("clusters/production/podinfo", target="v1")),
        application("other", source("clusters/production/podinfo", "ssh://git@forge.example/team/other.git")),
    ]

    def names(items: list[dict[str, Any]], *files: str) -> dict[str, int]:
        found = applications.delivering(items, URL, "main", files)
        assert not found.guessed
        return {named.name: number for named, number in found.numbers.items()}

    everything = [root, production, podinfo, *elsewhere]
    assert names(everything, "clusters/production/podinfo/kustomization.yaml") == {"podinfo": 1}
    assert names(everything, "clusters/production/web/x.yaml") == {"production": 0}
    assert names(everything, "README.md") == {"root": 0}
    for files in (("base/podinfo.yaml",), ("clusters/production/x.yaml", "base/podinfo.yaml"), ()):
        guess = applications.delivering([production, podinfo, *elsewhere], URL, "main", files)
        assert guess.guessed
        assert {named.name: number for named, number in guess.numbers.items()} == {"production": 0, "podinfo": 1}
    assert not applications.delivering(elsewhere, URL, "main", ["clusters/production/podinfo/x.yaml"]).numbers


@pytest.mark.parametrize("target", ["", "HEAD", "main", "refs/heads/main", "stable", "refs/heads/stable"])
def test_head_is_the_repositorys_own_branch(target: str) -> None:
    item = application("app", source("clusters/production", target=target))
    stable = target.endswith("stable")
    assert bool(applications.source_paths(item, URL, "main", "main")) is not stable
    assert bool(applications.source_paths(item, URL, "main")) is not stable
    assert bool(applications.source_paths(item, URL, "stable", "main")) is stable


def test_a_source_for_values_brings_the_files_that_are_taken_from_it() -> None:
    chart = {**source("", "https://charts.example"), "chart": "web"}
    chart["helm"] = {"valueFiles": ["values.yaml", "$values/clusters/production/web/values.yaml", "$other/x.yaml"]}
    web = application("web", chart, {**source(""), "ref": "values"})
    root = application("root", source("clusters/production"))

    def names(items: list[dict[str, Any]], file: str) -> dict[str, int]:
        found = applications.delivering(items, URL, "main", [file])
        return {} if found.guessed else {named.name: number for named, number in found.numbers.items()}

    assert names([web, root], "clusters/production/web/values.yaml") == {"web": 1}
    assert names([web, root], "clusters/production/web/x.yaml") == {"root": 0}
    assert names([web, root], "clusters/production/x.yaml") == {"root": 0}
    assert names([web], "clusters/staging/x.yaml") == {}
    both = application("both", chart, {**source("charts"), "ref": "values"})
    assert names([both], "charts/web/x.yaml") == names([both], "clusters/production/web/values.yaml") == {"both": 1}


OPERATION = {"phase": "Running", "message": "waiting for healthy state of apps/Deployment/app"}
FAILED = {"phase": "Failed", "message": "one or more objects failed to apply", "syncResult": {"revision": NEW}}


@pytest.mark.parametrize(
    ("item", "verdict"),
    [
        (synced(), Verdict("ready")),
        (synced(sync={"status": "Synced", "revisions": [NEW]}), Verdict("ready")),
        (synced(sync={"status": "Synced", "revision": NEWER}), Verdict("ready")),
        (synced(operationState={}), Verdict("ready")),
        (synced(sync={"status": "Synced", "revision": OLD}), Verdict("passing", f"it is at {OLD[:12]}")),
        (synced(sync={}), Verdict("passing", "it is at no commit")),
        (synced(sync={"status": "OutOfSync", "revision": NEW}), Verdict("out of sync", "it is not synced")),
        (synced(operationState=OPERATION), Verdict("waiting", OPERATION["message"])),
        (
            synced(operationState={"phase": "Running", "message": "Sync operation blocked by sync window"}),
            Verdict("passing", "Sync operation blocked by sync window"),
        ),
        # waiting for a retry
        (
            synced(operationState={"phase": "Running", "finishedAt": "x", "message": "Retrying attempt #1"}),
            Verdict("waiting", "Retrying attempt #1"),
        ),
        (
            synced(sync={"status": "OutOfSync", "revision": NEW}, operationState=FAILED),
            Verdict("failed", "its sync failed: one or more objects failed to apply"),
        ),
        # the failed sync was of the commit before
        (
            synced(sync={"status": "OutOfSync", "revision": NEWER}, operationState=FAILED),
            Verdict("out of sync", "it is not synced"),
        ),
        (synced(reconciledAt="2026-11-20T10:00:03Z"), Verdict("waiting", "it was not compared since its sync")),
        (
            synced(health={"status": "Degraded", "message": "deadline exceeded"}),
            Verdict("waiting", "it is Degraded: deadline exceeded"),
        ),
        (synced(health={"status": "Suspended"}), Verdict("passing", "it is Suspended")),
        (
            synced(conditions=[{"type": "ComparisonError", "message": "kustomize build failed:\n no such file"}]),
            Verdict("failed", "kustomize build failed: no such file"),
        ),
        (
            synced(conditions=[{"type": "ComparisonError", "message": "dial tcp 10.0.0.1:22: connection refused"}]),
            Verdict("passing", "dial tcp 10.0.0.1:22: connection refused"),
        ),
        (
            synced(conditions=[{"type": "InvalidSpecError", "message": "no such project"}]),
            Verdict("failed", "no such project"),
        ),
        (
            synced(conditions=[{"type": "SyncError", "message": f"Failed last sync attempt to {NEW}: x"}]),
            Verdict("failed", f"Failed last sync attempt to {NEW}: x"),
        ),
        (synced(conditions=[{"type": "SyncError", "message": f"Failed last sync attempt to {OLD}: x"}]), Verdict("ready")),
    ],
)  # fmt: skip
def test_verdicts(item: dict[str, Any], verdict: Verdict) -> None:
    assert judge(item, 0, NEW, lambda found, commit: (found, commit) == (NEWER, NEW)) == verdict


def test_nothing_counts_before_it_has_looked_at_git() -> None:
    item = synced(conditions=[{"type": "InvalidSpecError", "message": "no such project"}])
    item["metadata"]["annotations"] = {applications.REFRESH: "normal"}
    assert judge(item, 0, NEW, lambda *_: False) == Verdict("passing", "it has not looked at Git yet")


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("fatal: unable to access 'https://forge.example/': Could not resolve host: forge.example", "passing"),
        ("Failed to connect to forge.example port 443 after 3 ms: Couldn't connect to server", "passing"),
        ("ssh: connect to host forge.example port 22: Connection timed out", "passing"),
        ("ssh: connect to host forge.example port 22: Connection refused", "passing"),
        ("rpc error: code = Unknown desc = authentication required: Repository not found.", "passing"),
        ("git@forge.example: Permission denied (publickey).", "passing"),
        ("fatal: the remote end hung up unexpectedly", "passing"),
        ("fatal: Could not read from remote repository.", "passing"),
        ("clusters/production: app path does not exist", "failed"),
        ("error unmarshalling manifest: yaml: line 3", "failed"),
    ],
)
def test_a_way_to_git_that_is_shut_says_nothing_about_the_commit(said: str, state: str) -> None:
    item = synced(conditions=[{"type": "ComparisonError", "message": f"Failed to load target state: {said}"}])
    assert judge(item, 0, NEW, lambda *_: False).state == state


def test_any_commit_will_do_where_none_is_named() -> None:
    assert judge(synced(sync={"status": "Synced", "revision": OLD}), 0, "", lambda *_: False) == Verdict("ready")


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ({}, False),
        ({"automated": {}}, True),
        ({"automated": {"prune": True}}, True),
        ({"automated": {"enabled": False}}, False),
    ],
)
def test_who_syncs_by_itself(policy: dict[str, Any], *, wanted: bool) -> None:
    item = synced()
    item["spec"]["syncPolicy"] = policy
    assert applications.automated(item) is wanted


class TestSync:
    def test_it_begins_as_the_server_begins_one(self) -> None:
        """The last operation's state would be taken for the new one's, and merged leftovers for its wishes."""
        item = synced()
        item["spec"]["syncPolicy"] = {"syncOptions": ["ServerSideApply=true"], "retry": {"limit": 2}}
        before = copy.deepcopy(item)
        begun = applications.with_sync(item, 0, NEW)
        assert item == before
        assert begun is not None
        assert "operationState" not in begun["status"]
        assert begun["status"]["sync"] == item["status"]["sync"]
        assert begun["operation"] == {
            "initiatedBy": {"username": "stagecraft.gitops"},
            "sync": {"revision": NEW, "syncOptions": ["ServerSideApply=true"]},
            "retry": {"limit": 2},
        }

    def test_of_several_sources_only_ours_is_moved(self) -> None:
        begun = applications.with_sync(synced(sync={"status": "OutOfSync", "revisions": [OLD, OLD]}), 1, NEW)
        assert begun is not None
        assert begun["operation"]["sync"] == {"revisions": [OLD, NEW]}

    def test_one_at_a_time(self) -> None:
        assert applications.with_sync({**synced(), "operation": {"sync": {}}}, 0, NEW) is None


def test_the_objects_of_an_application() -> None:
    resources = [{"group": "apps", "version": "v1", "kind": "Deployment", "namespace": "app", "name": "web"}]
    (found,) = applications.workloads(synced(resources=resources))
    assert (found.group, found.kind, found.namespace, found.name) == ("apps", "Deployment", "app", "web")
