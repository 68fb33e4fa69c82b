# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must stay secret does: in etcd, in the audit log, in the cluster."""

from __future__ import annotations

import base64
import json
import secrets

import pytest

from tests.integration.cluster.lab import Lab

AUDIT_LOG = "/var/log/kubernetes/audit/audit.log"
ETCDCTL = (
    "etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt"
    " --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt --key=/etc/kubernetes/pki/etcd/healthcheck-client.key"
)


@pytest.fixture(scope="module")
def canary(lab: Lab) -> str:
    """Value of a Secret that exists nowhere else; a ConfigMap of the same name holds an open one."""
    value = f"canary-{secrets.token_hex(16)}"
    lab.kubectl("delete", "secret,configmap", "canary", "--ignore-not-found")
    lab.kubectl("create", "secret", "generic", "canary", f"--from-literal=key={value}")
    lab.kubectl("create", "configmap", "canary", f"--from-literal=key=open-{value}")
    return value


def in_etcd(lab: Lab, key: str) -> str:
    host = lab.control_planes[0]
    words = ["exec", "-n", "kube-system", f"etcd-{host}", "--", *ETCDCTL.split(), "get", key, "--write-out=json"]
    entries = json.loads(lab.kubectl(*words)).get("kvs", [])
    assert entries, f"etcd has no {key}"
    return base64.b64decode(entries[0]["value"]).decode(errors="replace")


def test_secret_is_sealed_in_etcd(lab: Lab, canary: str) -> None:
    assert canary in in_etcd(lab, "/registry/configmaps/default/canary"), "the look into etcd sees nothing at all"
    stored = in_etcd(lab, "/registry/secrets/default/canary")
    assert canary not in stored
    assert stored.startswith("k8s:enc:secretbox:v1:")


def test_audit_log_tells_who_but_not_what(lab: Lab, canary: str) -> None:
    text = "".join(lab.read(host, AUDIT_LOG).decode() for host in lab.control_planes)
    entries = [json.loads(line) for line in text.splitlines()]
    created = [
        entry
        for entry in entries
        if entry["verb"] == "create"
        and entry.get("objectRef", {}).get("resource") == "secrets"
        and "canary" in json.dumps(entry)
    ]
    assert created, "the audit log does not know of the Secret that was made"
    assert created[-1]["user"]["username"] == "kubernetes-admin"
    assert canary not in text
    assert base64.b64encode(canary.encode()).decode() not in text
    assert "open-" + canary not in text, "the content of a ConfigMap was written down"


def test_audit_log_is_roots_alone(lab: Lab) -> None:
    for host in lab.control_planes:
        assert lab.ssh(host, f"stat -c '%a %U' {AUDIT_LOG}").strip() == "600 root"


def test_no_bootstrap_token_is_left(lab: Lab) -> None:
    tokens = [
        item["metadata"]["name"]
        for item in lab.objects("secrets", "-n", "kube-system")
        if item["type"] == "bootstrap.kubernetes.io/token"
    ]
    assert tokens == []


def test_keys_are_roots_alone(lab: Lab) -> None:
    """Private keys, credentials and what we wrote for kubeadm: nobody but root may read them."""
    kinds = "-name '*.key' -o -name '*.conf' ! -path '*/kubelet.conf.d/*' -o -path '*/stagecraft/*'"
    for host in lab.nodes:
        assert not lab.ssh(host, f"find /etc/kubernetes -type f \\( {kinds} \\) -perm /077"), host


def test_join_material_is_gone(lab: Lab) -> None:
    for host in lab.nodes:
        assert not lab.ssh(
            host,
            "ls /etc/kubernetes/stagecraft/join.yaml /etc/kubernetes/stagecraft/discovery.conf 2>/dev/null",
            check=False,
        )
