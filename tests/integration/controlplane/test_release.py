# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Promotion and rollback on the real Flux controllers: verified at the commit, or back on the version before."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Author, Remote
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import live, model, verify
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.operation import Place
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.run import Options, Run

from tests.integration.controlplane.git_server import git
from tests.integration.controlplane.site import Site, deployment


class Releases:
    """Two environments of one cluster, each a Kustomization of the site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        files = {
            "base/deployment.yaml": deployment("app", site.name),
            "base/kustomization.yaml": "resources: [deployment.yaml]\n",
        }
        for name, tag in (("staging", "2"), ("production", "1")):
            files |= self.overlay(name, tag)
        self.first = site.repository.push(files)

    def deliver(self) -> None:
        """Have Flux bring both environments, and wait until it has."""
        self.site.follow()
        for name in ("staging", "production"):
            self.site.kustomization(name, f"clusters/{name}", wait=True, timeout="4s")
        self.site.ready(self.first)

    def cluster(self) -> dict[str, str]:
        """Return where the environments are, as they are described."""
        return {"kubeconfig": str(self.site.plane.kubeconfig), "source": f"GitRepository/{self.site.name}"}

    def overlay(self, name: str, tag: str) -> dict[str, str]:
        text = (
            f"resources: [../../../base]\nnamePrefix: {name}-\nimages:\n"
            f"  - name: example.com/app\n    newName: example.com/{self.site.name}-{name}\n    newTag: '{tag}' # the version\n"
        )
        return {
            f"clusters/{name}/app/kustomization.yaml": text,
            f"clusters/{name}/kustomization.yaml": "resources: [app]\n",
        }

    def run(self, **options: Any) -> Run:
        environments = [{"name": name, **self.cluster()} for name in ("staging", "production")]
        components = [{"name": "app", "exclude": ["images[*].newName"], "namespaces": [self.site.name]}]
        place = Place(
            Remote(f"file://{self.site.repository.bare}", "main"),
            Author("Ada", "ada@example.com"),
            "ada",
            cache=self.site.directory / "cache",
            environments=environments,
            components=components,
        )
        given: dict[str, Any] = {"verify": verify.Options(timeout=60, settle=0.5), "reason": "test", **options}
        return Run(place, Options(**given))

    def promote(self, **options: Any) -> dict[str, Any]:
        run = self.run(**options)
        try:
            return run.promote("staging", "production", ["app"], ask_registry=False, pin_digest=False)
        finally:
            run.close()

    def image(self, name: str) -> str:
        found = self.site.live(Ref("apps", "Deployment", self.site.name, f"{name}-app"))
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"])

    def push(self, name: str, tag: str) -> str:
        git(self.site.repository.work, "pull", "--quiet", "--rebase", "origin", "main")
        return self.site.repository.push(self.overlay(name, tag))


@pytest.fixture
def releases(site: Site) -> Releases:
    made = Releases(site)
    made.deliver()
    return made


@pytest.fixture
def answers() -> Iterator[tuple[str, list[int]]]:
    """A server whose status codes a test sets."""
    codes = [200]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(codes[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", codes
    server.shutdown()
    server.server_close()


def test_a_promotion_is_verified_at_its_commit_and_noted(releases: Releases) -> None:
    told = releases.promote(check_mode=True)
    assert releases.image("production").endswith("-production:1")
    done = releases.promote()
    assert done["verified"] is True, done
    assert told["plan_id"] == done["plan_id"]
    assert releases.image("production").endswith("-production:2")
    assert done["health"]["revision"].endswith(done["commit"])
    gates = {one["name"]: one["status"] for one in done["gates"]}
    assert {gates[name] for name in ("source_healthy", "server_dry_run", "secrets", "connectivity")} == {"pass"}, done[
        "gates"
    ]
    again = releases.promote()
    assert (again["changed"], again["verified"], again["commit"]) == (False, True, done["commit"])


def test_a_source_that_is_being_looked_over_is_waited_for(releases: Releases) -> None:
    for number in range(5):
        asked = {"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": str(number)}}}
        releases.site.patch(releases.site.ref("staging"), asked)
        time.sleep(0.03 * number)
        gates = {one["name"]: one for one in releases.promote(check_mode=True)["gates"]}
        assert gates["source_healthy"]["status"] == "pass", gates["source_healthy"]


def test_a_commit_whose_run_was_killed_is_verified_by_the_next(releases: Releases) -> None:
    landed = releases.promote(verify=verify.Options(enabled=False))
    assert landed["commit"], landed
    assert landed["verified"] is None
    again = releases.promote()
    assert (again["changed"], again["verified"], again["commit"]) == (False, True, landed["commit"])


def test_a_bad_commit_whose_run_was_killed_is_rolled_back_by_the_next(releases: Releases) -> None:
    releases.site.wait(releases.push("staging", "missing"))
    off = {"source_healthy": "off"}
    landed = releases.promote(verify=verify.Options(enabled=False), gates=off)
    done = releases.promote(gates=off)
    assert (done["rolled_back"], done["commit"]) == (True, landed["commit"])
    assert "where it is well" in done["msg"], done["msg"]
    assert releases.image("production").endswith("-production:1")


def test_a_bad_release_is_rolled_back_and_held(releases: Releases) -> None:
    releases.site.wait(releases.push("staging", "missing"))
    started = time.monotonic()
    done = releases.promote(gates={"source_healthy": "off"})
    seconds = time.monotonic() - started
    assert done["failed"]
    assert done["verified"] is False
    assert done["rolled_back"] is True
    assert done["commit"] in done["msg"]
    assert done["rollback_commit"] in done["msg"]
    assert "where it is well" in done["msg"], done["msg"]
    assert "ImagePullBackOff" in done["msg"]
    assert releases.image("production").endswith("-production:1")
    assert seconds < 60, done["durations"]
    print("seconds from the push of the bad release:", done["durations"])
    refused = releases.promote(gates={"source_healthy": "off"})
    assert "app is held in production" in refused["msg"]


def test_a_probe_that_fails_rolls_back_and_a_metric_without_an_answer_does_not(
    releases: Releases, answers: tuple[str, list[int]]
) -> None:
    url, codes = answers
    codes[0] = 503
    silent = {"url": "http://127.0.0.1:1", "query": "up", "min": 1}
    probes = verify.Options(
        timeout=30, settle=0.2, http=({"url": url, "count": 3, "failures": 2, "interval": 0.05},), promql=(silent,)
    )
    done = releases.promote(verify=probes)
    assert done["rolled_back"], done
    assert "0 of 3 answers were right" in done["msg"]
    codes[0] = 200
    well = releases.promote(verify=probes, force=True)
    assert well["verified"] is True
    assert any("metric up is not known" in said for said in well["warnings"])


def job_on(site: Site, image: str, **spec: Any) -> dict[str, Any]:
    """A Job that looks at a release; the image's tag says how it ends."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "look", "image": f"example.com/look:{image}"}]}
    metadata = {"name": "smoke", "namespace": site.name}
    return {"metadata": metadata, "spec": {"backoffLimit": 0, "template": {"spec": pod}, **spec}}


def jobs(site: Site) -> list[str]:
    found = site.session.items(f"/apis/batch/v1/namespaces/{site.name}/jobs")
    return [one["metadata"]["name"] for one in found if "deletionTimestamp" not in one["metadata"]]


def leave(site: Site, job: dict[str, Any]) -> None:
    """Make a Job as a run does that is killed then."""
    path = f"/apis/batch/v1/namespaces/{site.name}/jobs"
    site.session.call(lambda api: api.request("POST", path, body=job))


def test_a_job_that_fails_rolls_back_in_the_same_run_and_one_that_ends_well_verifies(releases: Releases) -> None:
    site = releases.site
    left = verify.job_of(job_on(site, "endless"), 60)
    leave(site, left)
    done = releases.promote(verify=verify.Options(timeout=60, settle=0.2, job=job_on(site, "failing")))
    assert (done["failed"], done["verified"], done["rolled_back"]) == (True, False, True), done
    assert re.search(rf"Job {site.name}/smoke-[0-9a-f]{{6}}: Failed", done["msg"]), done["msg"]
    assert "(pod smoke-" in done["msg"], done["msg"]
    assert "container look ended with 3: Error: orders: column total is missing" in done["msg"]
    assert releases.image("production").endswith("-production:1")
    assert jobs(site) == [left["metadata"]["name"]]

    # one that may go at its end is seen all the same
    good = job_on(site, "1", ttlSecondsAfterFinished=0)
    done = releases.promote(verify=verify.Options(timeout=60, settle=0.2, job=good), force=True)
    assert done["verified"] is True, done
    assert releases.image("production").endswith("-production:2")
    assert jobs(site) == [left["metadata"]["name"]]


@pytest.mark.parametrize(
    ("limits", "seconds", "words"), [({}, 2, ": InProgress"), ({"activeDeadlineSeconds": 1}, 60, "DeadlineExceeded")]
)
def test_a_job_without_an_end_is_not_waited_for_for_ever(
    site: Site, limits: dict[str, Any], seconds: float, words: str
) -> None:
    environment = model.Environment("production", "clusters/production", kubeconfig=str(site.plane.kubeconfig))
    cluster = live.Cluster(environment)
    (said,), unknown = verify.run_job(cluster, job_on(site, "endless", **limits), seconds)
    cluster.close()
    assert said.startswith(f"Job {site.name}/smoke-")
    assert words in said
    assert unknown == []
    assert jobs(site) == []


def test_a_job_that_a_killed_run_left_is_ended_and_taken_away(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "_JOB_LINGERS", 1)
    monkeypatch.setattr(verify, "_JOB_STAYS", 0)
    leave(site, verify.job_of(job_on(site, "endless"), 0))
    assert len(jobs(site)) == 1
    site.plane.wait_for("Kubernetes has taken it away", lambda: not jobs(site))


def test_all_gates_are_told_at_once(releases: Releases) -> None:
    site = releases.site
    git(site.repository.work, "pull", "--quiet", "--rebase", "origin", "main")
    path = "clusters/production/app/needs.yaml"
    secret = (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: needs, namespace: {site.name}}}\nspec:\n  containers:\n"
        "  - {name: a, image: x, env: [{name: A, valueFrom: {secretKeyRef: {name: gone, key: k}}}], ports: [{containerPort: 99999}]}\n"
    )
    overlay = releases.overlay("production", "1")["clusters/production/app/kustomization.yaml"]
    site.repository.push(
        {
            path: secret,
            "clusters/production/app/kustomization.yaml": overlay.replace(
                "[../../../base]", "[../../../base, needs.yaml]"
            ),
            ".stagecraft/freeze/production.yaml": "reason: party\nby: eve\n",
        }
    )
    done = releases.promote(gates={"soak": {"mode": "enforce", "hours": 1}})
    assert done["failed"]
    for said in (
        "soak: 0.0h of 1h",
        "freeze: eve has stopped it: party",
        "secrets: Secret",
        "gone is neither in Git",
        "server_dry_run:",
        "99999",
    ):
        assert said in done["msg"], done["msg"]
