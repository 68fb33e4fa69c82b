# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""reset.yml leaves a bare host, on which the next set-up works."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cluster.guard import Guard, watched
from tests.integration.cluster.lab import cache, until
from tests.integration.k3s.lab import DATA, SETUP, K3sLab

RESET = "playbooks/reset.yml"
TOKEN = "a-token-of-the-admin-s-own"
ENDPOINT = "http://127.0.0.1:12379"


@pytest.fixture
def outside(lab: K3sLab) -> dict[str, Any]:
    """A datastore outside of the cluster, and the token that opens what K3s keeps in it."""
    token = lab.state / "token-of-the-cluster"
    token.write_text(TOKEN + "\n")
    return {"k3s_datastore_endpoint": ENDPOINT, "k3s_token_file": str(token)}


@pytest.fixture(scope="module")
def guard(lab: K3sLab) -> Iterator[Guard]:
    """Looks on while the cluster is taken away and made again, by an admin who has something to keep to himself."""
    with watched(lab, lab.nodes) as (directory, watch):
        yield Guard(lab, directory, watch)


def etcd() -> bytes:
    """The program from the mirror."""
    archives = sorted(
        (cache() / "mirror/github.com/etcd-io/etcd/releases/download").glob("*/etcd-*-linux-amd64.tar.gz")
    )
    with tarfile.open(fileobj=io.BytesIO(Path(archives[-1]).read_bytes())) as archive:
        (name,) = [one for one in archive.getnames() if one.endswith("/etcd")]
        program = archive.extractfile(name)
        assert program
        return program.read()


def test_one_agent_leaves_and_the_cluster_forgets_it(lab: K3sLab) -> None:
    lab.playbook(RESET, "-e", f"reset_environment={lab.context}", "--limit", "a1").must_work()
    assert set(lab.versions()) == {"s1"}
    lab.setup().must_work()
    assert set(lab.versions()) == {"s1", "a1"}


def test_all_hosts_are_bare_again(lab: K3sLab, guard: Guard) -> None:
    guard.learn(lab.tokens())
    guard.learn_kubeconfig()
    guard.playbook(RESET, reset_environment=lab.context, k3s_registries=registries(guard.canary)).must_work()
    for host in lab.nodes:
        assert not {"k3s", "containerd", "containerd-shim-runc-v2", "etcd"} & set(lab.processes(host))
        left = lab.ssh(
            host,
            "ls -d /etc/rancher /var/lib/rancher/k3s /etc/systemd/system/k3s* /usr/local/bin/k3s 2>/dev/null; true",
        )
        assert not left
        assert "KUBE-" not in lab.ssh(host, "iptables-save")
        links = lab.ssh(host, "ip -br link")
        assert "cni0" not in links
        assert "flannel" not in links
    lab.playbook(RESET, "-e", f"reset_environment={lab.context}").must_not_change()


def test_another_ingress_is_told_before_anything_is_changed(lab: K3sLab) -> None:
    """Also where the environment's marker is there already: a first run was cut short right after it."""
    marker = json.dumps({"environment": lab.context})
    lab.ssh("s1", "mkdir -p /var/lib/stagecraft && cat > /var/lib/stagecraft/cluster.json", stdin=marker.encode())
    lab.ssh("s1", "systemd-run --unit=ingress python3 -m http.server 80")
    try:
        until("it listens", 20, lambda: ":80 " in lab.ssh("s1", "ss -Hltn"))
        run = lab.setup()
    finally:
        lab.ssh("s1", "systemctl stop ingress; rm /var/lib/stagecraft/cluster.json")
    assert run.rc != 0
    assert "TCP port 80 free" in " ".join(run.output.split())
    assert not run.changed


def test_a_datastore_that_is_down_is_told(lab: K3sLab, outside: dict[str, Any]) -> None:
    run = lab.setup("-e", json.dumps({**outside, "k3s_timeout": 45}))
    assert run.rc != 0
    said = " ".join(run.output.split())
    assert "k3s.service" in said
    assert "datastore" in said
    assert TOKEN not in run.output


def registries(password: str) -> dict[str, Any]:
    """A login to a registry that nothing is pulled from."""
    return {"configs": {"registry.example.com": {"auth": {"username": "u", "password": password}}}}


def test_set_up_goes_on_where_it_ended_once_the_datastore_is_up(
    lab: K3sLab, guard: Guard, outside: dict[str, Any], tmp_path: Path
) -> None:
    lab.ssh("s1", "cat > /tmp/etcd && chmod 755 /tmp/etcd", stdin=etcd())
    lab.ssh(
        "s1",
        f"systemd-run --unit=outside /tmp/etcd --data-dir /var/lib/outside --listen-client-urls {ENDPOINT} "
        f"--advertise-client-urls {ENDPOINT} --listen-peer-urls http://127.0.0.1:12380",
    )
    guard.playbook("playbooks/sandbox-secrets.yml").must_work()
    guard.learn_vault(lab.directory / "secrets" / lab.context)
    secret = {
        "k3s_registries": registries(guard.canary),
        "k3s_environment": {"AWS_SECRET_ACCESS_KEY": guard.canary},
        "k3s_config": {"etcd-s3-secret-key": guard.canary},
        "sealed_secrets_directory": str(tmp_path),
    }
    guard.playbook(SETUP, **outside, **secret).must_work()
    until("the nodes are ready", 60, lambda: "NotReady" not in lab.kubectl("get", "nodes"))
    assert lab.ssh("s1", f"cat {DATA}/server/token").strip().endswith(f"::server:{TOKEN}")
    assert lab.ssh("s1", f"ls {DATA}/server/db/etcd {DATA}/server/db/state.db 2>/dev/null; true") == ""
    for file in ("registries.yaml", "config.yaml.d/50-stagecraft-secrets.yaml"):
        assert guard.canary in lab.ssh("s1", f"cat /etc/rancher/k3s/{file}")
    assert list(tmp_path.rglob("hello.yaml")), "no secret was sealed"
    guard.playbook(SETUP, **outside, **secret).must_not_change()


def test_nothing_secret_was_shown(lab: K3sLab, guard: Guard) -> None:
    """Neither what the cluster had, and what it has, nor what the inventory gives it."""
    guard.learn(lab.tokens())
    guard.learn({TOKEN: "token of the admin"})
    guard.learn_kubeconfig()
    guard.must_not_show()
