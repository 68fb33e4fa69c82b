# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows a source, judged together; the graph; the diagnosis; plans of requests."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import (
    diagnosis,
    graph,
    kinds,
    overview,
    reconcile,
    survey,
    wait,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.flux.objects import NEW, OLD, SOURCE, by_ref, condition, flux_object, git, kustomization, named, release

GOAL = survey.Goal(SOURCE, NEW)
NOBODY = survey.Requests()
WAITS = condition("Ready", "False", "DependencyNotReady", "dependency not ready")
LOST = condition("Ready", "False", "ArtifactFailed", "source not found")
FAILS = condition("Ready", "False", "BuildFailed", "why")


def decide(goal: survey.Goal, objects: graph.Objects, **lasting: float) -> tuple[str, list[str]]:
    found = survey.survey(goal, objects, NOBODY)
    return survey.decide(goal, found, {named(n): s for n, s in lasting.items()}), survey.sentences(found)


def test_all_ready_is_done() -> None:
    assert decide(GOAL, by_ref(git(), kustomization("a"), kustomization("b", needs=("a",)))) == ("done", [])


def test_nothing_is_said_of_members_before_the_source_has_the_commit() -> None:
    decision, said = decide(GOAL, by_ref(git(OLD), kustomization("a", OLD, FAILS, attempted=NEW)))
    assert decision == "wait"
    assert [s.split(":")[0] for s in said] == ["GitRepository flux-system/repo"]


def test_a_missing_source_is_told_with_those_that_are_there() -> None:
    decision, said = decide(survey.Goal(named("other", "GitRepository"), NEW), by_ref(git()))
    assert decision == "failed"
    assert "is not in the cluster, which has flux-system/repo" in said[0]


def test_a_cycle_fails_when_nothing_else_can_go_on() -> None:
    a, b = kustomization("a", OLD, needs=("b",)), kustomization("b", OLD, WAITS, needs=("a",))
    decision, said = decide(GOAL, by_ref(git(), a, b))
    assert decision == "failed"
    assert all("dependsOn goes in a circle" in s for s in said)
    # a parent that is about to bring the repair
    assert decide(GOAL, by_ref(git(), a, b, kustomization("root", OLD)))[0] == "wait"


def test_who_waits_for_a_lost_one_is_lost() -> None:
    objects = by_ref(
        git(),
        kustomization("a", OLD, WAITS, needs=("ghost",)),
        kustomization("b", OLD, WAITS, needs=("a",)),
        kustomization("c", OLD, WAITS, needs=("s",)),
        kustomization("s", OLD, spec={"suspend": True}),
    )
    decision, said = decide(GOAL, objects)
    assert decision == "failed"
    text = "\n".join(said)
    assert (
        "flux-system/a: DependencyNotReady: it waits for Kustomization flux-system/ghost, which is not in the cluster"
        in text
    )
    assert (
        "flux-system/b: DependencyNotReady: it waits for Kustomization flux-system/a, which waits for another" in text
    )
    assert "flux-system/c: DependencyNotReady: it waits for Kustomization flux-system/s, which is suspended" in text


def test_a_child_counts_when_its_parent_is_done() -> None:
    child = kustomization("child", OLD, FAILS, attempted=NEW)
    parent = kustomization("root", OLD, applied=(named("child"),))
    assert decide(GOAL, by_ref(git(), parent, child))[0] == "wait"
    assert decide(GOAL, by_ref(git(), kustomization("root", applied=(named("child"),)), child))[0] == "failed"


def test_a_failing_child_is_asked_again_once_its_parent_is_done() -> None:
    objects = by_ref(
        git(), kustomization("root", applied=(named("child"),)), kustomization("child", OLD, FAILS, attempted=NEW)
    )
    # what it was asked before its parent was ready proves nothing
    for before in (survey.Requests(asking=True), survey.Requests({named("child"): "early"}, asking=True)):
        objects[named("child")]["status"]["lastHandledReconcileAt"] = "early"
        found = survey.survey(GOAL, objects, before)
        assert survey.decide(GOAL, found, {}) == "wait"
        assert survey.requests(GOAL, found, objects, before, 0.0) == [named("child")]
    asked = survey.Requests({named("child"): "t"}, asking=True, settled=frozenset({named("child")}))
    assert survey.decide(GOAL, survey.survey(GOAL, objects, asked), {}) == "wait"
    objects[named("child")]["status"]["lastHandledReconcileAt"] = "t"
    assert survey.decide(GOAL, survey.survey(GOAL, objects, asked), {}) == "failed"


def test_what_was_applied_must_be_ready_too() -> None:
    unready = release(condition("Ready", "Unknown", "Progressing", "upgrading"))
    root = kustomization("root", applied=(named("web", "HelmRelease"), Ref("apps", "Deployment", "n", "d")))
    assert decide(GOAL, by_ref(git(), root, unready))[0] == "wait"
    assert decide(survey.Goal(SOURCE, NEW, recurse=False), by_ref(git(), root, unready))[0] == "done"


def test_a_failure_that_may_pass_has_its_grace() -> None:
    gone = condition("Ready", "False", "ReconciliationFailed", "no matches for kind X")
    objects = by_ref(git(), kustomization("a", OLD, gone, attempted=NEW))
    assert decide(GOAL, objects, a=29.0)[0] == "wait"
    assert decide(GOAL, objects, a=31.0)[0] == "failed"
    # as long as something goes on that may heal it
    assert decide(GOAL, {**objects, **by_ref(kustomization("b", OLD))}, a=31.0)[0] == "wait"


CHART: dict[str, Any] = {"chart": {"spec": {"chart": "web", "sourceRef": {"kind": "HelmRepository", "name": "charts"}}}}
NO_CHART = condition("Ready", "False", "SourceNotReady", "HelmChart 'flux-system/web' is not ready")


@pytest.mark.parametrize(
    ("broken", "kind", "name"),
    [(condition("Ready", "False", "FetchFailed", "404 Not Found"), "HelmRepository", "charts"),
     (condition("Ready", "False", "ChartPullError", "404 Not Found"), "HelmChart", "web")],
)  # fmt: skip
def test_a_release_without_its_chart_tells_what_is_wrong_with_that(
    broken: dict[str, Any], kind: str, name: str
) -> None:
    waiting = release(NO_CHART, **CHART)
    waiting["status"]["helmChart"] = "flux-system/web"
    app = kustomization("a", applied=(named("web", "HelmRelease"),))
    chart = flux_object(kind, name, {}, {"conditions": [broken]})
    assert decide(GOAL, by_ref(git(), app, waiting))[0] == "wait"
    objects = by_ref(git(), app, waiting, chart)
    found = survey.survey(GOAL, objects, NOBODY)
    verdict = found.verdicts[named("web", "HelmRelease")]
    assert str(verdict) == f"SourceNotReady: {kind} flux-system/{name}: {broken['reason']}: 404 Not Found"
    assert survey.decide(GOAL, found, {}) == "wait"
    assert survey.decide(GOAL, found, {named("web", "HelmRelease"): 31.0}) == "failed"
    healed = by_ref(git(), app, waiting, flux_object(kind, name, {}, {"conditions": [condition("Ready", "True")]}))
    assert decide(GOAL, healed, web=31.0)[0] == "wait"


def test_named_objects_are_waited_for_with_what_they_need() -> None:
    objects = by_ref(git(), kustomization("a"), kustomization("b", needs=("a",)), kustomization("c", OLD))
    assert survey.members(survey.Goal(SOURCE, NEW, (named("b"),)), objects) == {named("a"), named("b")}
    assert decide(survey.Goal(SOURCE, NEW, (named("b"),)), objects)[0] == "done"


def asked(objects: graph.Objects, tokens: survey.Requests = NOBODY, arrived: float = 0.0) -> list[Ref]:
    return survey.requests(GOAL, survey.survey(GOAL, objects, tokens), objects, tokens, arrived)


def test_who_lost_its_way_is_asked_again_but_not_in_the_middle_of_health_checks() -> None:
    tokens = survey.Requests({named("a"): "t"}, asking=True)

    def asked_after(seconds: float, said: str) -> list[Ref]:
        objects = by_ref(git(), kustomization("a", OLD, condition("Ready", "Unknown", "Progressing", said)))
        found = survey.survey(GOAL, objects, tokens)
        return survey.requests(GOAL, found, objects, tokens, seconds, {named("a"): seconds})

    assert asked_after(9.0, "Building manifests") == []
    assert asked_after(11.0, "Building manifests") == [named("a")]
    assert asked_after(60.0, "Running health checks for revision x with a timeout of 3m") == []


def test_who_would_come_to_it_by_a_timer_is_asked() -> None:
    failed_before = kustomization("a", OLD, FAILS, attempted=OLD)
    assert asked(by_ref(git(), failed_before)) == [named("a")]
    assert asked(by_ref(git(), failed_before), survey.Requests({named("a"): "t"})) == []
    untold = kustomization("a", OLD)
    assert asked(by_ref(git(), untold)) == []
    assert asked(by_ref(git(), untold), arrived=3.0) == [named("a")]
    busy = kustomization("a", OLD, condition("Ready", "Unknown", "Progressing"))
    assert asked(by_ref(git(), busy), arrived=3.0) == []
    dependent = kustomization("b", OLD, WAITS, needs=("a",))
    assert asked(by_ref(git(), kustomization("a"), dependent)) == [named("b")]
    assert asked(by_ref(git(), untold, dependent)) == []


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=15))
def test_cycles_are_found_and_are_ones(edges: list[tuple[int, int]]) -> None:
    needs: dict[int, tuple[str, ...]] = {n: tuple(str(b) for a, b in edges if a == n) for n in range(7)}
    objects = by_ref(*(kustomization(str(n), needs=needs[n]) for n in range(7)))
    found = graph.cycles(objects)
    for around in found:
        assert around[0] == around[-1]
        for one, other in pairwise(around):
            assert other in graph.dependencies(objects[one])
    reach = {n: {int(x) for x in needs[n]} for n in range(7)}
    for _ in range(7):
        reach = {n: r | {y for x in r for y in reach[x]} for n, r in reach.items()}
    assert bool(found) == any(n in r for n, r in reach.items())


def test_the_diagnosis_tells_roots_and_not_what_follows() -> None:
    objects = by_ref(
        git(spec={"interval": "1h"}),
        kustomization("a", OLD, FAILS, attempted=NEW, spec={"retryInterval": "30m"}),
        kustomization("b", OLD, WAITS, needs=("a",)),
        kustomization("s", OLD, spec={"suspend": True}),
        kustomization("fine"),
    )
    found = diagnosis.diagnose(objects)
    said = {f.named.name: f.sentence for f in found}
    assert [(f.named.name, f.severity) for f in found] == [("a", "blocked"), ("s", "blocked"), ("repo", "slow")]
    assert "It is tried again only every 30m" in said["a"]
    assert "Resume it" in said["s"]
    assert "a push is noticed only every 1h" in said["repo"]


EXPRESSION = "dep.metadata.labels['release'] == 'done'"
BY_EXPRESSION = {"dependsOn": [{"name": "a", "readyExpr": EXPRESSION}, {"name": "c"}]}
UNTRUE = "dependency 'flux-system/a' is not ready according to readyExpr eval"


def waits_by_expression(said: str = UNTRUE) -> dict[str, Any]:
    return kustomization("b", OLD, condition("Ready", "False", "DependencyNotReady", said), spec=BY_EXPRESSION)


@pytest.mark.parametrize("said", [UNTRUE, f"failed to evaluate the CEL expression '{EXPRESSION}': no such key: labels"])
def test_an_expression_that_is_not_true_is_named(said: str) -> None:
    """The dependency is ready by itself, so nothing else would tell why the other one waits."""
    objects = by_ref(git(), kustomization("a"), kustomization("c"), waits_by_expression(said))
    decision, sentences = decide(GOAL, objects)
    assert decision == "wait"
    (finding,) = diagnosis.diagnose(objects)
    assert finding.severity == "waiting"
    for sentence in (*sentences, finding.sentence):
        assert sentence.startswith("Kustomization flux-system/b: DependencyNotReady: ")
        assert sentence.count(EXPRESSION) == 1
        assert "readyExpr) is true" in sentence
    (row,) = [row for row in overview.tree(objects) if row["object"].endswith("/b")]
    assert EXPRESSION in row["message"]
    assert {"type": "dependsOn", "from": str(named("b")), "to": str(named("a")), "readyExpr": EXPRESSION} in (
        overview.dependency_graph(objects)["edges"]
    )


def test_an_expression_decides_whatever_the_dependency_says() -> None:
    """One may wait for a label of what is suspended or failed: that does not end the waiting."""
    for stopped in (kustomization("a", spec={"suspend": True}), kustomization("a", OLD, FAILS, attempted=NEW)):
        objects = by_ref(git(), stopped, kustomization("c"), waits_by_expression())
        found = survey.survey(GOAL, objects, NOBODY).verdicts[named("b")]
        assert (found.state, found.reason) == ("waiting", "DependencyNotReady")
        assert "which" not in found.message
    # what is told is the root, and another dependency than the expression's is none
    failed = by_ref(git(), kustomization("a", OLD, FAILS, attempted=NEW), kustomization("c"), waits_by_expression())
    assert {f.named.name for f in diagnosis.diagnose(failed)} == {"a"}
    other = by_ref(git(), kustomization("a"), kustomization("c", OLD, FAILS, attempted=NEW), waits_by_expression())
    assert {f.named.name for f in diagnosis.diagnose(other)} == {"b", "c"}
    # one that is not there at all is waited for in vain
    gone = by_ref(git(), kustomization("c"), waits_by_expression("dependency 'flux-system/a' not found"))
    assert "is not in the cluster" in survey.survey(GOAL, gone, NOBODY).verdicts[named("b")].message


def test_who_waits_for_an_expression_is_not_asked_at_every_look() -> None:
    objects = by_ref(git(), kustomization("a"), kustomization("c"), waits_by_expression())
    objects[named("b")]["status"]["lastHandledReconcileAt"] = "t"
    tokens = survey.Requests({named("b"): "t"}, asking=True)

    def asked_after(seconds: float) -> list[Ref]:
        found = survey.survey(GOAL, objects, tokens)
        return survey.requests(GOAL, found, objects, tokens, seconds, {named("b"): seconds})

    assert asked(objects) == [named("b")]
    assert asked_after(1.0) == []
    assert asked_after(11.0) == [named("b")]


BEGAN = 1767225605.0  # 2026-01-01T00:00:05Z
SILENT = "dial tcp 10.0.0.1:22: i/o timeout"
CUT = (
    condition("FetchFailed", "True", "GitOperationFailed", SILENT, lastTransitionTime="2026-01-01T00:02:00Z"),
    condition("Ready", "False", "GitOperationFailed", SILENT, lastTransitionTime="2026-01-01T00:02:00Z"),
    condition("Reconciling", "True", "ProgressingWithRetry"),
)


def test_the_diagnosis_tells_a_fetch_that_lasts_long() -> None:
    fetching = git(OLD, condition("Ready", "True", "Succeeded"), condition("Reconciling", "True", "Progressing"))
    objects = by_ref(fetching, kustomization("a", OLD))
    assert diagnosis.diagnose(objects, now=BEGAN + 2) == []
    (finding,) = diagnosis.diagnose(objects, now=BEGAN + 30)
    assert (finding.severity, finding.reason) == ("waiting", "Fetching")
    assert "it is being fetched, since 2026-01-01T00:00:05Z" in finding.sentence
    assert diagnosis.diagnose(objects, "shop", now=BEGAN + 30) == []


def test_the_diagnosis_tells_since_when_a_git_host_is_silent_and_that_it_heals() -> None:
    (finding,) = diagnosis.diagnose(by_ref(git(OLD, *CUT, spec={"interval": "9m"}), kustomization("a", OLD)))
    assert finding.severity == "blocked"
    # the words of the failure may have changed since, but nothing was fetched meanwhile
    assert f"{SILENT}, since 2026-01-01T00:00:05Z. The Git host does not answer" in finding.sentence
    assert "heals by itself" in finding.sentence
    assert "tried again only every" not in finding.sentence


def test_a_silent_source_is_asked_again_without_starting_the_grace_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flux's own pauses between tries grow, so a wait would not see for minutes that the line is there again."""
    asked: list[Ref] = []

    def ask(self: wait.Wait, named: Ref) -> bool:
        asked.append(named)
        self._tokens[named] = f"token-{len(asked)}"
        self._asked_source = time.monotonic()
        return True

    monkeypatch.setattr(wait.Wait, "_ask", ask)
    waiting = wait.Wait(None, GOAL, wait.Options())  # type: ignore[arg-type]
    monkeypatch.setattr(wait, "_TRY_AGAIN", 0.05)
    waiting._ask(SOURCE)
    handled = by_ref(git(OLD, *CUT, lastHandledReconcileAt="token-1"))
    _found, decision = waiting._look(handled)
    assert (decision, asked) == ("wait", [SOURCE])
    began = waiting._passing[SOURCE]
    time.sleep(0.06)
    waiting._look(handled)
    assert asked == [SOURCE, SOURCE]
    found, _decision = waiting._look(handled)  # the second request is on its way
    assert found.verdicts[SOURCE].state == "waiting"
    assert len(asked) == 2
    assert waiting._passing == {SOURCE: began}
    waiting._look(by_ref(git(OLD, lastHandledReconcileAt="token-2")))
    assert waiting._passing == {}


def test_the_diagnosis_tells_deadlocks_and_missing_sources() -> None:
    a, b = kustomization("a", OLD, WAITS, needs=("b",)), kustomization("b", OLD, WAITS, needs=("a",))
    assert {f.reason for f in diagnosis.diagnose(by_ref(git(), a, b))} == {"DependencyCycle"}
    (finding,) = diagnosis.diagnose(by_ref(kustomization("a", OLD, LOST)))
    assert "GitRepository flux-system/repo: NotFound" in finding.sentence
    refused = git(
        "", condition("FetchFailed", "True", "AuthenticationFailed", "denied"), condition("Ready", "False", "x")
    )
    (finding,) = diagnosis.diagnose(by_ref(refused, kustomization("a", OLD)))
    assert finding.named == SOURCE
    assert diagnosis.diagnose(by_ref(git(), kustomization("a"))) == []


CHECKING = (
    condition("Ready", "Unknown", "Progressing", "Reconciliation in progress"),
    condition("Reconciling", "True", "Progressing", "Running health checks for revision x with a timeout of 3m"),
)


def tried(commit: str, ended: str) -> list[dict[str, Any]]:
    return [{"digest": "d", "lastReconciledStatus": ended, "metadata": {"revision": f"main@sha1:{commit}"}}]


@pytest.mark.parametrize(
    ("history", "severity"),
    [
        ([], "waiting"),
        (tried(NEW, "HealthCheckFailed"), "blocked"),
        # the commit before failed, this one may heal it; or it was ready, and is looked at again
        (tried(OLD, "HealthCheckFailed"), "waiting"),
        (tried(NEW, "ReconciliationSucceeded"), "waiting"),
        ([*tried(NEW, "ReconciliationSucceeded"), *tried(NEW, "HealthCheckFailed")], "waiting"),
    ],
)
def test_what_failed_before_and_is_tried_again_blocks(history: list[dict[str, Any]], severity: str) -> None:
    again = kustomization("a", OLD, *CHECKING, attempted=NEW, history=history)
    (finding,) = diagnosis.diagnose(by_ref(git(), again))
    assert finding.severity == severity
    if severity == "blocked":
        assert "HealthCheckFailed: main@sha1:bbbbbbbbbbbb failed before and is being tried again" in finding.sentence
        assert "correct it by a commit" in finding.sentence


@pytest.mark.parametrize(("stuck", "severity"), [(True, "blocked"), (False, "waiting")])
def test_a_workload_that_does_not_become_ready_blocks_at_the_first_try(stuck: bool, severity: str) -> None:
    web = Ref("apps", "Deployment", "shop", "web")
    cause = wait.Cause(web, named("a"), f"{web}: InProgress: LessReplicas: 0 of 1 available (pod web-1: why)", stuck)
    objects = by_ref(git(), kustomization("a", OLD, *CHECKING, attempted=NEW, applied=(web,)))
    (finding,) = diagnosis.diagnose(objects, "", [cause])
    assert finding.severity == severity
    assert ("0 of 1 available (pod web-1: why)" in finding.sentence) is stuck


def test_an_object_of_two_kustomizations_is_told_with_both() -> None:
    shared = Ref("apps", "Deployment", "shop", "web")
    objects = by_ref(
        git(),
        kustomization("a", applied=(shared, Ref("", "ConfigMap", "shop", "mine"))),
        kustomization("b", applied=(shared,)),
        kustomization("other-cluster", applied=(shared,), spec={"kubeConfig": {"secretRef": {"name": "x"}}}),
    )
    (finding,) = diagnosis.diagnose(objects)
    assert (finding.severity, finding.named, finding.reason) == ("blocked", shared, "OwnedTwice")
    assert finding.sentence.startswith(
        "Deployment shop/web: applied by Kustomization flux-system/a and by Kustomization flux-system/b: each undoes"
    )
    assert "kustomize.toolkit.fluxcd.io/prune: disabled" in finding.sentence
    assert diagnosis.diagnose(objects, "shop") == []
    # on its way from one to the other
    moving = {**objects, **by_ref(kustomization("b", OLD, *CHECKING, attempted=NEW, applied=(shared,)))}
    assert {f.reason: f.severity for f in diagnosis.diagnose(moving)}["OwnedTwice"] == "waiting"
    # who does nothing is in nobody's way
    still = {**objects, **by_ref(kustomization("b", applied=(shared,), spec={"suspend": True}))}
    assert "OwnedTwice" not in {f.reason for f in diagnosis.diagnose(still)}


def test_many_common_objects_are_one_finding() -> None:
    both = tuple(Ref("", "ConfigMap", "shop", f"m{n}") for n in range(9))
    (finding,) = diagnosis.diagnose(by_ref(git(), kustomization("a", applied=both), kustomization("b", applied=both)))
    assert "ConfigMap shop/m0, ConfigMap shop/m1, ConfigMap shop/m2 and 6 more: applied by" in finding.sentence


def elsewhere(item: dict[str, Any], namespace: str) -> dict[str, Any]:
    return {**item, "metadata": {**item["metadata"], "namespace": namespace}}


def test_the_diagnosis_of_a_namespace_tells_nothing_of_others() -> None:
    source = {"sourceRef": {"kind": "GitRepository", "name": "repo", "namespace": "flux-system"}}
    waits = condition("Ready", "False", "DependencyNotReady", "dependency 'flux-system/a' is not ready")
    needs = {**source, "dependsOn": [{"name": "a", "namespace": "flux-system"}]}
    objects = by_ref(
        git(spec={"interval": "1h"}),
        kustomization("a", OLD, FAILS, attempted=NEW),
        elsewhere(kustomization("mine", OLD, spec={"suspend": True, **source}), "shop"),
        elsewhere(kustomization("late", OLD, waits, spec=needs), "shop"),
        elsewhere(kustomization("fine", spec=source), "shop"),
    )
    everywhere = {f.named.name for f in diagnosis.diagnose(objects)}
    assert everywhere == {"repo", "a", "mine"}
    # what it waits for is not told here, so it is
    assert {f.named.name for f in diagnosis.diagnose(objects, "shop")} == {"mine", "late"}
    assert {f.named.name for f in diagnosis.diagnose(objects, "flux-system")} == {"repo", "a"}
    assert diagnosis.diagnose(objects, "other") == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("1h0m0s", 3600.0), ("90s", 90.0), ("1m30s", 90.0), ("500ms", 0.5), ("", 0.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert diagnosis.seconds(text) == seconds


def test_tree_and_graph() -> None:
    objects = by_ref(
        git(),
        kustomization("root", applied=(named("a"), Ref("", "ConfigMap", "n", "m"))),
        kustomization("a", needs=("x",)),
    )
    shown = [(row["depth"], row["object"]) for row in overview.tree(objects)]
    assert shown == [(0, "Kustomization flux-system/root"), (1, "Kustomization flux-system/a"), (1, "ConfigMap n/m")]
    drawn = overview.dependency_graph(objects)
    assert drawn["missing"] == ["Kustomization flux-system/x"]
    assert {
        "type": "appliedBy",
        "from": "Kustomization flux-system/a",
        "to": "Kustomization flux-system/root",
    } in drawn["edges"]


class Told:
    """A session that only lists events."""

    def __init__(self, *items: dict[str, Any]) -> None:
        self.listed = list(items)
        self.asked: list[tuple[str, dict[str, str]]] = []

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        self.asked.append((path, query))
        return self.listed


def told(kind: str, name: str, last: str, api: str = "kustomize.toolkit.fluxcd.io/v1", **more: Any) -> dict[str, Any]:
    about = {"apiVersion": api, "kind": kind, "namespace": "flux-system", "name": name}
    said = {"type": "Normal", "reason": "Progressing", "message": "two\nlines", "lastTimestamp": last}
    return {"metadata": {}, "involvedObject": about, **said, **more}


def test_events_are_of_flux_alone_and_the_newest_comes_first() -> None:
    annotations = {"kustomize.toolkit.fluxcd.io/revision": f"main@sha1:{NEW}"}
    session = Told(
        told("Kustomization", "a", "2026-01-01T00:00:01Z"),
        told("Pod", "web-1", "2026-01-01T00:00:02Z", api="v1"),
        told("Kustomization", "other", "2026-01-01T00:00:02Z", api="example.com/v1"),
        told(
            "Kustomization", "b", "", eventTime="2026-01-01T00:00:03Z", count=3, metadata={"annotations": annotations}
        ),
    )
    rows = overview.events(session, None)  # type: ignore[arg-type]
    assert [row["object"] for row in rows] == ["Kustomization flux-system/b", "Kustomization flux-system/a"]
    assert rows[0] == {
        "object": "Kustomization flux-system/b",
        "type": "Normal",
        "reason": "Progressing",
        "message": "two lines",
        "count": 3,
        "last": "2026-01-01T00:00:03Z",
        "revision": f"main@sha1:{NEW}",
    }
    assert (rows[1]["count"], rows[1]["revision"]) == (1, "")
    overview.events(session, None, "shop")  # type: ignore[arg-type]
    assert len(overview.events(session, Ref("", "Pod", "shop", "web-1"))) == 4  # type: ignore[arg-type]
    assert session.asked == [
        ("/api/v1/events", {}),
        ("/api/v1/namespaces/shop/events", {}),
        ("/api/v1/namespaces/shop/events", {"fieldSelector": "involvedObject.kind=Pod,involvedObject.name=web-1"}),
    ]


def test_names_of_inventories() -> None:
    assert kinds.entry("_system__node_rbac.authorization.k8s.io_ClusterRole") == Ref(
        "rbac.authorization.k8s.io", "ClusterRole", "", "system:node"
    )
    assert kinds.entry("shop_web__Service") == Ref("", "Service", "shop", "web")


def test_what_cannot_be_asked_is_told_at_once() -> None:
    objects = by_ref(git(), kustomization("a"), kustomization("s", spec={"suspend": True}))
    steps = reconcile.plan_requests(objects, [named("a")], with_source=True, force=False, reset=False)
    assert [[r.named for r in step] for step in steps] == [[SOURCE], [named("a")]]
    with pytest.raises(
        FluxError, match=r"(?s)nothing was asked.*flux-system/s is suspended.*flux-system/x is not in the cluster"
    ):
        reconcile.plan_requests(objects, [named("s"), named("x")], with_source=True, force=False, reset=False)
    with pytest.raises(FluxError, match="for HelmReleases only"):
        reconcile.plan_requests(objects, [named("a")], with_source=False, force=True, reset=False)


def test_suspending_changes_only_what_is_otherwise_and_sources_last() -> None:
    objects = by_ref(git(), kustomization("a"), kustomization("s", spec={"suspend": True}))
    wanted = [SOURCE, named("a"), named("s")]
    assert reconcile.plan_suspend(objects, wanted, suspend=True) == [named("a"), SOURCE]
    assert reconcile.plan_suspend(objects, wanted, suspend=False) == [named("s")]
    with pytest.raises(FluxError, match="flux-system/x is not in the cluster"):
        reconcile.plan_suspend(objects, [named("x")], suspend=True)


def test_names_are_read_or_refused_all_at_once() -> None:
    assert kinds.parse("ks/apps") == named("apps")
    assert kinds.parse("HelmRelease/n/web") == Ref(kinds.HELM, "HelmRelease", "n", "web")
    with pytest.raises(FluxError, match=r"(?s)'apps' names no object.*'Pod/x' names no object"):
        kinds.parse_all(["apps", "Pod/x"])
