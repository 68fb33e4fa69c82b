# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written to a cluster, and in which order, against an API server from a dictionary."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import bootstrap, cluster, deploy_key, state
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import objects
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError

from tests.unit.flux import test_bootstrap
from tests.unit.flux.test_bootstrap import COMMIT, HOSTS, WANTED

CRDS = state.CRDS
SOURCES = "/apis/source.toolkit.fluxcd.io/v1/gitrepositories"


class FakeApi:
    """Objects by path; lists are what lies one level below. Remembers what was asked of it, in order."""

    def __init__(self, objects: dict[str, Any]) -> None:
        self.objects = copy.deepcopy(objects)
        self.asked: list[tuple[str, str]] = []
        self.conflicts: dict[str, int] = {}

    def get(self, path: str, **query: str) -> Any:
        if path not in self.objects:
            raise ApiError(f"GET {path}: 404", 404)
        return copy.deepcopy(self.objects[path])

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        return [copy.deepcopy(item) for name, item in self.objects.items() if name.rpartition("/")[0] == path]

    def request(self, method: str, path: str, *, body: Any = None, **more: Any) -> Any:
        self.asked.append((method, path))
        if method == "DELETE":
            if path not in self.objects:
                raise ApiError("404", 404)
            for name in [name for name in self.objects if name == path or name.startswith(f"{path}/")]:
                del self.objects[name]
        elif method == "POST":
            name = f"{path}/{body['metadata']['name']}"
            if name in self.objects:
                raise ApiError("409", 409)
            self.objects[name] = body
        elif method == "PUT" and self.conflicts.get(path, 0):
            self.conflicts[path] -= 1
            raise ApiError("409", 409)
        elif method == "PUT":
            self.objects[path] = body
        elif (more.get("content_type") or "").startswith("application/merge") and path in self.objects:
            for key, value in body.items():
                self.objects[path].setdefault(key, {}).update(value)
        return body


def definition(name: str, plural: str, *stored: str, versions: tuple[str, ...] = ("v1",)) -> dict[str, Any]:
    return {
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": name.partition(".")[2],
            "names": {"plural": plural},
            "versions": [{"name": version, "storage": version == "v1"} for version in versions],
        },
        "status": {"storedVersions": list(stored)},
    }


NAME = "gitrepositories.source.toolkit.fluxcd.io"
OLD = definition(NAME, "gitrepositories", "v1beta2", "v1", versions=("v1beta2", "v1"))
NEW = definition(NAME, "gitrepositories")


def hush(_: str) -> None:
    """Say nothing."""


@pytest.mark.parametrize(
    ("present", "wanted", "found"),
    [
        ([OLD], [NEW], [NAME]),
        ([NEW], [NEW], []),
        ([definition(NAME, "x", "v1")], [NEW], []),
        ([OLD], [OLD], []),
        ([OLD], [], []),
    ],
)
def test_objects_are_migrated_only_where_their_version_goes(present: Any, wanted: Any, found: list[str]) -> None:
    assert cluster.to_migrate(present, wanted) == found


BETA = definition(NAME, "gitrepositories", "v1beta2", versions=("v1beta2",))
BETA["spec"]["versions"][0]["storage"] = True


def test_an_upgrade_over_a_release_too_many_is_refused() -> None:
    cluster.check_migration([OLD, NEW], [NEW])
    cluster.check_migration([BETA], [])
    with pytest.raises(
        FluxError, match=f"{NAME} stores v1beta2, which Flux .* does not have\nUpgrade to a release in between"
    ):
        cluster.check_migration([NEW, BETA], [NEW])


RELEASES = "helmreleases.helm.toolkit.fluxcd.io"


def with_releases(*names: str, pruned: bool = True) -> tuple[FakeApi, dict[str, Any]]:
    """A cluster with HelmReleases, and a root Kustomization that has their definition in its inventory."""
    crd = definition(RELEASES, "helmreleases", "v1")
    crd["metadata"]["labels"] = {"app.kubernetes.io/component": "helm-controller"}
    crd["spec"]["names"]["kind"] = "HelmRelease"
    place = "/apis/helm.toolkit.fluxcd.io/v1/helmreleases"
    items = {f"{place}/{name}": {"metadata": {"namespace": "shop", "name": name}} for name in names}
    entries = [{"id": f"_{RELEASES}_apiextensions.k8s.io_CustomResourceDefinition", "v": "v1"}] if pruned else []
    root = {"metadata": {"name": "flux-system"}, "status": {"inventory": {"entries": entries}}}
    return FakeApi({f"{CRDS}/{RELEASES}": crd, **items}), root


def test_a_component_whose_kinds_are_in_use_is_not_taken_out() -> None:
    api, root = with_releases(*(f"web-{n}" for n in range(7)))
    with pytest.raises(
        FluxError,
        match=rf"without helm-controller {RELEASES} would go, and with it HelmRelease shop/web-0, .* and 2 more\. Delete "
        "these by a commit first, or leave helm-controller in flux_components",
    ):
        cluster.check_removal(cluster.Cluster(api), [NEW], root)  # type: ignore[arg-type]
    cluster.check_removal(cluster.Cluster(api), [NEW, definition(RELEASES, "x")], root)  # type: ignore[arg-type]
    cluster.check_removal(cluster.Cluster(api), [NEW], None)  # type: ignore[arg-type]
    # without objects nothing is lost; and what Flux did not apply it does not prune
    for harmless, by in (with_releases(), with_releases("web", pruned=False)):
        cluster.check_removal(cluster.Cluster(harmless), [NEW], by)  # type: ignore[arg-type]


def place(namespace: str, name: str) -> str:
    return f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{namespace}/gitrepositories/{name}"


class TestMigration:
    def api(self) -> FakeApi:
        item = {"metadata": {"namespace": "a", "name": "one"}}
        return FakeApi({f"{CRDS}/{NAME}": OLD, f"{SOURCES}/one": item, place("a", "one"): item})

    def test_every_object_is_written_back_and_then_the_definition_is_told(self) -> None:
        api = self.api()
        cluster.migrate(cluster.Cluster(api), [NEW], hush)  # type: ignore[arg-type]
        assert api.asked == [("PUT", place("a", "one")), ("PATCH", f"{CRDS}/{NAME}/status")]

    def test_one_that_changed_meanwhile_is_read_again_and_one_that_went_is_left(self) -> None:
        api = self.api()
        api.conflicts[place("a", "one")] = 2
        cluster.migrate(cluster.Cluster(api), [NEW], hush)  # type: ignore[arg-type]
        assert [method for method, _ in api.asked] == ["PUT", "PUT", "PUT", "PATCH"]
        del api.objects[place("a", "one")]
        cluster.migrate(cluster.Cluster(api), [NEW], hush)  # type: ignore[arg-type]

    def test_one_that_never_holds_still_is_named(self) -> None:
        api = self.api()
        api.conflicts[place("a", "one")] = 9
        with pytest.raises(FluxError, match="gitrepositories/one: somebody changes it all the time"):
            cluster.migrate(cluster.Cluster(api), [NEW], hush)  # type: ignore[arg-type]


def installed() -> FakeApi:
    home = "/api/v1/namespaces/flux-system"
    finalized = {
        "metadata": {"namespace": "flux-system", "name": "flux-system", "finalizers": ["finalizers.fluxcd.io"]}
    }
    return FakeApi(
        {
            home: {"status": {}},
            "/apis/apps/v1/namespaces/flux-system/deployments/source-controller": {
                "metadata": {"name": "source-controller"}
            },
            f"{CRDS}/{NAME}": NEW,
            f"{SOURCES}/flux-system": finalized,
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/crd-controller-flux-system": {
                "metadata": {"name": "crd-controller-flux-system"}
            },
            "/api/v1/namespaces/applications": {"status": {}},
        }
    )


def test_flux_goes_in_the_order_that_does_not_hang() -> None:
    api = installed()
    cluster.uninstall(cluster.Cluster(api), "flux-system", 1, hush)  # type: ignore[arg-type]
    assert [path.rpartition("/")[2] if method == "DELETE" else method for method, path in api.asked] == [
        "source-controller",
        "PATCH",
        NAME,
        "crd-controller-flux-system",
        "flux-system",
    ]
    assert "/api/v1/namespaces/applications" in api.objects
    again = len(api.asked)
    cluster.uninstall(cluster.Cluster(api), "flux-system", 1, hush)  # type: ignore[arg-type]
    assert api.asked[again:] == [("DELETE", "/api/v1/namespaces/flux-system")]


def test_a_controller_that_does_not_end_is_named_before_anything_else_goes() -> None:
    api = installed()
    api.objects["/api/v1/namespaces/flux-system/pods/x"] = {"metadata": {"name": "source-controller-x"}}
    with pytest.raises(FluxError, match=r"wanted the controllers' pods to go, .*: source-controller-x"):
        cluster.uninstall(cluster.Cluster(api), "flux-system", 0.01, hush)  # type: ignore[arg-type]
    assert f"{CRDS}/{NAME}" in api.objects


SECRETS = "/api/v1/namespaces/flux-system/secrets"


def prepare(api: FakeApi, **chosen: bool) -> str:
    plan = bootstrap.Plan("absent", (), **chosen)
    return bootstrap.Bootstrap(api, WANTED, hush).prepare(plan)  # type: ignore[arg-type]


def test_a_key_that_somebody_made_in_the_same_moment_is_taken() -> None:
    theirs = deploy_key.secret("flux-system", "flux-system", deploy_key.generate("theirs"), HOSTS)
    api = FakeApi({f"{SECRETS}/flux-system": theirs})
    assert prepare(api, make_key=True).endswith(" theirs")
    assert api.objects[f"{SECRETS}/flux-system"] == theirs


def test_a_secret_without_a_key_is_replaced_with_all_that_it_held() -> None:
    api = FakeApi({f"{SECRETS}/flux-system": {"metadata": {"resourceVersion": "7"}, "data": {"password": "eA=="}}})
    assert prepare(api, make_key=True).endswith(" flux-staging")
    stored = api.objects[f"{SECRETS}/flux-system"]
    assert set(stored["data"]) == {"identity", "identity.pub", "known_hosts"}
    assert stored["metadata"]["resourceVersion"] == "7"


def test_everything_is_applied_in_order_and_handed_over() -> None:
    api = FakeApi({f"{SECRETS}/flux-system": deploy_key.secret("a", "b", deploy_key.generate("c"), HOSTS)})
    prepare(api, install=True)
    applied = [path for method, path in api.asked if method == "PATCH"]
    assert applied[0] == "/api/v1/namespaces/flux-system"
    assert applied[-1] == "/apis/apps/v1/namespaces/flux-system/deployments/notification-controller"
    assert len(applied) == len(WANTED.components)
    api.objects[state.sync_path("flux-system")] = rooted(*WANTED.components, *WANTED.follow)
    bootstrap.Bootstrap(api, WANTED, hush).release()  # type: ignore[arg-type]
    assert len(api.asked) == 2 * len(WANTED.components) + len(WANTED.follow)
    # by which the next run sees whether it is finished
    assert api.asked[-1] == ("PATCH", f"{CRDS}/{NAME}")


def rooted(*applied: Any) -> dict[str, Any]:
    """The root Kustomization when it has applied these."""
    refs = [objects.ref(item) for item in applied]
    entries = [{"id": f"{r.namespace}_{r.name}_{r.group}_{r.kind}", "v": "v1"} for r in refs]
    return {**test_bootstrap.root(), "status": {**test_bootstrap.root()["status"], "inventory": {"entries": entries}}}


class Strict(FakeApi):
    """An API server that refuses an applied Deployment without its selector, as the real one does of a new object."""

    def request(self, method: str, path: str, *, body: Any = None, **more: Any) -> Any:
        if method == "PATCH" and "/deployments/" in path and "spec" not in body and path not in self.objects:
            raise ApiError("Deployment.apps is invalid: spec.selector: Required value", 422)
        return super().request(method, path, body=body, **more)


DEPLOYMENTS = "/apis/apps/v1/namespaces/flux-system/deployments"


@pytest.mark.parametrize("there", [True, False])
def test_what_the_repository_leaves_out_by_a_patch_is_taken_away(there: bool) -> None:
    mine = {"metadata": {"name": "x", "managedFields": [{"manager": "stagecraft.gitops"}]}}
    theirs = {"metadata": {"name": "x", "managedFields": [{"manager": "somebody"}]}}
    out = f"{DEPLOYMENTS}/notification-controller"
    account = "/api/v1/namespaces/flux-system/serviceaccounts/source-controller"
    kept = [item for item in WANTED.components if cluster.path_of(item) not in (out, account)]
    assert len(kept) == len(WANTED.components) - 2
    bare = [item for item in kept if item["kind"] not in ("Namespace", "CustomResourceDefinition")]
    others: dict[str, Any] = {cluster.path_of(item): {} for item in kept if item["kind"] == "Deployment"}
    api = Strict({**others, account: theirs, **({out: mine} if there else {})})
    for root in (rooted(*kept, *WANTED.follow), rooted(*bare)):
        api.objects[state.sync_path("flux-system")] = root
        bootstrap.Bootstrap(api, WANTED, hush).release()  # type: ignore[arg-type]
    assert [path for method, path in api.asked if method == "DELETE"] == ([out] if there else [])
    assert out not in api.objects
    assert account in api.objects


def test_a_repository_that_does_not_bring_flux_itself_takes_nothing_away() -> None:
    """Somebody else's Kustomization may apply the controllers, and without them nothing comes any more."""
    mine = {"metadata": {"name": "x", "managedFields": [{"manager": "stagecraft.gitops"}]}}
    api = Strict({cluster.path_of(item): dict(mine) for item in WANTED.components})
    api.objects[state.sync_path("flux-system")] = rooted(*WANTED.follow)
    before = dict(api.objects)
    with pytest.raises(FluxError, match="does not apply source-controller and kustomize-controller"):
        bootstrap.Bootstrap(api, WANTED, hush).release()  # type: ignore[arg-type]
    assert api.objects == before
    assert {method for method, _path in api.asked} <= {"GET"}


def test_what_the_repository_leaves_out_is_neither_installed_nor_missed() -> None:
    items = [item for item in WANTED.components if item["metadata"]["name"] != "notification-controller"]
    running = tuple(d for d in test_bootstrap.HOLDS.deployments if d["metadata"]["name"] != "notification-controller")
    seen = replace(test_bootstrap.HOLDS, deployments=running, sync=rooted(*items))
    assert bootstrap.plan(seen, WANTED, {}).steps == ()
    assert bootstrap.judge(seen, WANTED, COMMIT, "").problems == ()
    lost = replace(seen, sync=rooted(*WANTED.components))
    assert bootstrap.plan(lost, WANTED, {}).install
    assert bootstrap.judge(lost, WANTED, COMMIT, "").problems == ("Deployment notification-controller is not there",)


def test_a_kind_that_is_never_served_is_named() -> None:
    api = FakeApi({"/apis/source.toolkit.fluxcd.io/v1": {"resources": []}})
    with pytest.raises(FluxError, match=r"does not serve GitRepository source\.toolkit\.fluxcd\.io/v1"):
        cluster.Cluster(api).wait_for_kind(WANTED.follow[0], 0)  # type: ignore[arg-type]


def test_who_waits_in_vain_is_told_what_does_not_hold() -> None:
    api = FakeApi({"/version": {"gitVersion": "v1.36.3"}})
    with pytest.raises(FluxError, match=r"after 0 s:\n- Deployment source-controller is not there\n"):
        bootstrap.Bootstrap(api, WANTED, hush).verify(COMMIT, 0.0, str, new_key=False)  # type: ignore[arg-type]


NEWER = "b" * 40


class Controllers(FakeApi):
    """Flux that runs and fetches `at`, and applies it once it was asked."""

    def __init__(self, at: str) -> None:
        home = "/apis/apps/v1/namespaces/flux-system/deployments"
        names = [item["metadata"]["name"] for item in WANTED.components if item["kind"] == "Deployment"]
        super().__init__(
            {
                "/version": {"gitVersion": "v1.36.3"},
                "/api/v1/namespaces/flux-system": {"status": {"phase": "Active"}},
                f"{CRDS}/{NAME}": NEW,
                **{f"{home}/{name}": test_bootstrap.deployment(name) for name in names},
                state.source_path("flux-system"): test_bootstrap.source("main@sha1:0"),
                state.sync_path("flux-system"): test_bootstrap.root(applied="main@sha1:0"),
            }
        )
        self.at = at

    def request(self, method: str, path: str, *, body: Any = None, **more: Any) -> Any:
        if path in (state.source_path("flux-system"), state.sync_path("flux-system")):
            asked = body["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"]
            self.objects[state.source_path("flux-system")] = test_bootstrap.source(
                f"main@sha1:{self.at}", lastHandledReconcileAt=asked
            )
            self.objects[state.sync_path("flux-system")] = test_bootstrap.root(applied=f"main@sha1:{self.at}")
            return body
        return super().request(method, path, body=body, **more)


def test_a_commit_that_somebody_pushed_on_top_of_ours_is_waited_for_instead() -> None:
    told: list[str] = []
    work = bootstrap.Bootstrap(Controllers(NEWER), WANTED, told.append)  # type: ignore[arg-type]
    verified = work.verify(COMMIT, 5.0, {COMMIT: NEWER, NEWER: NEWER}.get, new_key=False)
    assert verified.commit == NEWER
    assert any(f"waiting for commit {NEWER} instead of {COMMIT}" in line for line in told)


def test_a_commit_that_does_not_come_after_ours_is_not_taken_for_it() -> None:
    work = bootstrap.Bootstrap(Controllers(NEWER), WANTED, hush)  # type: ignore[arg-type]
    with pytest.raises(FluxError, match=f"has main@sha1:{NEWER}, wanted commit {COMMIT}"):
        work.verify(COMMIT, 0.5, lambda _: None, new_key=False)


class Restarting(Controllers):
    """Flux whose Git host does not answer the first `silent` times that it is asked."""

    def __init__(self, silent: int) -> None:
        super().__init__(COMMIT)
        self.silent = silent

    def request(self, method: str, path: str, *, body: Any = None, **more: Any) -> Any:
        answer = super().request(method, path, body=body, **more)
        self.silent -= path == state.source_path("flux-system")
        if self.silent >= 0:
            asked = body["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"]
            refused = test_bootstrap.ready("False", "GitOperationFailed", "dial tcp: connect: connection refused")
            self.objects[state.source_path("flux-system")] = test_bootstrap.source(
                "main@sha1:0", conditions=[refused], lastHandledReconcileAt=asked
            )
            self.objects[state.sync_path("flux-system")] = test_bootstrap.root(applied="main@sha1:0")
        return answer


def test_a_git_host_that_restarts_meanwhile_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_ASK_AGAIN", 0.5)
    work = bootstrap.Bootstrap(Restarting(3), WANTED, hush)  # type: ignore[arg-type]
    assert work.verify(COMMIT, 20.0, lambda _: None, new_key=False).commit == COMMIT


def test_a_git_host_that_stays_away_is_told_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_GRACE", 1.0)
    start = time.monotonic()
    work = bootstrap.Bootstrap(Restarting(1000), WANTED, hush)  # type: ignore[arg-type]
    with pytest.raises(FluxError, match=r"connection refused.*\. The Git host does not answer from within the cluster"):
        work.verify(COMMIT, 60.0, lambda _: None, new_key=False)
    assert 1.0 <= time.monotonic() - start < 10.0
