# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of a running cluster change host by host; what is wrong is refused before anything is touched."""

from __future__ import annotations

import json

from tests.integration.cluster.lab import until
from tests.integration.k3s.lab import DATA, NEW, OLD, K3sLab


def test_a_setting_of_the_agents_restarts_them_alone(lab: K3sLab) -> None:
    server, agents = lab.pid("s1"), lab.pid("a1")
    run = lab.setup("-e", json.dumps({"k3s_agent_config": {"node-external-ip": ["192.0.2.99"]}}))
    run.must_work()
    assert lab.pid("s1") == server
    assert lab.pid("a1") != agents
    lab.setup().must_work()


def test_mirrors_of_registries_reach_containerd(lab: K3sLab) -> None:
    mirrors = {"mirrors": {"docker.io": {"endpoint": ["https://mirror.example.com"]}}}
    lab.setup("-e", json.dumps({"k3s_registries": mirrors})).must_work()
    for host in lab.nodes:
        hosts = "/var/lib/rancher/k3s/agent/etc/containerd/certs.d/docker.io/hosts.toml"
        assert "https://mirror.example.com" in lab.ssh(host, f"cat {hosts}")
        assert lab.ssh(host, "stat -c %a /etc/rancher/k3s/registries.yaml").strip() == "600"
    lab.setup().must_work()
    assert "absent" in lab.ssh("s1", "test -e /etc/rancher/k3s/registries.yaml || echo absent")


def test_a_name_in_the_certificate(lab: K3sLab) -> None:
    names = json.dumps({"k3s_certificate_sans": ["k3s.example.com"]})
    assert "s1" in lab.setup("-e", names).must_work().changed
    shown = lab.ssh(
        "s1", "echo | openssl s_client -connect 127.0.0.1:6443 2>/dev/null | openssl x509 -noout -ext subjectAltName"
    )
    assert "k3s.example.com" in shown
    lab.setup("-e", names).must_not_change()
    lab.setup().must_work()


def test_an_agent_that_was_stopped_is_started_again(lab: K3sLab) -> None:
    lab.ssh("a1", "systemctl stop k3s-agent")
    assert set(lab.setup().must_work().changed) == {"a1"}
    until("the agent is ready", 60, lambda: "NotReady" not in lab.kubectl("get", "nodes"))


def test_misspelt_settings_are_refused_before_anything_is_touched(lab: K3sLab) -> None:
    before = {host: lab.pids(host) for host in lab.nodes}
    run = lab.setup("-e", json.dumps({"k3s_config": {"tls_san": ["x"], "cluster-init": True}}))
    assert run.rc != 0
    assert "Did you mean tls-san" in " ".join(run.output.split())
    assert "set k3s_datastore" in " ".join(run.output.split()).lower()
    assert not run.changed
    assert {host: lab.pids(host) for host in lab.nodes} == before


def test_an_older_version_is_refused_with_the_way_back(lab: K3sLab) -> None:
    run = lab.setup("-e", json.dumps({"stagecraft_kubernetes_version": OLD}))
    assert run.rc != 0
    assert f"runs K3s {NEW}, and {OLD} is declared" in " ".join(run.output.split())
    assert "k3s_restore_snapshot" in run.output
    assert not run.changed


def test_another_token_is_refused(lab: K3sLab) -> None:
    file = lab.state / "token"
    file.write_text("another\n")
    run = lab.setup("-e", json.dumps({"k3s_token_file": str(file)}))
    assert run.rc != 0
    assert "made with another token" in " ".join(run.output.split())
    assert not run.changed


def test_a_half_written_configuration_is_put_right(lab: K3sLab) -> None:
    lab.ssh(
        "s1",
        "head -c 40 /etc/rancher/k3s/config.yaml > /tmp/half; cat /tmp/half > /etc/rancher/k3s/config.yaml; systemctl kill -s KILL k3s",
    )
    assert "s1" in lab.setup().must_work().changed
    lab.setup().must_not_change()


def test_a_damaged_archive_of_images_is_replaced(lab: K3sLab) -> None:
    link = "/var/lib/rancher/k3s/agent/images/k3s-airgap-images-amd64.tar.zst"
    lab.ssh("a1", f"printf broken > $(readlink -f {link})")
    assert set(lab.setup().must_work().changed) == {"a1"}
    lab.setup().must_not_change()


def test_sqlite_becomes_etcd(lab: K3sLab) -> None:
    """The first step from one server to three. What K3s has kept so far goes with it, Secrets too; the agent stays as it is."""
    assert lab.ssh("s1", f"ls {DATA}/server/db/state.db")
    lab.kubectl("create", "secret", "generic", "moved", "--from-literal=word=kept")
    agent = lab.pids("a1")
    assert set(lab.setup("-e", json.dumps({"k3s_datastore": "etcd"})).must_work().changed) == {"s1"}
    assert lab.voters("s1") == {"s1"}
    assert lab.kubectl("get", "secret", "moved", "-o", "jsonpath={.data.word}") == "a2VwdA=="
    assert lab.ssh("s1", f"ls {DATA}/server/db/state.db 2>/dev/null; true") == ""
    assert lab.pids("a1") == agent
    lab.kubectl("delete", "secret", "moved")
    # what a cluster has is what it keeps, also where nothing is said
    lab.setup().must_not_change()
