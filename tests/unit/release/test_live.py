# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs, told from pods; and what of it will never be well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import kinds
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.readiness import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.survey import Survey
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.wait import Outcome
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import delivery, live, verify
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.cluster import mismatches

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def pod(
    image: str = "ghcr.io/x/app:1", image_id: str = f"ghcr.io/x/app@{A}", ready: bool = True, **state: Any
) -> dict[str, Any]:
    status = {"name": "app", "image": image, "imageID": image_id, "restartCount": 0, **state}
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": "2026-11-21T12:00:00Z"}
    return {
        "metadata": {"name": "p", "namespace": "apps"},
        "spec": {"containers": [{"name": "app", "image": image}]},
        "status": {"phase": "Running", "conditions": [condition], "containerStatuses": [status]},
    }


@pytest.mark.parametrize(
    ("reference", "image"),
    [
        ("busybox", live.Image("docker.io/library/busybox")),
        ("x/app:1", live.Image("docker.io/x/app", "1")),
        ("localhost:5000/app:1@sha256:d", live.Image("localhost:5000/app", "1", "sha256:d")),
        ("ghcr.io/x/app@sha256:d", live.Image("ghcr.io/x/app", "", "sha256:d")),
    ],
)
def test_references_are_taken_apart(reference: str, image: live.Image) -> None:
    assert live.parse_image(reference) == image


def test_containers_of_an_image() -> None:
    ended = pod()
    ended["status"]["phase"] = "Succeeded"
    leaving = pod()
    leaving["metadata"]["deletionTimestamp"] = "now"
    found = live.containers([pod(), pod("other"), ended, leaving, pod(image_id="sha256:local")], {"ghcr.io/x/app"}, ())
    assert [(one.wanted.tag, one.digest, one.ready, one.since) for one in found] == [
        ("1", A, True, "2026-11-21T12:00:00Z"),
        ("1", "", True, "2026-11-21T12:00:00Z"),
    ]
    assert live.containers([pod()], {"ghcr.io/x/app"}, ["elsewhere"]) == []
    assert live.running_digests(found, live.Image("ghcr.io/x/app", "1")) == [A]
    assert live.running_digests(found, live.Image("ghcr.io/x/app", "2")) == []


def test_what_runs_is_held_against_git() -> None:
    (one,) = live.containers([pod()], {"ghcr.io/x/app"}, ())
    assert mismatches([live.Image("ghcr.io/x/app", "1", A)], [one]) == []
    assert mismatches([live.Image("ghcr.io/x/app", "1", B)], [one]) == [f"pod apps/p runs {A[:19]}, Git says {B[:19]}"]
    assert mismatches([live.Image("ghcr.io/x/app", "2")], [one]) == ["pod apps/p runs the tag 1, Git says 2"]
    (late,) = live.containers([pod(ready=False)], {"ghcr.io/x/app"}, ())
    assert mismatches([live.Image("ghcr.io/x/app", "1")], [late]) == ["pod apps/p is not ready"]
    assert verify.digest_mismatches([live.Image("ghcr.io/x/app", "1", B)], [one, late]) == [
        f"pod apps/p runs {A[:19]}, promoted was {B[:19]}"
    ]


def test_pods_of_another_environment_in_the_same_cluster_do_not_count() -> None:
    other = pod(image_id=f"ghcr.io/x/app@{B}")
    other["metadata"]["namespace"] = "apps-staging"

    class Cluster:
        def running(
            self, names: set[str], namespaces: tuple[str, ...] = (), *, fresh: bool = False
        ) -> list[live.Container]:
            return live.containers([pod(), other], names, namespaces)

    wanted, cluster = [live.Image("ghcr.io/x/app", "1", A)], Cluster()
    assert verify._look(cluster, [], {"ghcr.io/x/app"}, wanted, ("apps",), {}) == ([], [])  # type: ignore[arg-type]
    open_, _ = verify._look(cluster, [], {"ghcr.io/x/app"}, wanted, (), {})  # type: ignore[arg-type]
    assert open_ == [f"pod apps-staging/p runs {B[:19]}, promoted was {A[:19]}"]


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (
            {
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"reason": "OOMKilled"}},
            },
            "CrashLoopBackOff: OOMKilled",
        ),
        (
            {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}}},
            "ImagePullBackOff: no such tag",
        ),
        ({"state": {"waiting": {"reason": "ContainerCreating"}}}, ""),
        ({"state": {"running": {}}, "restartCount": 3}, "has restarted 3 times"),
        ({"state": {"running": {}}, "restartCount": 2}, ""),
        ({"state": {"terminated": {}}, "lastState": {"terminated": {"reason": "OOMKilled"}}}, "OOMKilled"),
    ],
)
def test_hopeless_pods(state: dict[str, Any], said: str) -> None:
    found = verify.hopeless_pod(pod(ready=False, **state))
    assert (said in found) if said else found == ""


class Settled:
    """A cluster with a Deployment that is as it is wanted, and the pods of it that are seen one after the other."""

    def __init__(
        self, *pods: dict[str, Any], before: Sequence[dict[str, Any]] = (), trouble: Sequence[ApiError] = ()
    ) -> None:
        self.session, self._pods, self._before, self._trouble = self, list(pods), list(before), list(trouble)

    def object(self, named: Ref) -> dict[str, Any]:
        container = {"name": "app", "image": "ghcr.io/x/app:1"}
        return {
            "apiVersion": "apps/v1",
            "kind": named.kind,
            "metadata": {"name": named.name, "namespace": named.namespace, "generation": 1},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "app"}},
                "template": {"spec": {"containers": [container]}},
            },
            "status": {
                "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
                "conditions": [{"type": "Available", "status": "True"}],
            },
        }  # fmt: skip

    def pods(self, *, fresh: bool = False) -> list[dict[str, Any]]:
        assert fresh
        if self._trouble:
            raise self._trouble.pop()
        return self._before

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        assert (path, query) == ("/api/v1/namespaces/apps/pods", {"labelSelector": "app=app"})
        return self._pods


def ended(uid: str = "new", restarts: int = 1, reason: str = "OOMKilled", **pods: Any) -> dict[str, Any]:
    """A pod that runs and is ready again after its container has ended."""
    last = {"terminated": {"reason": reason}}
    found = pod(state={"running": {}}, lastState=last, restartCount=restarts, **pods)
    found["metadata"]["uid"] = uid
    return found


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (ended(), "pod p: container app: OOMKilled"),
        (ended(reason="Error"), ""),
        (ended(restarts=3, reason="Error"), "pod p: container app has restarted 3 times"),
        (ended("old", 7), ""),
        (ended("old", 8), "pod p: container app: OOMKilled"),
        (ended("old", 9, "Error"), ""),
        (ended("old", 10, "Error"), "pod p: container app has restarted 3 times"),
        (ended(image="ghcr.io/x/app:0"), ""),
    ],
)
def test_a_pod_that_is_ready_between_its_ends_is_not_well(seen: dict[str, Any], said: str) -> None:
    before = verify.restarts([ended("old", 7), pod("other")])
    named = Ref("apps", "Deployment", "apps", "app")
    open_, hopeless = verify._look(Settled(seen), [named], set(), (), (), before)  # type: ignore[arg-type]
    assert (open_, hopeless) == ([], [f"{named}: {said}"] if said else [])
    assert verify._look(Settled(seen), [named], set(), (), (), None) == ([], [])  # type: ignore[arg-type]
    leaving = {**seen, "metadata": {**seen["metadata"], "deletionTimestamp": "now"}}
    assert verify._look(Settled(leaving), [named], set(), (), (), before) == ([], [])  # type: ignore[arg-type]


def test_what_a_pod_did_before_the_commit_says_nothing_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    named = Ref("apps", "Deployment", "apps", "app")
    monkeypatch.setattr(verify, "_LOOK", 0.01)
    monkeypatch.setattr(delivery, "deliver", lambda *_: delivery.Delivery("main@sha1:abc", (named,)))

    def verified(cluster: Settled) -> verify.Verification:
        subject = delivery.Subject("abc", ())
        return verify.verify(cluster, subject, verify.Options(timeout=5, settle=0), None)  # type: ignore[arg-type]

    found = verified(Settled(ended()))
    assert (found.verified, found.failures) == (False, (f"{named}: pod p: container app: OOMKilled",))
    assert verified(Settled(ended("old", 7), before=[ended("old", 7)])).verified
    late = Settled(ended("old", 8), before=[ended("old", 7)], trouble=[ApiError("it starts", 503)])
    assert verified(late).verified is False
    assert verified(Settled(ended(), trouble=[ApiError("forbidden", 403)])).verified


def test_only_pods_of_the_new_version_count() -> None:
    wanted = [live.Image("ghcr.io/x/app", "1")]
    assert verify.asks_for(pod(), wanted)
    assert not verify.asks_for(pod("ghcr.io/x/app:0"), wanted)
    assert not verify.asks_for(pod("ghcr.io/x/app:1@sha256:d"), wanted)


def test_only_what_brings_the_files_is_waited_for() -> None:
    source = Ref(kinds.SOURCE, "GitRepository", "flux-system", "flux-system")

    def item(name: str, path: str, origin: str = "flux-system") -> dict[str, Any]:
        spec = {"path": path, "sourceRef": {"kind": "GitRepository", "name": origin}}
        return {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": name, "namespace": "flux-system"},
            "spec": spec,
        }

    items = [
        item("root", "./clusters/p"),
        item("apps", "clusters/p/apps/"),
        item("infra", "./clusters/p/infra"),
        item("x", "./", "other"),
    ]

    def names(*files: str) -> list[str]:
        return [one.name for one in delivery.deliverers(items, source, files)]

    assert names("clusters/p/apps/a/k.yaml") == ["apps"]
    assert names("clusters/p/apps/a.yaml", "clusters/p/infra/b.yaml") == ["apps", "infra"]
    assert names("clusters/p/x.yaml") == ["root"]
    assert names("base/x.yaml", "clusters/p/apps/a.yaml") == []


def outcome(kind: str, state: Any, reason: str = "x", trouble: tuple[str, ...] = ()) -> Outcome:
    named = Ref("", kind, "flux-system", "one")
    return Outcome(False, Survey("", {named: Verdict(state, reason, "said")}), {}, "main@sha1:abc", 1.0, "", trouble)


@pytest.mark.parametrize(
    ("found", "failed"),
    [
        (outcome("Kustomization", "failed"), True),
        (outcome("Kustomization", "waiting"), True),
        (outcome("HelmRelease", "failed"), True),
        (outcome("GitRepository", "failed"), False),
        (outcome("Kustomization", "passing"), False),
        (outcome("Kustomization", "failed", "Suspended"), False),
    ],
)
def test_failures_of_the_release_are_told_from_those_of_the_way_to_it(found: Outcome, *, failed: bool) -> None:
    told = delivery.by_flux(found, "abc1234")
    assert (bool(told.failures), bool(told.unknown)) == (failed, not failed)
