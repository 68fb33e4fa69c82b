# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster runs, and is the one that was asked for."""

from __future__ import annotations

import json
import stat

import yaml

from tests.integration.cluster.lab import ROOT, Lab, not_ready, not_running, until

VERSION = yaml.safe_load((ROOT / "inventories/sandbox/group_vars/all.yml").read_text())["stagecraft_sandbox_kubernetes"]


def test_nodes_run_the_declared_version(lab: Lab) -> None:
    found = {node["metadata"]["name"]: node["status"]["nodeInfo"]["kubeletVersion"] for node in lab.objects("nodes")}
    assert found == dict.fromkeys(lab.nodes, f"v{VERSION}")
    assert not not_ready(lab)


def test_api_servers_run_the_declared_version(lab: Lab) -> None:
    for host in lab.control_planes:
        assert (
            json.loads(lab.kubectl("version", "-o", "json", via=host))["serverVersion"]["gitVersion"] == f"v{VERSION}"
        )


def test_all_pods_run(lab: Lab) -> None:
    until("all pods of kube-system run", 60, lambda: not not_running(lab, "-n", "kube-system"))
    names = {pod["metadata"]["name"].rsplit("-", 1)[0] for pod in lab.objects("pods", "-n", "kube-system")}
    for part in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd", "kube-proxy"):
        assert any(name.startswith(part) for name in names), f"no pod of {part} among {names}"


def test_kubelet_is_the_one_of_the_store(lab: Lab) -> None:
    for host in lab.nodes:
        for program in ("kubelet", "containerd"):
            target = lab.ssh(host, f"readlink -f /proc/$(cat /sys/fs/cgroup/systemd/system.slice/{program}.service/cgroup.procs"
                             f" /sys/fs/cgroup/system.slice/{program}.service/cgroup.procs 2>/dev/null | head -1)/exe").strip()  # fmt: skip
            assert target.startswith(f"/opt/stagecraft/{program}/"), f"{host}: {program} is {target}"


def test_units_are_enabled(lab: Lab) -> None:
    """What is not enabled is gone after the first reboot."""
    for host in lab.nodes:
        assert lab.ssh(host, "systemctl is-enabled kubelet containerd", check=False).split() == ["enabled", "enabled"]
        assert "0 loaded units" in lab.ssh(host, "systemctl --failed --no-pager")


def test_kubeconfig_is_the_admins_alone(lab: Lab) -> None:
    assert stat.S_IMODE(lab.kubeconfig.stat().st_mode) == 0o600
    document = yaml.safe_load(lab.kubeconfig.read_text())
    assert [context["name"] for context in document["contexts"]] == [lab.context]


def test_second_run_changes_nothing(lab: Lab) -> None:
    """Also in check mode; and check mode asks the API for nothing but dry runs."""
    before = writes_of_the_admin(lab)
    lab.setup("--check").must_not_change()
    made = [entry for audit_id, entry in writes_of_the_admin(lab).items() if audit_id not in before]
    assert not [entry for entry in made if "dryRun=All" not in entry["requestURI"]]


def writes_of_the_admin(lab: Lab) -> dict[str, dict[str, str]]:
    """The changes that an administrator made, out of the audit logs of all control planes, by their audit ID."""
    lines = [
        line
        for host in lab.control_planes
        for line in lab.read(host, "/var/log/kubernetes/audit/audit.log").splitlines()
    ]
    entries = [json.loads(line) for line in lines if b'"kubeadm:cluster-admins"' in line]
    verbs = ("create", "update", "patch", "delete", "deletecollection")
    return {entry["auditID"]: entry for entry in entries if entry["verb"] in verbs}
