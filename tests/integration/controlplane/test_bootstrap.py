# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flux_bootstrap against a real API server and the real controllers, from nothing to nothing."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.integration.controlplane import control_plane
from tests.integration.controlplane.control_plane import Missing
from tests.integration.controlplane.git_server import GitServer
from tests.integration.controlplane.world import NAMESPACE, VERSION, World, archive
from tests.programs import lacking

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    try:
        archive()
        control_plane.find_program("source-controller")
        plane = control_plane.up(flux=False)
    except Missing as missing:
        lacking(str(missing))
    server = GitServer(tmp_path / "git")
    made = World(plane, server, tmp_path)
    yield made
    made.close()
    server.close()


def test_from_nothing_to_nothing(world: World) -> None:
    told = world.bootstrap("--check", "--diff")
    assert (told["changed"], told["state"]) == (True, "absent")
    assert world.commits() == []
    assert world.get(DEFINITIONS)["items"] == []

    done = world.bootstrap()
    assert done["changed"], done["msg"]
    assert done["steps"] == told["steps"]
    world.follows(done["commit"])
    assert world.head() == done["commit"]
    for arguments in ([], ["--check"]):
        again = world.bootstrap(*arguments)
        assert (again["changed"], again["steps"], again["state"]) == (False, [], "bootstrapped"), again
    assert world.commits() == [f"chore(staging): add Flux v{VERSION}"]

    other = {"url": f"{world.server.url}/infra/environments.git", "path": "clusters/production"}
    for way in ({}, {"state": "absent"}, {"state": "absent", "takeover": True}):
        refused = world.bootstrap(environment="production", repository=other, **way)
        assert refused["failed"]
        assert "this cluster is another environment's: it follows" in refused["msg"]
    moved = {"url": f"{world.server.url}/infra/moved.git", "path": "clusters/staging"}
    world.server.create("infra/moved.git")
    for wanted in ("present", "absent"):
        refused = world.bootstrap(repository=moved, state=wanted)
        assert "somebody bootstrapped Flux here from another repository or branch" in refused["msg"]
    world.follows(done["commit"])

    gone = world.bootstrap(state="absent")
    assert gone["changed"], gone["msg"]
    assert world.get(DEFINITIONS)["items"] == []
    assert world.get(f"/api/v1/namespaces/{NAMESPACE}") is None
    assert world.bootstrap(state="absent")["changed"] is False


LEAVING_OUT = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [gotk-components.yaml, gotk-sync.yaml]
patches:
  - patch: |
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: notification-controller, namespace: flux-system}
      $patch: delete
"""


def test_what_the_repository_deletes_by_a_patch_goes_and_is_not_missed(world: World) -> None:
    world.push(f"clusters/staging/{NAMESPACE}/kustomization.yaml", LEAVING_OUT)
    done = world.bootstrap()
    assert not done.get("failed"), done["msg"]
    world.follows(done["commit"])
    home = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
    names = {item["metadata"]["name"] for item in world.get(home)["items"]}
    assert names == {"source-controller", "kustomize-controller", "helm-controller"}
    again = world.bootstrap()
    assert (again["changed"], again["steps"]) == (False, []), again


def test_a_component_goes_only_when_nothing_of_its_kinds_is_there(world: World) -> None:
    done = world.bootstrap()
    assert not done.get("failed"), done["msg"]
    smaller = {"components": ["source-controller", "kustomize-controller", "notification-controller"]}
    place = f"/apis/helm.toolkit.fluxcd.io/v2/namespaces/{NAMESPACE}/helmreleases"
    source = {"kind": "OCIRepository", "name": "charts"}
    release = {
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": {"name": "web"},
        "spec": {"interval": "1h", "suspend": True, "chartRef": source},
    }
    with world.plane.session() as session:
        session.call(lambda api: api.request("POST", place, body=release))
    for arguments in (["--check"], []):
        refused = world.bootstrap(*arguments, **smaller)
        assert refused["failed"]
        assert f"and with it HelmRelease {NAMESPACE}/web. Delete these by a commit first" in refused["msg"]
    assert world.commits() == [f"chore(staging): add Flux v{VERSION}"]
    with world.plane.session() as session:
        body = {"metadata": {"finalizers": None}}
        kind = "application/merge-patch+json"
        session.call(lambda api: api.request("PATCH", f"{place}/web", body=body, content_type=kind))
        session.call(lambda api: api.request("DELETE", f"{place}/web"))
    done = world.bootstrap(**smaller)
    assert not done.get("failed"), done["msg"]
    world.follows(done["commit"])
    assert world.get(f"{DEFINITIONS}/helmreleases.helm.toolkit.fluxcd.io") is None
    assert world.bootstrap(**smaller)["changed"] is False


BUCKETS = "buckets.source.toolkit.fluxcd.io"


def older(directory: Path, version: str, stored: str = "") -> Path:
    """The same manifests under an older version's name.

    With `stored` their Buckets are served as v1beta1 too, and stored in the version of that name.
    """
    target = directory / f"manifests-{version}.tar.gz"
    with tarfile.open(archive()) as source, tarfile.open(target, "w:gz") as written:
        for member in source.getmembers():
            stream = source.extractfile(member)
            assert stream is not None
            path = directory / member.name
            text = stream.read().replace(f"v{VERSION}".encode(), f"v{version}".encode())
            path.write_bytes(with_old_buckets(text, stored) if stored and b"kind: Bucket" in text else text)
            written.add(path, member.name)
    return target


def with_old_buckets(manifests: bytes, stored: str) -> bytes:
    items = list(yaml.load_all(manifests, Loader=yaml.CSafeLoader))
    buckets = next(item for item in items if item["metadata"]["name"] == BUCKETS)
    (newest,) = buckets["spec"]["versions"]
    both = [{**newest, "name": name, "storage": name == stored} for name in ("v1", "v1beta1")]
    buckets["spec"]["versions"] = both
    return yaml.dump_all(items, Dumper=yaml.CSafeDumper, encoding="utf-8", width=4096)


def test_what_is_stored_in_a_version_that_goes_is_stored_again_first(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(version="2.8.8", manifests=str(older(tmp_path, "2.8.8", "v1beta1")))
    assert not first.get("failed"), first["msg"]
    place = f"/apis/source.toolkit.fluxcd.io/v1beta1/namespaces/{NAMESPACE}/buckets"
    spec = {"bucketName": "b", "endpoint": "example.com", "interval": "1h", "suspend": True}
    bucket = {
        "apiVersion": "source.toolkit.fluxcd.io/v1beta1",
        "kind": "Bucket",
        "metadata": {"name": "old"},
        "spec": spec,
    }
    with world.plane.session() as session:
        session.call(lambda api: api.request("POST", place, body=bucket))
    for arguments in (["--check"], []):
        refused = world.bootstrap(*arguments)
        assert refused["failed"]
        assert f"{BUCKETS} stores v1beta1, which Flux v{VERSION} does not have" in refused["msg"]
    assert len(world.commits()) == 1

    second = world.bootstrap(version="2.8.9", manifests=str(older(tmp_path, "2.8.9", "v1")))
    assert not second.get("failed"), second["msg"]
    assert world.get(f"{DEFINITIONS}/{BUCKETS}")["status"]["storedVersions"] == ["v1beta1", "v1"]
    done = world.bootstrap()
    assert not done.get("failed"), done["msg"]
    world.follows(done["commit"])
    definition = world.get(f"{DEFINITIONS}/{BUCKETS}")
    assert [version["name"] for version in definition["spec"]["versions"]] == ["v1"]
    assert definition["status"]["storedVersions"] == ["v1"]
    assert world.get(f"{place.replace('v1beta1', 'v1')}/old")["spec"]["bucketName"] == "b"
    assert world.bootstrap()["changed"] is False


def test_an_upgrade_is_one_commit_and_flux_does_the_rest(world: World, tmp_path: Path) -> None:
    first = world.bootstrap(version="2.8.9", manifests=str(older(tmp_path, "2.8.9")))
    assert first["changed"], first["msg"]
    told = world.bootstrap("--check")
    assert told["steps"][0] == {"action": "upgrade", "target": "Flux", "before": "v2.8.9", "after": f"v{VERSION}"}
    done = world.bootstrap()
    assert done["steps"] == told["steps"]
    world.follows(done["commit"])
    assert world.commits() == [f"chore(staging): update Flux v{VERSION}", "chore(staging): add Flux v2.8.9"]
    labels = world.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/source-controller")["metadata"]["labels"]
    assert labels["app.kubernetes.io/version"] == f"v{VERSION}"
    assert world.bootstrap()["changed"] is False


def test_a_push_by_somebody_else_during_the_set_up_is_waited_for_too(world: World) -> None:
    process = world.start(world.command())
    deadline = time.monotonic() + 60
    while not world.commits() and time.monotonic() < deadline:
        time.sleep(0.05)
    theirs = world.push(
        "clusters/staging/theirs.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: theirs, namespace: default}\n",
    )
    done = world.result(process)
    assert not done.get("failed"), done["msg"]
    assert done["commit"] in (theirs, world.parent(theirs))
    assert world.bootstrap()["commit"] == theirs
    world.follows(theirs)


def test_two_at_once_end_in_one_flux(world: World) -> None:
    both = [world.start(world.command(name)) for name in ("one", "two")]
    results = [world.result(process) for process in both]
    assert [result.get("msg", "") for result in results if result.get("failed")] == []
    world.follows(world.head())
    assert world.commits() == [f"chore(staging): add Flux v{VERSION}"]
    assert world.bootstrap()["changed"] is False


@pytest.mark.parametrize("number", range(3))
def test_killed_at_any_moment_the_next_run_finishes(world: World, number: int) -> None:
    chance = random.Random(os.environ.get("STAGECRAFT_TEST_SEED", "") + str(number))
    process = world.start(world.command())
    time.sleep(chance.uniform(1.0, 7.0))
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    done = world.bootstrap()
    assert not done.get("failed"), done["msg"]
    world.follows(world.head())
    assert world.bootstrap()["changed"] is False
    assert world.commits() == [f"chore(staging): add Flux v{VERSION}"]
