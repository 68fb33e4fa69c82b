# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every trap of Flux's conditions, one object at a time."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import revision
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.readiness import Asked, judge
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.flux.objects import NEW, OLD, condition, flux_object, git, kustomization, release

READY = condition("Ready", "True", "Succeeded")
TARGET = Asked(NEW)


def failing(reason: str, message: str = "why", **more: Any) -> dict[str, Any]:
    return condition("Ready", "False", reason, message, **more)


@pytest.mark.parametrize(
    "written",
    [f"main@sha1:{NEW}", f"v1.2@sha1:{NEW}", f"refs/heads/main@sha1:{NEW}", f"sha1:{NEW}", f"main/{NEW}", NEW],
)
def test_all_forms_of_a_revision_mean_the_commit(written: str) -> None:
    assert revision.same(written, NEW)
    assert revision.same(written, NEW[:7])
    assert not revision.same(written, OLD)
    assert revision.wanted(written) == NEW


def test_artefacts_have_digests_of_their_own() -> None:
    assert revision.digest("latest@sha256:" + "c" * 64) == "c" * 64
    assert revision.digest("") == revision.digest("main") == revision.digest("release/2026") == ""
    for wrong in ("main", "abc", "HEAD~1", "g" * 40):
        with pytest.raises(FluxError, match="is no commit"):
            revision.wanted(wrong)


@given(
    st.text("0123456789abcdef", min_size=7, max_size=40),
    st.sampled_from(["main@sha1:", "refs/tags/v1@sha1:", "x/", ""]),
)
def test_a_commit_is_found_in_its_revision(commit: str, prefix: str) -> None:
    assert revision.digest(prefix + commit) == commit
    assert revision.same(prefix + commit, commit[:7])
    assert revision.short(prefix + commit).startswith(prefix)


REFUSED = "dial tcp 10.96.7.1:443: connect: connection refused"


@pytest.mark.parametrize(
    ("item", "asked", "wanted"),
    [
        # sources
        (git(), TARGET, "ready"),
        (git(spec={"suspend": True}), TARGET, "ready"),
        (git(OLD), TARGET, "waiting: OtherRevision"),
        (git(OLD), Asked(NEW, "token"), "waiting: NotReconciled: not asked yet"),
        (
            git(OLD, condition("Ready", "True", "Succeeded"), condition("Reconciling", "True", "Progressing")),
            Asked(NEW, "token"),
            f"waiting: Fetching: it is being fetched, since 2026-01-01T00:00:05Z; it is at main@sha1:{OLD[:12]} still. "
            "Where that lasts, its server does not answer: Flux gives up after 1m0s (spec.timeout)",
        ),
        # what failed before our request is told as long as nothing newer is known, with what to do
        (
            git(
                OLD,
                failing("GitOperationFailed", "dial tcp: i/o timeout"),
                condition("FetchFailed", "True", "GitOperationFailed", "dial tcp: i/o timeout"),
                condition("Reconciling", "True", "ProgressingWithRetry"),
            ),
            Asked(NEW, "token"),
            "waiting: GitOperationFailed: dial tcp: i/o timeout. The Git host does not answer",
        ),
        (
            git(OLD, READY, lastHandledReconcileAt="token"),
            Asked(NEW, "token"),
            "waiting: OtherRevision: the newest that it found",
        ),
        (
            git(OLD, spec={"suspend": True}),
            TARGET,
            "failed: Suspended: it is suspended at main@sha1:aaaaaaaaaaaa. Resume",
        ),
        (git(""), Asked(), "waiting"),
        (git(), Asked("", "token"), "waiting"),
        (
            git(
                OLD,
                condition("FetchFailed", "True", "AuthenticationFailed", "unable to authenticate"),
                failing("AuthenticationFailed"),
            ),
            TARGET,
            "failed: AuthenticationFailed: unable to authenticate. The deploy key",
        ),
        (
            git(
                OLD,
                condition("FetchFailed", "True", "GitOperationFailed", "dial tcp: connection refused"),
                failing("x"),
            ),
            TARGET,
            "passing: GitOperationFailed: dial tcp: connection refused, since 2026-01-01T00:00:05Z. The Git host does not answer",
        ),
        (
            git(OLD, condition("FetchFailed", "True", "GitOperationFailed", "x"), failing("x")),
            Asked(NEW, "later"),
            "waiting",
        ),
        (
            git(OLD, condition("Stalled", "True", "URLInvalid", "bad"), failing("URLInvalid")),
            TARGET,
            "failed: URLInvalid: bad",
        ),
        # the condition of the commit before
        (kustomization(), TARGET, "ready"),
        (kustomization(commit=OLD), TARGET, "waiting: OtherRevision: it is ready at main@sha1:aaaaaaaaaaaa still"),
        (kustomization(commit=OLD), Asked(), "ready"),
        (kustomization(), Asked("", "token"), "waiting"),
        # a failure is one of the wanted commit, of the newest generation, and after our request
        (kustomization("a", OLD, failing("BuildFailed"), attempted=NEW), TARGET, "failed: BuildFailed: why"),
        (kustomization("a", OLD, failing("BuildFailed"), attempted=OLD), TARGET, "waiting: BuildFailed"),
        (
            kustomization("a", OLD, failing("BuildFailed", observedGeneration=0), attempted=NEW),
            TARGET,
            "waiting: NewGeneration",
        ),
        (kustomization("a", OLD, failing("BuildFailed"), attempted=NEW), Asked(NEW, "token"), "waiting: BuildFailed"),
        (
            kustomization("a", OLD, failing("BuildFailed"), attempted=OLD, lastHandledReconcileAt="token"),
            Asked(NEW, "token"),
            "failed: BuildFailed",
        ),
        # a path that is not there is never attempted
        (
            kustomization("a", OLD, failing("ArtifactFailed", "kustomization path not found")),
            TARGET,
            "waiting: ArtifactFailed",
        ),
        (
            kustomization("a", OLD, failing("ArtifactFailed", "kustomization path not found")),
            Asked(NEW, "", "2026-01-01T00:00:03Z"),
            "failed: ArtifactFailed: kustomization path not found. The path is not in the repository",
        ),
        (
            kustomization("a", OLD, failing("ArtifactFailed", "Source artifact not found, retrying in 5s")),
            Asked(NEW, "", "2026-01-01T00:00:03Z"),
            "waiting: ArtifactFailed",
        ),
        (
            kustomization(
                "a", OLD, failing("ArtifactFailed", "Source is not ready, artifact not found, retrying in 5s")
            ),
            Asked(NEW, "", "2026-01-01T00:00:03Z"),
            "waiting: ArtifactFailed",
        ),
        (
            kustomization("a", OLD, failing("ArtifactFailed", "kustomization path not found")),
            Asked(NEW, "", "2026-01-01T00:00:06Z"),
            "waiting: ArtifactFailed",
        ),
        # what time may heal
        (
            kustomization("a", OLD, failing("ReconciliationFailed", 'no matches for kind "X"'), attempted=NEW),
            TARGET,
            'passing: ReconciliationFailed: no matches for kind "X". The CustomResourceDefinition',
        ),
        (
            kustomization("a", OLD, failing("ReconciliationFailed", "conflict with x"), attempted=NEW),
            TARGET,
            "failed: ReconciliationFailed: conflict with x. Another field manager",
        ),
        (
            kustomization(
                "a",
                OLD,
                failing("HealthCheckFailed", "timeout waiting for: [..] context deadline exceeded"),
                attempted=NEW,
            ),
            TARGET,
            "failed: HealthCheckFailed",
        ),
        (kustomization("a", OLD, failing("DependencyNotReady"), attempted=NEW), TARGET, "waiting: DependencyNotReady"),
        (
            kustomization("a", OLD, failing("HealthCheckCanceled"), attempted=NEW),
            TARGET,
            "waiting: HealthCheckCanceled",
        ),
        (
            kustomization(
                "a",
                OLD,
                condition("Ready", "Unknown", "Progressing", "x"),
                condition("Reconciling", "True", "P", "checks"),
            ),
            TARGET,
            "waiting: Progressing: checks",
        ),
        (kustomization("a", "", condition("Healthy", "True")), TARGET, "waiting: NotReconciled"),
        (
            kustomization("a", OLD, failing("X"), condition("Stalled", "True", "AccessDenied", "no")),
            TARGET,
            "failed: AccessDenied: no",
        ),
        # handled is not applied
        (
            kustomization(commit=OLD, spec={"suspend": True}, lastHandledReconcileAt="token"),
            Asked(NEW, "token"),
            "failed: Suspended: it is suspended at main@sha1:aaaaaaaaaaaa. Resume it",
        ),
        (kustomization(spec={"suspend": True}), TARGET, "ready"),
        # Helm
        (release(READY), Asked(NEW), "ready"),
        (release(READY, newest="failed"), Asked(), "waiting: NotDeployed: its newest release is failed"),
        (release(failing("UpgradeFailed")), Asked(), "waiting: UpgradeFailed"),
        (release(condition("Ready", "True", observedGeneration=0)), Asked(), "waiting: NewGeneration"),
        (
            release(
                failing("RollbackSucceeded"),
                condition("Remediated", "True", "RollbackSucceeded", "rolled back to 1.2.2"),
                condition("Released", "False", "UpgradeFailed", "pods are not ready"),
            ),
            Asked(),
            "waiting: RollbackSucceeded: rolled back to 1.2.2; pods are not ready",
        ),
        (
            release(
                failing("RollbackSucceeded"),
                condition("Remediated", "True", "RollbackSucceeded", "rolled back to 1.2.2"),
                condition("Released", "False", "UpgradeFailed", "pods are not ready"),
                condition("Stalled", "True", "RetriesExceeded", "gave up"),
            ),
            Asked(),
            "failed: RollbackSucceeded: rolled back to 1.2.2: what runs is not what was wanted; pods are not ready. Fix it",
        ),
        (release(READY, suspend=True), Asked(), "ready"),
        # the same words mean another server
        (
            kustomization(
                "a", OLD, failing("ReconciliationFailed", f'failed calling webhook "x": {REFUSED}'), attempted=NEW
            ),
            TARGET,
            f'passing: ReconciliationFailed: failed calling webhook "x": {REFUSED}. The named admission webhook does not answer',
        ),
        (
            kustomization("a", OLD, failing("ReconciliationFailed", REFUSED), attempted=NEW),
            TARGET,
            f"passing: ReconciliationFailed: {REFUSED}END",
        ),
        (
            kustomization(
                "a", OLD, failing("ReconciliationFailed", "pods is forbidden: permission denied"), attempted=NEW
            ),
            TARGET,
            "failed: ReconciliationFailed: pods is forbidden: permission deniedEND",
        ),
        (
            release(failing("ArtifactFailed", f"failed to download: {REFUSED}")),
            Asked(),
            f"passing: ArtifactFailed: failed to download: {REFUSED}. source-controller does not answer",
        ),
        (
            flux_object("HelmRepository", "r", {}, {"conditions": [failing("FetchFailed", REFUSED)]}),
            Asked(),
            f"passing: FetchFailed: {REFUSED}, since 2026-01-01T00:00:05Z. The server does not answer",
        ),
        # the others
        (flux_object("Alert", "a", {}, {}), Asked(), "ready"),
        (
            flux_object("Receiver", "r", {}, {"conditions": [failing("TokenNotFound")]}),
            Asked(),
            "failed: TokenNotFound",
        ),
        (
            git(NEW) | {"metadata": {"name": "x", "deletionTimestamp": "t", "finalizers": ["f"]}},
            Asked(),
            "failed: Terminating",
        ),
    ],
)
def test_verdicts(item: dict[str, Any], asked: Asked, wanted: str) -> None:
    found = judge(item, asked)
    assert f"{found.state}: {found}END".startswith(wanted)
