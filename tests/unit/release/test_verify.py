# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What says something about a release, and what only about the way to it: metrics, programs, an API server that is gone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.readiness import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.survey import Survey
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.wait import Outcome
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import delivery, verify
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.run import Clusters

from tests.serving import serving
from tests.unit.release.lab import SELECTOR, B, Lab
from tests.unit.release.lab import kustomization as overlay
from tests.unit.release.metrics import expect

NOBODY = """\
apiVersion: v1
kind: Config
current-context: gone
contexts: [{name: gone, context: {cluster: gone, user: gone}}]
clusters: [{name: gone, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: gone, user: {}}]
"""


def sample(value: str, **labels: str) -> dict[str, Any]:
    return {"metric": labels, "value": [1795000000.0, value]}


def vector(*samples: dict[str, Any]) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "vector", "result": list(samples)}}


#: What Prometheus 3 answers, by the query.
ANSWERS: dict[str, dict[str, Any]] = {
    "nothing": vector(),
    "zero/zero": vector(sample("NaN")),
    "some": vector(sample("NaN"), sample("0.02", pod="a"), sample("0.5", pod="b")),
    "endless": vector(sample("+Inf")),
    "scalar(nothing)": {"status": "success", "data": {"resultType": "scalar", "result": [1795000000.0, "NaN"]}},
    "0.2": {"status": "success", "data": {"resultType": "scalar", "result": [1795000000.0, "0.2"]}},
    '"text"': {"status": "success", "data": {"resultType": "string", "result": [1795000000.0, "text"]}},
    "some[5m]": {
        "status": "success",
        "data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[1795000000.0, "7"]]}]},
    },
    "none[5m]": {"status": "success", "data": {"resultType": "matrix", "result": []}},
    "buckets": vector({"metric": {}, "histogram": [1795000000.0, {"count": "1", "sum": "1", "buckets": []}]}),
    "wrong(": {"status": "error", "errorType": "bad_data", "error": "1:7: parse error: unexpected end of input"},
}


@pytest.fixture(scope="module")
def prometheus() -> Iterator[str]:
    def answer(path: str) -> tuple[int, bytes]:
        (query,) = parse_qs(urlsplit(path).query)["query"]
        return 200 if ANSWERS[query]["status"] == "success" else 400, json.dumps(ANSWERS[query]).encode()

    with serving(answer) as address:
        yield f"http://{address}/"


@pytest.mark.parametrize(
    ("query", "limits", "failure", "warning"),
    [
        ("nothing", {"max": 0, "min": 1}, "", "metric m has no data"),
        ("zero/zero", {"max": 0, "min": 1}, "", "metric m has no data"),
        ("scalar(nothing)", {"max": 0, "min": 1}, "", "metric m has no data"),
        ("some", {"max": 0.5, "min": 0.02}, "", ""),
        ("some", {"max": 0.1}, "metric m is 0.5, wanted at most 0.1", ""),
        ("some", {"min": 0.1}, "metric m is 0.02, wanted at least 0.1", ""),
        ("endless", {"max": 1}, "metric m is inf, wanted at most 1", ""),
        ("0.2", {"max": 0.1}, "metric m is 0.2, wanted at most 0.1", ""),
        ("0.2", {}, "", ""),
        ('"text"', {"max": 0}, "", "the query gives a string"),
        ("some[5m]", {"max": 0}, "", "the query gives a matrix"),
        ("none[5m]", {"max": 0}, "", "the query gives a matrix"),
        ("buckets", {"max": 0}, "", "histogram_quantile"),
        ("wrong(", {"max": 0}, "", "metric m is not known: 1:7: parse error"),
    ],
)
def test_only_a_number_over_a_limit_is_a_failure(
    prometheus: str, query: str, limits: dict[str, float], failure: str, warning: str
) -> None:
    expect(prometheus, query, limits, failure, warning)


def test_a_prometheus_that_is_gone_is_no_failure() -> None:
    answer = verify._Answer()
    verify._promql({"url": "http://127.0.0.1:1", "query": "up", "min": 1}, answer)
    assert (answer.failures, answer.unknown) == ([], [])
    assert "metric up is not known" in answer.warnings[0]


# -- programs ------------------------------------------------------------------------------------------------------------------


def test_a_program_that_cannot_be_started_says_nothing_about_the_release(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("no program")
    for name in ("gone", "plain"):
        answer = verify._Answer()
        verify._command([str(tmp_path / name)], 5, answer)
        assert answer.failures == []
        assert "cannot be run" in answer.unknown[0]
    answer = verify._Answer()
    verify._command(["sh", "-c", "echo no >&2; exit 4"], 5, answer)
    assert answer.failures == ["sh ended with 4: no"]


def test_a_program_that_is_missing_is_told_before_anything_is_pushed(lab: Lab, tmp_path: Path) -> None:
    before = lab.head()
    clusters = {"production": {"kubeconfig": str(tmp_path / "config")}}
    (tmp_path / "config").write_text(NOBODY)
    checks = verify.Options(command=("nope-nope",))
    with pytest.raises(ReleaseError, match="nothing was pushed: verify: wanted the program nope-nope"):
        lab.promote(clusters=clusters, verify=checks)
    lab.promote()
    after = lab.head()
    assert after != before
    with pytest.raises(ReleaseError, match="nothing was pushed: verify: wanted the program nope-nope"):
        lab.rollback(clusters=clusters, verify=checks)
    assert lab.head() == after


# -- an API server that is gone --------------------------------------------------------------------------------------------


def test_a_rollback_needs_no_cluster_and_waits_for_none(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(NOBODY)
    clusters = {"production": {"kubeconfig": str(tmp_path / "config")}}
    lab.promote()
    done = lab.rollback(clusters=clusters, verify=verify.Options(timeout=5))
    assert done["changed"]
    assert not done.get("failed"), done
    assert done["verified"] is None
    assert any("production was not verified: " in said for said in done["warnings"])
    again = lab.rollback(done["edits"][0]["after"].partition("@")[0], clusters=clusters)
    assert (again["changed"], again.get("failed")) == (False, None)


def kustomization(state: Any, *trouble: str, target: str = "sha1:abc1234") -> Outcome:
    named = Ref("kustomize.toolkit.fluxcd.io", "Kustomization", "flux-system", "apps")
    found = Survey(target, {named: Verdict(state, "Progressing", "it is at an older commit")})
    return Outcome(False, found, {}, "main@sha1:abc1234", 60.0, "", trouble)


def test_who_was_seen_waiting_last_has_not_failed() -> None:
    told = delivery.by_flux(kustomization("waiting", "the API server does not answer"), "abc1234")
    assert told.failures == ()
    assert "the API server does not answer" in told.unknown
    told = delivery.by_flux(kustomization("failed", "the API server does not answer"), "abc1234")
    assert len(told.failures) == 1


class Flaky:
    """A session whose API server does not answer at first; then there is nothing that is not well."""

    def __init__(self, status: int | None, times: int) -> None:
        self._status, self.left = status, times

    def object(self, _named: Ref) -> dict[str, Any] | None:
        if self.left:
            self.left -= 1
            raise ApiError("it starts", self._status)
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"generation": 1},
            "spec": {"replicas": 1},
            "status": {
                "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
                "conditions": [{"type": "Available", "status": "True"}],
            },
        }  # fmt: skip


def look_at_workloads(session: Flaky, seconds: float) -> verify._Answer:
    answer = verify._Answer()
    cluster: Any = SimpleNamespace(session=session)
    options = verify.Options(settle=0.0)
    verify._workloads(
        cluster, [Ref("apps", "Deployment", "apps", "app")], (), (), options, time.monotonic() + seconds, answer, {}
    )
    return answer


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "_LOOK", 0.01)


@pytest.mark.usefixtures("quick")
def test_an_api_server_that_does_not_answer_is_asked_again() -> None:
    session = Flaky(503, 3)
    assert look_at_workloads(session, 60) == verify._Answer()
    assert session.left == 0
    with pytest.raises(ApiError):
        look_at_workloads(Flaky(None, 1_000_000), 0.05)
    refused = Flaky(403, 5)
    with pytest.raises(ApiError):
        look_at_workloads(refused, 60)
    assert refused.left == 4


# -- the way back --------------------------------------------------------------------------------------------------------------


def test_a_plan_is_rolled_back_once_and_then_left_to_somebody(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, well = verify.Verification(False, ("it crashes",)), verify.Verification(True)
    answers = [bad, well, bad]
    monkeypatch.setattr(verify, "verify", lambda *_: answers.pop(0))
    monkeypatch.setattr(Clusters, "of", lambda _self, one: SimpleNamespace() if one.name == "production" else None)
    off = dict.fromkeys(("server_dry_run", "secrets", "capacity", "connectivity"), "off")
    path = "clusters/production/podinfo/kustomization.yaml"
    before = lab.text(path)
    done = lab.promote(verify=verify.Options(), gates=off)
    assert (done["failed"], done["verified"], done["rolled_back"]) == (True, False, True)
    assert (lab.head(), lab.text(path)) == (done["rollback_commit"], before)
    assert done["commit"] in done["msg"]
    assert done["rollback_commit"] in done["msg"]
    assert "where it is well" in done["msg"]
    assert lab.message().splitlines()[0] == "auto-rollback(podinfo): production 6.6.0 -> 6.5.4"
    assert f"Gitops-Undoes: {done['plan_id']}" in lab.message()
    assert "podinfo is held in production" in lab.promote(verify=verify.Options(), gates=off)["msg"]
    again = lab.promote(verify=verify.Options(), gates=off, force=True, reason="it was the network")
    assert (again["failed"], again["rolled_back"], again["plan_id"]) == (True, False, done["plan_id"])
    assert f"It was rolled back before, by {done['rollback_commit']}" in again["msg"]
    assert lab.head() == again["commit"]
    assert answers == []


@pytest.mark.parametrize(
    ("back", "said"),
    [
        (verify.Verification(False, ("it crashes, too",)), "but that does not get well either: it crashes, too. The"),
        (verify.Verification(None, (), ("no answer",)), "but that could not be verified: no answer. The"),
    ],
)
def test_a_way_back_that_nobody_knows_of_is_not_called_bad(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, back: verify.Verification, said: str
) -> None:
    answers = [verify.Verification(False, ("it crashes",)), back]
    monkeypatch.setattr(verify, "verify", lambda *_: answers.pop(0))
    monkeypatch.setattr(Clusters, "of", lambda _self, one: SimpleNamespace() if one.name == "production" else None)
    off = dict.fromkeys(("server_dry_run", "secrets", "capacity", "connectivity"), "off")
    done = lab.promote(verify=verify.Options(), gates=off)
    assert done["rolled_back"]
    assert f"It was rolled back by commit {done['rollback_commit']} to the versions before, {said}" in done["msg"]


def test_a_way_back_that_is_refused_leaves_nobody_in_the_dark(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = verify.Verification(False, ("it crashes",))
    answers = [answer, answer, verify.Verification(True)]
    monkeypatch.setattr(verify, "verify", lambda *_: answers.pop(0))
    monkeypatch.setattr(Clusters, "of", lambda _self, one: SimpleNamespace() if one.name == "production" else None)
    off = dict.fromkeys(("server_dry_run", "secrets", "capacity", "connectivity"), "off")
    path = "clusters/production/podinfo/kustomization.yaml"
    base, before = lab.head(), lab.text(path)
    hook = lab.server / "hooks" / "update"
    hook.write_text(
        '#!/bin/sh\ncase "$(git log -1 --format=%s "$3")" in auto-rollback*) echo "ask the owners" >&2; exit 1;; esac\n'
    )
    hook.chmod(0o755)
    done = lab.promote(verify=verify.Options(), gates=off)
    assert (done["failed"], done["changed"], done["rolled_back"], done["rollback_commit"]) == (True, True, False, "")
    assert done["commit"] == lab.head() != base
    assert done["msg"].startswith(
        f"commit {done['commit']} does not get well in production: it crashes. It could not be rolled back, and stands in"
        " production; run it again, or go back by playbooks/rollback.yml -e environment=production -e component=podinfo"
        f" -e version={base} -e \"reason='…'\". What was wrong: "
    )
    assert "ask the owners" in done["msg"]
    hook.unlink()
    again = lab.promote(verify=verify.Options(), gates=off)
    assert (again["commit"], again["rolled_back"], lab.text(path)) == (done["commit"], True, before)
    assert lab.head() == again["rollback_commit"]


@pytest.mark.parametrize(
    ("boundary", "newer", "why"),
    [
        ("6.6.0", "6.6.0", "what runs has been past it"),
        ("6.6.0", "rc.5cf2d1e", f"{SELECTOR} cannot be compared with it"),
        ("6.7.0", "6.6.0", ""),
        ("6.5.0", "rc.5cf2d1e", ""),
    ],
)
def test_what_cannot_be_undone_is_not_undone_without_a_word(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, boundary: str, newer: str, why: str
) -> None:
    answers = [verify.Verification(False, ("it crashes",)), verify.Verification(True)]
    monkeypatch.setattr(verify, "verify", lambda *_: answers.pop(0))
    monkeypatch.setattr(Clusters, "of", lambda _self, one: SimpleNamespace() if one.name == "production" else None)
    off = dict.fromkeys(("server_dry_run", "secrets", "capacity", "connectivity", "versions"), "off")
    place = {"components": [{"name": "podinfo", "irreversible": [boundary]}]}
    base = lab.commit({"clusters/staging/podinfo/kustomization.yaml": overlay(newer, B)})
    done = lab.promote(place=place, verify=verify.Options(), gates=off)
    assert done["failed"]
    assert done["rolled_back"] is not bool(why)
    if not why:
        assert lab.head() == done["rollback_commit"]
        return
    assert lab.head() == done["commit"]
    assert (
        f"It was not rolled back, and stands in production: podinfo: version {boundary} cannot be undone, as its description"
        f" says; {why}. If it is meant, go back by playbooks/rollback.yml -e environment=production -e component=podinfo"
        f" -e version={base} -e \"reason='…'\" -e release_force=true."
    ) in done["msg"]
    assert lab.rollback(base, place=place)["failed"]
    assert lab.rollback(base, place=place, force=True, reason="restored from a dump")["changed"]
    assert "newTag: 6.5.4" in lab.text("clusters/production/podinfo/kustomization.yaml")


def job(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "smoke"}, "spec": {"template": {"spec": {"containers": [{"name": "a"}]}}, **spec}}


def test_a_job_has_a_name_of_its_own_and_outlives_no_killed_run() -> None:
    manifest = job()
    first, second = (verify.job_of(manifest, 12.3) for _ in range(2))
    assert manifest == job(), "what was given stays as it was"
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert (first["apiVersion"], first["kind"], first["metadata"]["namespace"]) == ("batch/v1", "Job", "default")
    assert first["spec"]["activeDeadlineSeconds"] == 43
    assert first["spec"]["ttlSecondsAfterFinished"] == 600
    (container,) = first["spec"]["template"]["spec"]["containers"]
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_the_admins_own_limits_of_a_job_count_as_long_as_its_end_can_be_seen() -> None:
    spec = verify.job_of(job(activeDeadlineSeconds=5, ttlSecondsAfterFinished=0), -3)["spec"]
    assert (spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (5, 30)
    assert verify.job_of(job(ttlSecondsAfterFinished=90), 1)["spec"]["ttlSecondsAfterFinished"] == 90
    assert verify.job_of({"spec": None}, 1)["spec"] is None, "the API server says what is wrong"


class Looks:
    """A cluster in which a Job is seen in one state after the other; `pods` are there with the first only."""

    def __init__(self, states: list[dict[str, Any] | ApiError], pods: list[dict[str, Any]]) -> None:
        self.session, self.states, self.pods, self.asked = self, states, pods, list[str]()

    def object(self, _named: Ref) -> dict[str, Any]:
        found = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(found, ApiError):
            raise found
        selector = {"selector": {"matchLabels": {"job": "x"}}}
        return {"kind": "Job", "apiVersion": "batch/v1", "metadata": {}, "spec": selector, "status": found}

    def items(self, _path: str, **_: str) -> list[dict[str, Any]]:
        found, self.pods = self.pods, []
        return found

    def api(self) -> Looks:
        return self

    def request(self, verb: str, _path: str, **_: Any) -> None:
        self.asked.append(verb)


RUNNING = {"startTime": "2026-11-22T00:00:00Z", "active": 1}
FAILED = {**RUNNING, "conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
DONE = {**RUNNING, "conditions": [{"type": "Complete", "status": "True"}]}


@pytest.mark.usefixtures("quick")
def test_a_job_whose_pods_are_gone_is_told_by_what_they_said() -> None:
    ended = {"terminated": {"exitCode": 3, "reason": "Error", "message": "column total is missing"}}
    pod = {"metadata": {"name": "p"}, "status": {"containerStatuses": [{"name": "a", "state": ended}]}}
    cluster = Looks([RUNNING, FAILED], [pod])
    failures, unknown = verify.run_job(cluster, job(), 20)  # type: ignore[arg-type]
    assert "(pod p: container a ended with 3: Error: column total is missing)" in failures[0]
    assert unknown == []
    assert cluster.asked == ["POST", "DELETE"]


@pytest.mark.usefixtures("quick")
def test_an_api_server_that_is_busy_says_nothing_about_a_job() -> None:
    busy = ApiError("GET https://a: 503", status=503)
    assert busy.transient
    assert verify.run_job(Looks([RUNNING, busy, DONE], []), job(), 20) == ([], [])  # type: ignore[arg-type]
    cluster = Looks([busy], [])
    with pytest.raises(ApiError):
        verify.run_job(cluster, job(), 0.01)  # type: ignore[arg-type]
    assert cluster.asked == ["POST", "DELETE"]


@pytest.mark.usefixtures("quick")
def test_a_suspended_job_has_verified_nothing() -> None:
    suspended = {"conditions": [{"type": "Suspended", "status": "True"}]}
    (said,), _ = verify.run_job(Looks([suspended], []), job(), 0.01)  # type: ignore[arg-type]
    assert said.endswith(": it is suspended")
