# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a release's manifests to an installation: everything by its name, nothing by its place."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import manifests
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError

from tests.unit.flux.release import RELEASE


def build(**changes: Any) -> list[dict[str, Any]]:
    return manifests.build(RELEASE, manifests.Installation(version="v2.9.4", **changes))


def named(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name)


def container(objects: list[dict[str, Any]], name: str) -> dict[str, Any]:
    found: dict[str, Any] = named(objects, "Deployment", name)["spec"]["template"]["spec"]["containers"][0]
    return found


def test_objects_come_in_the_order_in_which_they_can_be_applied() -> None:
    kinds = [item["kind"] for item in build()]
    assert kinds[0] == "Namespace"
    assert kinds.index("CustomResourceDefinition") < kinds.index("ClusterRole") < kinds.index("ServiceAccount")
    assert kinds[-4:] == ["Deployment"] * 4


def test_everything_carries_the_release_and_its_place() -> None:
    for item in build(namespace="gitops"):
        labels = item["metadata"]["labels"]
        assert labels["app.kubernetes.io/version"] == "v2.9.4"
        assert labels["app.kubernetes.io/instance"] == "gitops"
        if item["kind"] == "Deployment":
            assert item["metadata"]["namespace"] == "gitops"
            assert item["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/version"] == "v2.9.4"
    assert "flux-system" not in yaml.safe_dump_all(build(namespace="gitops"))


def test_roles_are_renamed_with_what_binds_them_and_cluster_admin_is_not() -> None:
    objects = build(components=("source-controller", "kustomize-controller"))
    own = named(objects, "ClusterRoleBinding", "crd-controller-flux-system")
    assert own["roleRef"]["name"] == "crd-controller-flux-system"
    assert [subject["name"] for subject in own["subjects"]] == ["kustomize-controller", "source-controller"]
    assert named(objects, "ClusterRoleBinding", "cluster-reconciler-flux-system")["roleRef"]["name"] == "cluster-admin"


def test_arguments_are_replaced_by_name_and_others_stay() -> None:
    objects = build(cluster_domain="k8s.test", log_level="debug", concurrency=20)
    assert container(objects, "kustomize-controller")["args"] == [
        "--watch-all-namespaces=true",
        "--log-level=debug",
        "--events-addr=http://notification-controller.$(RUNTIME_NAMESPACE).svc.k8s.test./",
        "--concurrent=20",
        "--requeue-dependency=5s",
        "--feature-gates=CancelHealthCheckOnNewRevision=true",
        "--enable-leader-election",
    ]
    assert (
        "--storage-adv-addr=source-controller.$(RUNTIME_NAMESPACE).svc.k8s.test."
        in container(objects, "source-controller")["args"]
    )


def test_nobody_listens_for_events_without_their_controller() -> None:
    objects = build(components=("source-controller", "kustomize-controller"))
    assert "--events-addr=" in container(objects, "source-controller")["args"]


def test_images_come_from_the_registry_and_scratch_space_is_memory() -> None:
    objects = build(
        registry="registry.internal/flux", scratch="1Gi", image_pull_secret="pull", tolerations=("dedicated",)
    )
    assert container(objects, "helm-controller")["image"] == "registry.internal/flux/helm-controller:v1.6.3"
    spec = named(objects, "Deployment", "kustomize-controller")["spec"]["template"]["spec"]
    assert spec["volumes"] == [{"name": "temp", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}]
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["tolerations"] == [{"key": "dedicated", "operator": "Exists"}]
    other = named(objects, "Deployment", "source-controller")["spec"]["template"]["spec"]
    assert other["volumes"] == [{"name": "temp", "emptyDir": {}}]


def test_network_policies_can_be_left_out() -> None:
    assert any(item["kind"] == "NetworkPolicy" for item in build())
    assert not any(item["kind"] == "NetworkPolicy" for item in build(network_policy=False))


def test_the_same_installation_is_the_same_text() -> None:
    assert manifests.to_yaml(build(), "x") == manifests.to_yaml(build(), "x")
    assert list(yaml.safe_load_all(manifests.to_yaml(build(), "x"))) == build()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"components": ("source-controller",)}, "component kustomize-controller is missing"),
        (
            {"components": (*manifests.REQUIRED, "helm", "notify")},
            "unknown components helm, notify: there are source-controller",
        ),
        ({"concurrency": 0}, "concurrency is 0, wanted at least 1"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(FluxError, match=said):
        build(**changes)


def test_a_release_without_a_component_says_which_it_has() -> None:
    release = {name: text for name, text in RELEASE.items() if name != "helm-controller.yaml"}
    with pytest.raises(FluxError, match=r"lack helm-controller\.yaml; they have kustomize-controller\.yaml, "):
        manifests.build(release, manifests.Installation(version="v2.9.4"))


@pytest.mark.parametrize(("count", "workers"), [(0, 4), (20, 4), (21, 8), (100, 8), (101, 20)])
def test_workers_follow_the_size_of_the_repository(count: int, workers: int) -> None:
    assert manifests.concurrency_for(count) == workers


MEBI = 1 << 20


@pytest.mark.parametrize(
    ("workers", "size", "scratch"),
    [(4, 0, "256Mi"), (4, 62 * MEBI, "256Mi"), (4, 63 * MEBI, "512Mi"), (20, 100 * MEBI, "2048Mi")],
)
def test_scratch_space_holds_the_repository_once_for_each_worker(workers: int, size: int, scratch: str) -> None:
    assert manifests.scratch_for(workers, size) == scratch


@pytest.mark.parametrize(
    ("scratch", "limit"), [("256Mi", "1Gi"), ("128Mi", "1Gi"), ("2048Mi", "2816Mi"), ("1Gi", "1792Mi"), ("1G", "1Gi")]
)
def test_what_lies_in_memory_has_room_there(scratch: str, limit: str) -> None:
    name = "kustomize-controller"
    limited = RELEASE[f"{name}.yaml"].replace(
        "        - name: manager\n", "        - name: manager\n          resources: {limits: {memory: 1Gi}}\n"
    )
    wanted = manifests.Installation(version="v2.9.4", scratch=scratch)
    objects = manifests.build({**RELEASE, f"{name}.yaml": limited}, wanted)
    assert container(objects, name)["resources"]["limits"]["memory"] == limit


def test_the_release_asset_is_read(tmp_path: Path) -> None:
    archive = tmp_path / "manifests.tar.gz"
    with tarfile.open(archive, "w:gz") as written:
        for name, text in RELEASE.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(text.encode())
            written.addfile(info, io.BytesIO(text.encode()))
    assert manifests.read_release(archive) == RELEASE
    archive.write_text("<html>")
    with pytest.raises(FluxError, match=r"wanted Flux's manifests\.tar\.gz, found something else"):
        manifests.read_release(archive)
