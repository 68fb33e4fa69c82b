# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role host asks of a host before anything is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.preflight import (
    HostFacts,
    Requirements,
    evaluate,
)

from .inventories import cluster
from .role import requirements

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("minimum", "host", "expected"),
    [
        ({}, "cp1", (2, 1700, 8000)),
        ({}, "worker1", (1, 900, 8000)),
        ({"memory_mb": 4096}, "cp1", (2, 4096, 8000)),
        ({"memory_mb": 4096}, "worker1", (1, 4096, 8000)),
        ({"cpus": "4", "disk_mb": 1}, "cp1", (4, 1700, 1)),
        ({"cpus": 8, "memory_mb": 4096, "disk_mb": 20000}, "worker1", (8, 4096, 20000)),
    ],
)
def test_sizes_that_are_not_set_keep_their_default(
    minimum: dict[str, object], host: str, expected: tuple[int, int, int], tmp_path: Path
) -> None:
    wanted = requirements(cluster(host_minimum=minimum), host, tmp_path)
    assert (wanted["minimum_cpus"], wanted["minimum_memory_mb"], wanted["minimum_disk_mb"]) == expected


@pytest.mark.parametrize(
    ("variables", "fits"),
    [({}, ["amd64"]), ({"artifacts_architectures": ["amd64", "arm64"]}, ["amd64", "arm64"])],
)
def test_only_the_architectures_that_artefacts_are_fetched_for_are_let_in(
    variables: dict[str, Any], fits: list[str], tmp_path: Path
) -> None:
    wanted = Requirements(architectures=tuple(requirements(cluster(**variables), "worker1", tmp_path)["architectures"]))
    found = {
        name: [str(p) for p in evaluate(HostFacts(architecture=name), wanted, "x").problems if p.code == "architecture"]
        for name in ("amd64", "arm64", "riscv64")
    }
    assert [name for name, told in found.items() if not told] == fits
    assert all("or add arm64 to artifacts_architectures" in text for text in found["arm64"])
    assert not any("artifacts_architectures" in text for text in found["riscv64"])


def test_the_preflight_knows_what_to_open_where_another_firewall_is_in_charge(tmp_path: Path) -> None:
    allow = [{"port": 443}, {"port": "8000-8010", "protocol": "udp", "from": "10.0.0.0/8"}]
    planes, nodes = "192.0.2.11, 192.0.2.12, 192.0.2.13", "192.0.2.11, 192.0.2.12, 192.0.2.13, 192.0.2.21, 192.0.2.22"
    everywhere = ["22/tcp (SSH)", f"10250/tcp (kubelet) from {nodes}"]
    own = [
        "443/tcp",
        "8000-8010/udp from 10.0.0.0/8",
        "everything from the interfaces cni0, flannel.1, kube-bridge (pods)",
    ]
    inventory = cluster(host_firewall_allow=allow)
    assert requirements(inventory, "cp1", tmp_path)["open_ports"] == [
        *everywhere,
        "6443/tcp (API server)",
        f"2379-2380/tcp (etcd) from {planes}",
        f"8472/udp (flannel VXLAN) from {nodes}",
        *own,
    ]
    assert requirements(inventory, "worker1", tmp_path)["open_ports"] == [
        *everywhere,
        f"8472/udp (flannel VXLAN) from {nodes}",
        *own,
    ]


def test_ports_that_must_be_free_are_those_that_the_node_listens_on(tmp_path: Path) -> None:
    assert requirements(cluster(), "cp1", tmp_path)["free_ports"] == ["10250", "6443", "2379-2380", "7443"]
    assert requirements(cluster(), "worker1", tmp_path)["free_ports"] == ["10250", "7443"]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (2, "kubeadm_kubelet_config: {failCgroupV1: false}")),
        ({"stagecraft_kubernetes_version": "1.35.8"}, (2, "kubeadm_kubelet_config: {failCgroupV1: false}")),
        ({"stagecraft_kubernetes_version": "1.34.9"}, (1, "kubeadm_kubelet_config: {failCgroupV1: false}")),
        ({"kubeadm_kubelet_config": {"failCgroupV1": False}}, (1, "")),
        ({"kubeadm_kubelet_config": {"failCgroupV1": True}}, (2, "kubeadm_kubelet_config: {failCgroupV1: false}")),
        (
            {"stagecraft_distribution": "k3s", "stagecraft_kubernetes_version": "v1.36.3+k3s1"},
            (2, 'k3s_kubelet_arguments: {fail-cgroupv1: "false"}'),
        ),
        (
            {"stagecraft_distribution": "k3s", "stagecraft_kubernetes_version": "v1.34.1+k3s1"},
            (1, 'k3s_kubelet_arguments: {fail-cgroupv1: "false"}'),
        ),
        ({"stagecraft_distribution": "k3s", "k3s_kubelet_arguments": {"fail-cgroupv1": "false"}}, (1, "")),
        ({"stagecraft_distribution": "minikube"}, (2, "minikube_extra_config: [kubelet.fail-cgroupv1=false]")),
        (
            {"stagecraft_distribution": "minikube", "minikube_extra_config": ["kubelet.fail-cgroupv1=false"]},
            (1, ""),
        ),
    ],
)
def test_control_groups_of_version_1_are_refused_unless_the_kubelet_takes_them(
    variables: dict[str, Any], expected: tuple[int, str], tmp_path: Path
) -> None:
    wanted = requirements(cluster(1, 0, **variables), "cp1", tmp_path)
    assert (wanted["minimum_cgroup_version"], wanted["cgroup_v1_setting"]) == expected
