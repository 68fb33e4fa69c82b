# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster that setup-staging.yml made: ready, closed, and left alone by the next run."""

from __future__ import annotations

import json

from tests.integration.cluster.lab import until
from tests.integration.k3s.lab import DATA, NEW, K3sLab


def test_every_node_is_ready_in_the_version_that_runs(lab: K3sLab) -> None:
    assert lab.versions() == dict.fromkeys(lab.nodes, NEW)
    assert {host: lab.running(host) for host in lab.nodes} == dict.fromkeys(lab.nodes, NEW)


def test_pods_reach_each_other_and_the_api_by_name(lab: K3sLab) -> None:
    image = lab.ssh(lab.nodes[0], "k3s ctr images ls -q name~=busybox").split()[0]
    for host in lab.nodes:
        name = f"probe-{host}"
        place = json.dumps({"spec": {"nodeName": host}})
        run = ("run", name, f"--image={image}", "--restart=Never", f"--overrides={place}")
        lab.kubectl(*run, "--command", "--", "sleep", "600")
        lab.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s", timeout=90)
    try:
        addresses = {
            host: lab.kubectl("get", "pod", f"probe-{host}", "-o", "jsonpath={.status.podIP}") for host in lab.nodes
        }
        for host in lab.nodes:
            for other in addresses.values():
                lab.kubectl("exec", f"probe-{host}", "--", "ping", "-c1", "-W2", other)

            def found(pod: str = f"probe-{host}") -> bool:
                look = ("exec", pod, "--", "nslookup", "kubernetes.default.svc.cluster.local")
                return "10.43.0.1" in lab.kubectl(*look, check=False)

            until(f"names are found on {host}", 30, found)
    finally:
        lab.kubectl("delete", "pod", *(f"probe-{host}" for host in lab.nodes), "--now", timeout=120)


def test_an_agent_holds_nothing_that_opens_a_server(lab: K3sLab) -> None:
    server = lab.ssh(lab.control_planes[0], f"cat {DATA}/server/token").strip().rpartition(":")[2]
    for host in lab.group("workers"):
        assert server not in lab.ssh(host, "cat /etc/rancher/k3s/token /etc/rancher/k3s/config.yaml")
        assert lab.ssh(host, "stat -c %a /etc/rancher/k3s/token").strip() == "600"


def test_no_secret_is_on_a_command_line_or_in_a_unit(lab: K3sLab) -> None:
    secrets = lab.tokens()
    assert len(secrets) >= 3
    for host in lab.nodes:
        seen = lab.ssh(host, "cat /proc/[0-9]*/cmdline /etc/systemd/system/k3s* 2>/dev/null | tr '\\0' ' '")
        assert not [path for secret, path in secrets.items() if secret in seen]


def test_the_next_run_changes_and_shows_nothing(lab: K3sLab) -> None:
    before = {host: lab.pids(host) for host in lab.nodes}
    run = lab.setup("-vvv", "--diff")
    run.must_not_change()
    assert {host: lab.pids(host) for host in lab.nodes} == before
    assert not [path for secret, path in lab.tokens().items() if secret in run.output]
    lab.setup("--check").must_not_change()


def test_a_lost_kubeconfig_comes_back(lab: K3sLab) -> None:
    lab.kubeconfig.unlink()
    assert set(lab.setup().must_work().changed) == {lab.nodes[0]}
    assert lab.versions()
