# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shipped catalogue is sound, and resolving says exactly what is known or what to write instead."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import (
    CATALOGUE_FILE,
    ImageReference,
    kubernetes_images,
    load_catalogue,
    mirror_path,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import CatalogueError, UnknownArtifact
from hypothesis import given
from hypothesis import strategies as st

CATALOGUE = load_catalogue()
RAW: dict[str, Any] = yaml.safe_load(CATALOGUE_FILE.read_text(encoding="utf-8"))
EVERY = [
    CATALOGUE.resolve(name, version, arch)
    for name in CATALOGUE.names()
    for version in CATALOGUE.versions(name)
    for arch in CATALOGUE.architectures
]


def test_every_artefact_has_all_that_is_needed_to_check_it() -> None:
    for entry in EVERY:
        assert entry.licence, entry
        assert entry.source, entry
        if entry.kind == "image":
            assert entry.reference
            assert entry.sha256 is None, "an archive's digest cannot be known before it is made"
        else:
            assert entry.sha256 or entry.checksum_url, entry


def test_mirror_paths_and_hashes_are_unique() -> None:
    by_architecture = [entry for entry in EVERY if entry.name != "flux-manifests"]  # YAML: one file for all of them
    assert len({entry.path for entry in by_architecture}) == len(by_architecture)
    hashes = [entry.sha256 for entry in EVERY if entry.sha256]
    assert len(set(hashes)) == len(hashes), "a hash that stands twice was copied into the wrong line"


def test_hashes_are_those_of_the_published_files() -> None:
    # Samples written down from the list the catalogue was made from, so that a slip in editing is seen.
    assert CATALOGUE.resolve("kubelet", "1.36.3", "amd64").sha256 == (
        "46707a53209f826ad0f0d62371ac69cd00e78fd9a8176cf5f6f87f18f7f8b718"
    )
    assert CATALOGUE.resolve("containerd", "2.3.4", "arm64").sha256 == (
        "a985fbb7e18fc0362d31a055338f5d7b0e087a3e27f14c70d1c5965399a29f95"
    )
    assert CATALOGUE.resolve("minikube", "1.38.1", "arm64").sha256 == (
        "a0b8a1ebfc8c07a247271d8df98ac0ddd7c8c855b601d402463e2e50c08c6bab"
    )


@pytest.mark.parametrize(
    ("name", "version", "arch", "url"),
    [
        ("kubelet", "1.36.3", "amd64", "https://dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubelet"),
        ("runc", "1.4.3", "arm64", "https://github.com/opencontainers/runc/releases/download/v1.4.3/runc.arm64"),
        ("k3s", "v1.37.0+k3s1", "amd64", "https://github.com/k3s-io/k3s/releases/download/v1.37.0+k3s1/k3s"),
        ("k3s", "v1.37.0+k3s1", "arm64", "https://github.com/k3s-io/k3s/releases/download/v1.37.0+k3s1/k3s-arm64"),
        (
            "cni-plugins",
            "1.9.1",
            "amd64",
            "https://github.com/containernetworking/plugins/releases/download/v1.9.1/cni-plugins-linux-amd64-v1.9.1.tgz",
        ),
    ],
)
def test_urls_are_upstreams(name: str, version: str, arch: str, url: str) -> None:
    entry = CATALOGUE.resolve(name, version, arch)
    assert entry.url == url
    assert entry.path == url.removeprefix("https://")


def test_a_flux_release_is_its_manifests_and_four_images() -> None:
    assert [entry.reference for entry in CATALOGUE.flux_images("v2.9.4")] == [
        "ghcr.io/fluxcd/source-controller:v1.9.4",
        "ghcr.io/fluxcd/kustomize-controller:v1.9.4",
        "ghcr.io/fluxcd/helm-controller:v1.6.3",
        "ghcr.io/fluxcd/notification-controller:v1.9.3",
    ]
    with pytest.raises(UnknownArtifact, match=r"flux-manifests: version '2.0.0' is not in the catalogue; it has 2.9.4"):
        CATALOGUE.flux_images("2.0.0")


@pytest.mark.parametrize(
    ("distribution", "release"), [("kubeadm", "1.36.3"), ("k3s", "v1.36.2+k3s1"), ("minikube", "1.36.3")]
)
def test_flux_is_part_of_an_environment_only_where_it_is_asked_for(distribution: str, release: str) -> None:
    plain = {entry.name for entry in CATALOGUE.environment(distribution, release)}
    flux = {entry.name for entry in CATALOGUE.environment(distribution, release, options={"gitops": "flux"})}
    assert flux - plain == {
        "flux-manifests",
        *(entry.name for entry in CATALOGUE.flux_images(CATALOGUE.default_version("flux-manifests"))),
    }


def test_k3s_is_checked_by_the_exact_file_name() -> None:
    entry = CATALOGUE.resolve("k3s", None, "arm64")
    assert entry.sha256 is None
    assert entry.checksum_url == "https://github.com/k3s-io/k3s/releases/download/v1.37.0+k3s1/sha256sum-arm64.txt"
    assert entry.checksum_name == "k3s-arm64"


def test_version_may_be_written_with_or_without_v() -> None:
    assert CATALOGUE.resolve("kubelet", "v1.36.3", "x86_64") == CATALOGUE.resolve("kubelet", "1.36.3", "amd64")
    assert CATALOGUE.resolve("k3s", "1.37.0+k3s1", "aarch64").version == "v1.37.0+k3s1"
    assert CATALOGUE.resolve("coredns", "v1.14.2", "amd64").reference == "registry.k8s.io/coredns/coredns:v1.14.2"


@pytest.mark.parametrize(
    ("release", "etcd", "coredns", "pause"),
    [
        ("1.36.3", "3.6.8-0", "v1.14.2", "3.10.2"),
        ("1.36.4", "3.6.8-0", "v1.14.2", "3.10.2"),
        ("v1.35.8", "3.6.6-0", "v1.13.1", "3.10.1"),
        ("1.34.10", "3.6.5-0", "v1.12.1", "3.10.1"),
    ],
)
def test_images_are_those_that_kubeadm_names(release: str, etcd: str, coredns: str, pause: str) -> None:
    tag = "v" + release.removeprefix("v")
    assert [entry.reference for entry in kubernetes_images(release)] == [
        f"registry.k8s.io/kube-apiserver:{tag}",
        f"registry.k8s.io/kube-controller-manager:{tag}",
        f"registry.k8s.io/kube-scheduler:{tag}",
        f"registry.k8s.io/kube-proxy:{tag}",
        f"registry.k8s.io/etcd:{etcd}",
        f"registry.k8s.io/coredns/coredns:{coredns}",
        f"registry.k8s.io/pause:{pause}",
    ]


def test_image_archives_lie_under_their_registry() -> None:
    assert kubernetes_images("1.36.3", "arm64")[0].path == "registry.k8s.io/kube-apiserver/v1.36.3/arm64.oci.tar"
    assert CATALOGUE.resolve("busybox", None, "amd64").path == "docker.io/library/busybox/1.35.0/amd64.oci.tar"


def test_images_are_found_by_reference() -> None:
    for entry in EVERY:
        if entry.kind == "image":
            assert CATALOGUE.resolve_image(entry.reference, entry.arch) == entry
    with pytest.raises(UnknownArtifact, match=r"did you mean registry\.k8s\.io/pause:3\.10\.2"):
        CATALOGUE.resolve_image("registry.k8s.io/pause:3.10.3", "amd64")


@pytest.mark.parametrize(
    ("name", "version", "arch", "message"),
    [
        ("kubelt", "1.36.3", "amd64", r"did you mean kubelet"),
        ("kubelet", "1.36.99", "amd64", r"version '1\.36\.99' is not in the catalogue; it has 1\.36\.4, 1\.36\.3"),
        ("kubelet", "1.36.3", "s390x", r"architecture 's390x'; there are those for amd64, arm64"),
    ],
)
def test_unknown_things_name_what_there_is(name: str, version: str, arch: str, message: str) -> None:
    with pytest.raises(UnknownArtifact, match=message):
        CATALOGUE.resolve(name, version, arch)


def test_an_environment_is_complete_and_follows_its_kubernetes_version() -> None:
    keys = {entry.key for entry in CATALOGUE.environment("kubeadm", "1.35.8", ["amd64"], {"cni": "flannel"})}
    assert {
        "kubelet/1.35.8/amd64",
        "kubeadm/1.35.8/amd64",
        "kubectl/1.35.8/amd64",
        "crictl/1.36.0/amd64",
        "containerd/2.3.4/amd64",
        "runc/1.4.3/amd64",
        "cni-plugins/1.9.1/amd64",
        "kube-apiserver/1.35.8/amd64",
        "etcd-image/3.6.6-0/amd64",
        "flannel/0.28.4/amd64",
        "kube-router/2.11.1/amd64",
    } <= keys
    assert not any(key.startswith(("busybox/", "helm/", "etcd/")) for key in keys)


def test_options_choose_and_overrides_win() -> None:
    options = {"cni": "bridge", "network_policy": "none", "checks": "present"}
    entries = CATALOGUE.environment("kubeadm", None, ["amd64", "arm64"], options, {"containerd": "2.3.3"})
    names = {entry.name for entry in entries}
    assert "busybox" in names
    assert not names & {"flannel", "kube-router"}
    assert {entry.key for entry in entries if entry.name == "containerd"} == {
        "containerd/2.3.3/amd64",
        "containerd/2.3.3/arm64",
    }
    assert len(entries) == len({entry.key for entry in entries})


def test_an_environments_problems_come_all_at_once() -> None:
    with pytest.raises(UnknownArtifact) as caught:
        CATALOGUE.environment("kubeadm", "1.33.1", ["amd64"], {"cnu": "flannel", "cni": "flanel"}, {"containerdd": "2"})
    for part in ("did you mean cni?", "did you mean flannel?", "did you mean containerd?", "1.33.1"):
        assert part in str(caught.value)


@pytest.mark.parametrize("distribution", list(RAW["sets"]))
def test_every_option_of_every_set_resolves(distribution: str) -> None:
    for option, values in RAW["sets"][distribution]["options"].items():
        for value in values:
            assert CATALOGUE.environment(distribution, None, CATALOGUE.architectures, {option: value})


@given(st.text(min_size=1, max_size=30), st.text(max_size=30), st.text(max_size=10))
def test_any_question_gets_an_entry_or_an_unknown(name: str, version: str, arch: str) -> None:
    with pytest.raises(UnknownArtifact):
        CATALOGUE.resolve(name, version, arch)


@pytest.mark.parametrize("bad", ["busybox", "busybox:1", "library/busybox:1", "docker.io/busybox", "docker.io/:1", ""])
def test_short_image_names_are_refused(bad: str) -> None:
    with pytest.raises(UnknownArtifact):
        ImageReference.parse(bad)


def test_references_with_a_port_are_understood() -> None:
    reference = ImageReference.parse("127.0.0.1:5000/a/b:v1")
    assert dataclasses.astuple(reference) == ("127.0.0.1:5000", "a/b", "v1")


def test_percent_signs_are_decoded_in_mirror_paths() -> None:
    assert mirror_path("https://github.com/k3s/v1%2Bk3s1/k3s") == "github.com/k3s/v1+k3s1/k3s"


def _broken(tmp_path: Path, **changes: Any) -> Path:
    data = yaml.safe_load(CATALOGUE_FILE.read_text(encoding="utf-8"))
    for dotted, value in changes.items():
        where = data
        *parents, last = dotted.split("__")
        for parent in parents:
            where = where[parent]
        where[last] = value
    file = tmp_path / "catalogue.yml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    return file


def test_everything_wrong_with_a_catalogue_is_said_at_once(tmp_path: Path) -> None:
    file = _broken(
        tmp_path,
        artifacts__runc__versions={"1.4.3": {"amd64": "abc", "arm64": None}},
        artifacts__helm__source="hearsay",
        artifacts__crictl__default="9.9.9",
        images__pause__versions={"3.10.2": "sha256:12"},
    )
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(file)
    for part in (
        "'abc' is not a sha256",
        "source 'hearsay'",
        "default '9.9.9'",
        "is not a digest",
        "1.35: pause 3.10.1",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "schema: 2", "schema: 1", "a: [", "schema: 1\nartifacts: 3"])
def test_what_is_no_catalogue_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "catalogue.yml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogueError, match=re.escape(str(file))):
        load_catalogue(file)


def test_minikube_brings_a_whole_node_only_where_the_machine_is_the_node() -> None:
    for driver in ("docker", "podman", "kvm2", "ssh"):
        plain = {entry.name for entry in CATALOGUE.environment("minikube", "1.36.3", options={"driver": driver})}
        assert plain == {"minikube", "kubectl"}, "what no role would use is not bundled"
    bare = {entry.key for entry in CATALOGUE.environment("minikube", "1.35.8", options={"driver": "none"})}
    assert {"kubelet/1.35.8/amd64", "etcd-image/3.6.6-0/amd64", "minikube/1.38.1/amd64"} <= bare
    assert not {key for key in bare if key.startswith("minikube-storage-provisioner/")}
    volumes = CATALOGUE.environment("minikube", "1.36.3", options={"driver": "none", "addons": "storage-provisioner"})
    assert "gcr.io/k8s-minikube/storage-provisioner:v5" in {entry.reference for entry in volumes}


def test_the_guide_names_the_releases_of_flux_that_there_are() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "operator.md").read_text(encoding="utf-8")
    assert f"The catalogue of this one has Flux {', '.join(CATALOGUE.versions('flux-manifests'))};" in guide
