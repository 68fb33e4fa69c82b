# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flux_wait's engine on the real controllers: every way to be ready, and every way not to be."""

from __future__ import annotations

import random
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import diagnosis, overview
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.wait import Outcome
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import listed, text
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session

from tests.integration.controlplane.control_plane import send
from tests.integration.controlplane.git_server import git
from tests.integration.controlplane.line import Line
from tests.integration.controlplane.site import Site, pretty
from tests.integration.ssh.conftest import Server, make_key


def tells(outcome: Outcome, *words: str) -> None:
    """Assert that a wait failed with a sentence that has all the words."""
    assert not outcome.ok, pretty(outcome)
    assert any(all(word in said for word in words) for said in outcome.sentences()), pretty(outcome)


def test_a_pushed_commit_is_waited_for_and_not_the_one_before(site: Site) -> None:
    first = site.repository.push({"apps/a.yaml": site.config_map("a", value="1")})
    site.follow()
    site.kustomization("apps")
    site.ready(first)
    second = site.repository.push({"apps/a.yaml": site.config_map("a", value="2")})
    outcome = site.ready(second)
    assert outcome.revision == f"main@sha1:{second}"
    assert site.live(site.ref("apps"))["status"]["lastAppliedRevision"] == f"main@sha1:{second}"


def test_without_a_commit_the_newest_is_meant(site: Site) -> None:
    site.repository.push({"apps/a.yaml": site.config_map("a")})
    site.follow()
    site.kustomization("apps")
    site.ready(site.repository.push({"apps/b.yaml": site.config_map("b")})[:10])
    newest = site.repository.push({"apps/b.yaml": site.config_map("b", changed="yes")})
    outcome = site.ready()
    assert outcome.revision.endswith(newest)


def test_children_and_chains_are_followed(site: Site) -> None:
    commit = site.repository.push(
        {
            "root/infra.yaml": site.manifest("infra", wait=True),
            "root/apps.yaml": site.manifest("apps", dependsOn=[{"name": f"{site.name}-infra"}], wait=True),
            "infra/a.yaml": site.config_map("infra"),
            "apps/a.yaml": site.deployment("web"),
        }
    )
    site.follow()
    site.kustomization("root")
    outcome = site.ready(commit)
    assert {site.ref(n) for n in ("root", "infra", "apps")} <= set(outcome.found.verdicts)
    assert site.live(site.ref("apps"))["status"]["lastAppliedRevision"].endswith(commit)


def test_git_down_is_told_within_the_grace(site: Site) -> None:
    site.repository.push({"apps/a.yaml": site.config_map("a")})
    site.follow(url="http://127.0.0.1:9/gone.git")
    site.kustomization("apps")
    outcome = site.wait("deadbeef")
    tells(outcome, "GitRepository", "connection refused", "The Git host does not answer")
    assert outcome.seconds < 10


def test_a_network_that_swallows_everything_is_told(site: Site) -> None:
    """What a firewall between the cluster and its Git host makes of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        site.follow(url=f"http://127.0.0.1:{silent.getsockname()[1]}/cut.git", timeout="3s")
        outcome = site.wait("deadbeef")
    tells(outcome, "GitRepository", "deadline exceeded", "The Git host does not answer")
    assert outcome.seconds < 15


@pytest.mark.parametrize("where", ["before", "middle"])
def test_a_line_that_is_cut_is_told_and_the_commit_arrives_once_it_is_mended(site: Site, where: str) -> None:
    """Packets are lost, before a fetch or in the middle of one: nobody says that anything ended."""
    first = site.repository.push({"apps/a.yaml": site.config_map("a", n="1")})
    with Line(int(site.server.url.rpartition(":")[2])) as line:
        site.follow(url=f"http://127.0.0.1:{line.port}/{site.name}.git", timeout="3s")
        site.kustomization("apps")
        site.ready(first)
        noise = random.Random(4).randbytes(300_000).hex()
        second = site.repository.push({"apps/a.yaml": site.config_map("a", n="2"), "noise.txt": noise})
        line.cut() if where == "before" else line.cut_after(100_000)
        outcome = site.wait(second, seconds=8, grace=60.0)
        assert line.cut_off.is_set()
        tells(
            outcome, "GitRepository", "deadline exceeded, since 20", "The Git host does not answer", "heals by itself"
        )
        assert outcome.revision.endswith(first)
        assert site.live(site.ref("apps"))["status"]["lastAppliedRevision"].endswith(first)
        blocked = [f for f in diagnosis.diagnose(overview.load(site.session)) if f.severity == "blocked"]
        (found,) = [f for f in blocked if f.named == site.source]
        assert "deadline exceeded, since 20" in found.sentence
        assert "tried again only every" not in found.sentence
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(site.wait, second, seconds=90, grace=90.0)
            site.plane.wait_for("the wait to have asked", lambda: asked(site))
            assert not waiting.done()
            line.mend()
            outcome = waiting.result()
    assert outcome.ok, pretty(outcome)
    assert outcome.revision.endswith(second)


def asked(site: Site) -> bool:
    """Say whether a fetch that was asked for last has ended."""
    item = site.live(site.source)
    token = item["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"]
    return bool(item["status"].get("lastHandledReconcileAt") == token)


def test_a_fetch_that_hangs_is_told_before_it_is_given_up(site: Site) -> None:
    first = site.repository.push({"apps/a.yaml": site.config_map("a", n="1")})
    with Line(int(site.server.url.rpartition(":")[2])) as line:
        site.follow(url=f"http://127.0.0.1:{line.port}/{site.name}.git", timeout="60s")
        site.kustomization("apps")
        site.ready(first)
        line.cut()
        outcome = site.wait(site.repository.push({"apps/a.yaml": site.config_map("a", n="2")}), seconds=3)
        tells(outcome, "GitRepository", "it is being fetched, since 20", first[:12], "gives up after 60s")
        later = time.time() + 60
        said = [
            f.sentence for f in diagnosis.diagnose(overview.load(site.session), now=later) if f.severity == "waiting"
        ]
        assert any("it is being fetched, since 20" in sentence for sentence in said), said
        line.mend()
        site.ready()


def test_missing_branch_is_told_at_once(site: Site) -> None:
    commit = site.repository.push({"apps/a.yaml": site.config_map("a")})
    site.follow(ref={"branch": "nobody-made-it"})
    outcome = site.wait(commit)
    tells(outcome, "GitRepository", "The branch or tag does not exist")
    assert outcome.seconds < 8


def test_missing_path_is_told_at_once(site: Site) -> None:
    commit = site.repository.push({"apps/a.yaml": site.config_map("a")})
    site.follow()
    site.kustomization("apps", path="nowhere")
    outcome = site.wait(commit)
    tells(outcome, "Kustomization", "ArtifactFailed", "nowhere", "check spec.path")
    assert outcome.seconds < 8
    # a failure of before does not count once the path is corrected
    fixed = site.repository.push({"nowhere/a.yaml": site.config_map("b")})
    outcome = site.ready(fixed)


def test_invalid_yaml_is_told_at_once(site: Site) -> None:
    commit = site.repository.push({"apps/a.yaml": "kind: ConfigMap\n  broken: [\n"})
    site.follow()
    site.kustomization("apps")
    outcome = site.wait(commit)
    tells(outcome, "Kustomization", "BuildFailed", "a.yaml", "correct the file")
    assert outcome.seconds < 8


def test_a_variable_without_value_is_told_at_once(site: Site) -> None:
    commit = site.repository.push({"apps/a.yaml": site.config_map("a", value="${UNSET}", other="${SET}")})
    site.follow()
    site.kustomization("apps", postBuild={"substitute": {"SET": "x"}})
    outcome = site.wait(commit)
    tells(outcome, "BuildFailed", "UNSET", "postBuild.substitute")
    assert outcome.seconds < 8


def test_a_kind_that_is_not_there_yet_is_told_after_the_grace(site: Site) -> None:
    commit = site.repository.push(
        {"apps/a.yaml": f"apiVersion: example.com/v1\nkind: Widget\nmetadata: {{name: w, namespace: {site.name}}}\n"}
    )
    site.follow()
    site.kustomization("apps")
    outcome = site.wait(commit)
    tells(outcome, "ReconciliationFailed", "no matches for kind", "CustomResourceDefinition", "dependsOn")
    assert outcome.seconds < 10


def test_a_never_ready_deployment_is_told_with_its_pod(site: Site) -> None:
    commit = site.repository.push({"apps/a.yaml": site.deployment("web", "example.com/app:missing")})
    site.follow()
    site.kustomization("apps", wait=True)
    # the controller's own health check takes 30 s at least, whatever its timeout says
    outcome = site.wait(commit, seconds=5)
    tells(outcome, "Kustomization", "Running health checks")
    tells(outcome, f"Deployment {site.name}/web", "0 of 1", "ImagePullBackOff")


def test_a_deployment_that_gave_up_is_told_at_once(site: Site) -> None:
    manifest = yaml.safe_load(site.deployment("web", "example.com/app:missing"))
    manifest["spec"]["progressDeadlineSeconds"] = 1
    commit = site.repository.push({"apps/a.yaml": yaml.safe_dump(manifest)})
    site.follow()
    site.kustomization("apps", wait=True)
    outcome = site.wait(commit)
    tells(outcome, "HealthCheckFailed", f"Deployment/{site.name}/web", "look at the named workload")
    tells(outcome, f"Deployment {site.name}/web", "ImagePullBackOff")
    assert outcome.seconds < 15


def test_a_cycle_is_told_with_the_way_around(site: Site) -> None:
    commit = site.repository.push({"a/a.yaml": site.config_map("a"), "b/b.yaml": site.config_map("b")})
    site.follow()
    site.kustomization("a", needs=("b",))
    site.kustomization("b", needs=("a",))
    outcome = site.wait(commit)
    tells(outcome, "dependsOn goes in a circle", f"{site.name}-a", "→", "Take one of the dependencies out")
    assert outcome.seconds < 8


def test_a_missing_dependency_is_told(site: Site) -> None:
    commit = site.repository.push({"a/a.yaml": site.config_map("a")})
    site.follow()
    site.kustomization("a", needs=("ghost",))
    outcome = site.wait(commit)
    tells(outcome, f"{site.name}-a", "waits for", f"{site.name}-ghost", "is not in the cluster")
    assert outcome.seconds < 8


def test_an_expression_that_is_not_true_is_named(site: Site) -> None:
    """The dependency is ready; what its dependent asks of it is another thing."""
    commit = site.repository.push({"a/a.yaml": site.config_map("a"), "b/b.yaml": site.config_map("b")})
    expression = "has(dep.metadata.labels) && dep.metadata.labels['release'] == 'done'"
    site.follow()
    site.kustomization("a")
    site.kustomization("b", dependsOn=[{"name": f"{site.name}-a", "readyExpr": expression}])
    site.ready(commit, objects=(site.ref("a"),))
    outcome = site.wait(commit, seconds=5)
    tells(outcome, f"{site.name}-b", "DependencyNotReady", expression)
    said = [f.sentence for f in diagnosis.diagnose(overview.load(site.session)) if f.named == site.ref("b")]
    assert len(said) == 1, said
    assert expression in said[0]
    site.patch(site.ref("a"), {"metadata": {"labels": {"release": "done"}}})
    site.ready(commit, seconds=60)


def test_suspended_is_told_at_once(site: Site) -> None:
    first = site.repository.push({"a/a.yaml": site.config_map("a")})
    site.follow()
    site.kustomization("a")
    site.ready(first)
    site.patch(site.ref("a"), {"spec": {"suspend": True}})
    outcome = site.wait(site.repository.push({"a/a.yaml": site.config_map("a", new="1")}))
    tells(outcome, f"{site.name}-a", "suspended at main@sha1:", "flux_suspend")
    assert outcome.seconds < 8
    site.patch(site.source, {"spec": {"suspend": True}})
    outcome = site.wait(site.repository.push({"a/a.yaml": site.config_map("a", new="2")}))
    tells(outcome, "GitRepository", "it is suspended")


def test_a_superseded_commit_is_accepted_where_that_is_proven(site: Site) -> None:
    site.repository.push({"a/a.yaml": site.config_map("a")})
    site.follow()
    site.kustomization("a")
    older = site.repository.push({"a/a.yaml": site.config_map("a", n="1")})
    newer = site.repository.push({"a/a.yaml": site.config_map("a", n="2")})
    outcome = site.ready(older, clone=site.repository.work)
    assert outcome.superseded.endswith(newer)
    tells(site.wait(older, clone=site.repository.work, superseded="fail"), "was superseded by", newer[:12])
    git(site.repository.work, "commit", "--quiet", "--allow-empty", "-m", "never pushed")
    lost = git(site.repository.work, "rev-parse", "HEAD")
    outcome = site.wait(lost, clone=site.repository.work)
    tells(outcome, lost[:12], "the commit was not pushed")
    assert outcome.seconds < 12


def test_a_failing_child_ends_the_wait_for_its_parent(site: Site) -> None:
    commit = site.repository.push(
        {"root/c.yaml": site.manifest("child", path="gone"), "root/m.yaml": site.config_map("m")}
    )
    site.follow()
    site.kustomization("root")
    outcome = site.wait(commit)
    tells(outcome, f"{site.name}-child", "ArtifactFailed", "check spec.path")
    fixed = site.repository.push(
        {"root/c.yaml": site.manifest("child", path="here"), "here/m.yaml": site.config_map("n")}
    )
    outcome = site.ready(fixed)


def test_the_api_server_may_go_away_during_a_wait(site: Site) -> None:
    first = site.repository.push({"a/a.yaml": site.config_map("a")})
    site.follow()
    site.kustomization("a")
    site.ready(first)
    commit = site.repository.push({"a/a.yaml": site.config_map("a", n="1")})
    site.server.close()  # so that there is something to wait for until the API server is back
    with site.plane.session() as looking, ThreadPoolExecutor(1) as pool:
        try:
            waiting = pool.submit(site.wait, commit, seconds=60, grace=60.0)
            site.plane.wait_for("the wait to see that the Git host is down", lambda: refused(looking, site))
            assert not waiting.done()
            site.plane.kill("kube-apiserver")
            time.sleep(2)
            assert not waiting.done()
            site.plane.start("kube-apiserver")  # here, because it dies with the thread that started it
        finally:
            site.server.open()
        outcome = waiting.result()
    assert outcome.ok, pretty(outcome)
    assert outcome.seconds > 2


def refused(session: Session, site: Site) -> bool:
    """Say whether the source was asked, and has found nobody at the Git host's address."""
    item = session.object(site.source) or {}
    said = " ".join(text(entry, "message") for entry in listed(item, "status", "conditions"))
    return "connection refused" in said


def test_no_flux_object_at_all_is_told(site: Site) -> None:
    outcome = site.wait("deadbeef", seconds=3)
    tells(outcome, f"GitRepository flux-system/{site.name}", "is not in the cluster")


def test_a_wrong_key_and_a_wrong_host_key_are_told_at_once(site: Site, sshd: Server) -> None:
    commit = site.repository.push({"apps/a.yaml": site.config_map("a")})
    make_key(site.directory / "stranger")
    make_key(site.directory / "other-host")
    known = sshd.known_hosts.read_text()
    other = known.split()[0] + " " + (site.directory / "other-host.pub").read_text()

    def follow(identity: Path, hosts: str) -> Outcome:
        text = {"identity": identity.read_text(), "known_hosts": hosts}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": site.name, "namespace": "flux-system"}}
        send(site.session, [{**secret, "stringData": text}])
        url = f"ssh://{sshd.target().user}@127.0.0.1:{sshd.port}{site.repository.bare}"
        site.follow(url=url, secretRef={"name": site.name})
        return site.wait(commit)

    outcome = follow(site.directory / "stranger", known)
    tells(outcome, "GitRepository", "unable to authenticate", "The deploy key")
    assert outcome.seconds < 10
    tells(follow(sshd.key_file, other), "GitRepository", "known_hosts of the source's Secret")
    outcome = follow(sshd.key_file, known)
    assert outcome.ok, pretty(outcome)


CHART = {
    "chart/Chart.yaml": "apiVersion: v2\nname: app\nversion: 1.0.0\n",
    "chart/values.yaml": "tag: '1'\n",
}


def test_a_release_that_was_rolled_back_is_not_ready(site: Site) -> None:
    template = site.deployment("web", "example.com/app:TAG").replace("TAG", "{{ .Values.tag }}")

    def release(tag: str) -> str:
        spec = {
            "interval": "1h",
            "timeout": "12s",
            "targetNamespace": site.name,
            "chart": {"spec": {"chart": "./chart", "sourceRef": {"kind": "GitRepository", "name": site.name}}},
            "values": {"tag": tag},
            "upgrade": {"remediation": {"remediateLastFailure": True}},
        }
        metadata = {"name": f"{site.name}-app", "namespace": "flux-system"}
        return yaml.safe_dump(
            {"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": metadata, "spec": spec}
        )

    files = {**CHART, "chart/templates/web.yaml": template.replace(f"  namespace: {site.name}\n", "")}
    good = site.repository.push({**files, "apps/app.yaml": release("1")})
    site.follow()
    site.kustomization("apps")
    outcome = site.ready(good, seconds=40)
    assert site.ref("app", "HelmRelease") in outcome.found.verdicts
    outcome = site.wait(site.repository.push({"apps/app.yaml": release("missing")}), seconds=60)
    tells(outcome, "HelmRelease", "RollbackSucceeded", "what runs is not what was wanted", "flux_reconcile with reset")


def test_a_release_whose_charts_cannot_be_fetched_names_their_server(site: Site) -> None:
    def flux(kind: str, group: str, spec: dict[str, object]) -> str:
        metadata = {"name": f"{site.name}-app", "namespace": "flux-system"}
        return yaml.safe_dump({"apiVersion": group, "kind": kind, "metadata": metadata, "spec": spec})

    source = {"kind": "HelmRepository", "name": f"{site.name}-app"}
    files = {
        "apps/charts.yaml": flux(
            "HelmRepository", "source.toolkit.fluxcd.io/v1", {"interval": "1h", "url": "http://127.0.0.1:1/charts"}
        ),
        "apps/app.yaml": flux(
            "HelmRelease",
            "helm.toolkit.fluxcd.io/v2",
            {"interval": "1h", "chart": {"spec": {"chart": "app", "sourceRef": source}}},
        ),
    }
    commit = site.repository.push(files)
    site.follow()
    site.kustomization("apps")
    outcome = site.wait(commit, seconds=40)
    tells(
        outcome, f"HelmRelease flux-system/{site.name}-app", "HelmRepository", "connection refused", "does not answer"
    )
    assert outcome.seconds < 30
