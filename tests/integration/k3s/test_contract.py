# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-in for K3s promises, asked of whatever is installed as k3s: a real one must pass, too.

What a real K3s does otherwise is marked: it only logs a configuration key that it does not know.
"""

from __future__ import annotations

import json
import shlex

import pytest

from tests.integration.cluster.lab import CommandFailedError, until
from tests.integration.k3s.lab import DATA, NEW, K3sLab

FETCH = """
import ssl, sys, urllib.request
context = ssl._create_unverified_context()
print(urllib.request.urlopen(sys.argv[1], context=context).read().decode())
"""
SERVER = "s1"
AGENT = "a1"


def test_it_says_its_version(lab: K3sLab) -> None:
    said = lab.ssh(SERVER, "k3s --version").splitlines()
    assert said[0].startswith(f"k3s version {NEW} (")
    assert said[1].startswith("go version go1.")


@pytest.mark.parametrize("verb", ["server", "agent"])
def test_an_unknown_flag_is_refused(lab: K3sLab, verb: str) -> None:
    said = lab.ssh(SERVER, f"k3s {verb} --no-such-flag=1 2>&1; echo rc=$?")
    assert "flag provided but not defined: -no-such-flag" in said
    assert "rc=0" not in said


def test_an_unknown_key_of_the_configuration_is_refused(lab: K3sLab) -> None:
    """A real K3s says `Unknown flag --no-such-key found in config.yaml, skipping` and goes on."""
    script = (
        "printf 'no-such-key: 1\\n' > /tmp/c.yaml; "
        "timeout 20 k3s server --config /tmp/c.yaml --data-dir /tmp/none 2>&1; echo rc=$?; rm -rf /tmp/none"
    )
    said = lab.ssh(SERVER, script)
    assert "no-such-key" in said
    if "stand-in" in lab.ssh(SERVER, "k3s --version"):
        assert "rc=1" in said


def test_units_are_up_and_told_systemd(lab: K3sLab) -> None:
    for host, unit in ((SERVER, "k3s"), (AGENT, "k3s-agent")):
        shown = lab.ssh(host, f"systemctl show -p Type,ActiveState,KillMode {unit}")
        assert "Type=notify" in shown
        assert "ActiveState=active" in shown
        assert "KillMode=process" in shown


def test_files_are_where_upstream_has_them_and_for_root_alone(lab: K3sLab) -> None:
    wanted = {
        "/etc/rancher/k3s/config.yaml": "600",
        "/etc/rancher/k3s/k3s.yaml": "600",
        f"{DATA}/server/token": "600",
        f"{DATA}/server/tls/server-ca.key": "600",
        f"{DATA}/server/cred/encryption-config.json": "600",
    }
    found = lab.ssh(SERVER, f"stat -c '%a %n' {' '.join(wanted)}")
    assert {path: mode for mode, path in (line.split(" ", 1) for line in found.splitlines())} == wanted
    for directory in ("server/manifests", "server/db", "agent/images", "agent/containerd", "data/current/bin"):
        lab.ssh(SERVER, f"test -d {DATA}/{directory}")
    lab.ssh(SERVER, "test -S /run/k3s/containerd/containerd.sock")


def test_ports(lab: K3sLab) -> None:
    heard = lab.ssh(SERVER, "ss -Hltn; ss -Hlun")
    for port in ("*:6443", "*:10250", "0.0.0.0:8472", "127.0.0.1:6444"):
        assert port in heard or port.replace("*", "0.0.0.0") in heard, port
    assert "127.0.0.1:6444" in lab.ssh(AGENT, "ss -Hltn")


def test_the_supervisor_answers_beside_the_api(lab: K3sLab) -> None:
    get = f"python3 -c {shlex.quote(FETCH)}"
    address = lab.hosts[SERVER]
    assert lab.ssh(AGENT, f"{get} https://{address}:6443/ping").strip() == "pong"
    authority = lab.ssh(AGENT, f"{get} https://{address}:6443/cacerts").strip()
    assert authority == lab.ssh(SERVER, f"cat {DATA}/server/tls/server-ca.crt").strip()
    with pytest.raises(CommandFailedError, match="401"):
        lab.ssh(AGENT, f"{get} https://{address}:6443/v1-k3s/config")


def test_nodes_carry_the_version_and_their_roles(lab: K3sLab) -> None:
    assert lab.versions() == {SERVER: NEW, AGENT: NEW}
    labels = {name: node["metadata"]["labels"] for name, node in lab.nodes_seen().items()}
    assert labels[SERVER]["node-role.kubernetes.io/control-plane"] == "true"
    assert "node-role.kubernetes.io/control-plane" not in labels[AGENT]


def test_the_tools_inside_talk_to_its_own_containerd(lab: K3sLab) -> None:
    assert "coredns" in lab.ssh(SERVER, "k3s crictl images 2>/dev/null")
    assert "mirrored-pause" in lab.ssh(SERVER, "k3s ctr images ls -q")
    assert "mirrored-pause" in lab.ssh(SERVER, "ctr images ls -q")
    assert lab.ssh(SERVER, "k3s kubectl get --raw=/readyz") == "ok"


def test_a_manifest_is_applied_and_its_change_too(lab: K3sLab) -> None:
    file = f"{DATA}/server/manifests/contract.yaml"
    look = ("get", "configmap", "contract", "-o", "jsonpath={.data.value}")
    for value in ("one", "two"):
        text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: contract, namespace: default}}\ndata: {{value: {value}}}\n"
        lab.ssh(SERVER, f"printf %s {shlex.quote(text)} > {file}")

        def applied(wanted: str = value) -> bool:
            return lab.kubectl(*look, check=False) == wanted

        until(f"value {value} is applied", 40, applied)
    lab.ssh(SERVER, f"rm {file}")


def test_secrets_are_encrypted(lab: K3sLab) -> None:
    """Asked of the bytes on the disk, where an object that is no Secret is found as it was written."""
    assert "Encryption Status: Enabled" in lab.ssh(SERVER, "k3s secrets-encrypt status")
    words = {"secret": "contract-word-in-a-secret", "configmap": "contract-word-in-a-configmap"}
    try:
        lab.kubectl("create", "secret", "generic", "contract", f"--from-literal=word={words['secret']}")
        lab.kubectl("create", "configmap", "contract-word", f"--from-literal=word={words['configmap']}")
        look = f"grep -rl {{}} {DATA}/server/db || true"
        assert lab.ssh(SERVER, look.format(words["configmap"]))
        assert not lab.ssh(SERVER, look.format(words["secret"]))
    finally:
        lab.kubectl("delete", "secret/contract", "configmap/contract-word", "--ignore-not-found")


def test_tokens_and_certificates(lab: K3sLab) -> None:
    made = lab.ssh(SERVER, "k3s token create --ttl 1m").strip()
    assert made.startswith("K10")
    listed = lab.ssh(SERVER, "k3s token list")
    identity = made.rpartition("::")[2].split(".")[0]
    assert identity in listed
    lab.ssh(SERVER, f"k3s token delete {identity}")
    assert identity not in lab.ssh(SERVER, "k3s token list")
    assert "kube-apiserver" in lab.ssh(SERVER, "k3s certificate check 2>&1")


def test_snapshots_are_refused_without_etcd(lab: K3sLab) -> None:
    assert "etcd datastore disabled" in lab.ssh(SERVER, "k3s etcd-snapshot save 2>&1; true")
    assert json.loads(lab.ssh(SERVER, "k3s etcd-snapshot ls -o json"))["items"] == []


def test_a_wrong_token_joins_nothing(lab: K3sLab) -> None:
    """Neither a server, which ends with an error, nor an agent, which says so and tries again."""
    address = f"https://{lab.hosts[SERVER]}:6443"
    start = (
        f"timeout 15 k3s %s --server {address} --token wrong --config /dev/null --data-dir /tmp/k3s-wrong %s 2>&1; "
        "echo rc=$?; rm -rf /tmp/k3s-wrong"
    )
    before = lab.pids(AGENT)
    said = lab.ssh(AGENT, start % ("server", "--https-listen-port 16443"))
    assert "rc=1" in said
    assert "not authorized" in said or "401" in said
    said = lab.ssh(AGENT, start % ("agent", "--lb-server-port 16444"))
    assert "401" in said
    assert "rc=124" in said
    assert set(lab.versions()) == {SERVER, AGENT}
    assert lab.pids(AGENT) == before


def test_a_token_of_another_cluster_is_told_by_the_authority(lab: K3sLab) -> None:
    other = f"K10{'0' * 64}::server:whatever"
    said = lab.ssh(
        AGENT,
        f"timeout 15 k3s server --server https://{lab.hosts[SERVER]}:6443 --token {other} --config /dev/null --data-dir /tmp/k3s-wrong "
        "--https-listen-port 16443 2>&1; rm -rf /tmp/k3s-wrong",
    )
    assert "does not match the Cluster CA certificate hash" in said


def test_a_stranger_under_a_node_s_name_is_refused(lab: K3sLab) -> None:
    """The node's name belongs to the host that had it first, by /etc/rancher/node/password."""
    lab.ssh(
        AGENT,
        "systemctl stop k3s-agent; cp /etc/rancher/node/password /tmp/password; echo stranger > /etc/rancher/node/password",
    )
    try:
        lab.ssh(AGENT, "systemctl start --no-block k3s-agent")
        until(
            "the stranger is refused",
            90,
            lambda: "node password rejected" in lab.ssh(AGENT, "journalctl -u k3s-agent -n 400 --no-pager"),
        )
    finally:
        lab.ssh(AGENT, "cat /tmp/password > /etc/rancher/node/password; systemctl restart k3s-agent", timeout=180)
    until("the node is ready again", 90, lambda: "NotReady" not in lab.kubectl("get", "nodes"))


def test_a_swapped_file_changes_nothing_that_runs(lab: K3sLab) -> None:
    link = "/usr/local/bin/k3s"
    target = lab.ssh(SERVER, f"readlink {link}").strip()
    before = lab.pids(SERVER)
    lab.ssh(SERVER, f"printf '#!/bin/sh\\necho other\\n' > /tmp/other; chmod +x /tmp/other; ln -sfn /tmp/other {link}")
    try:
        assert lab.ssh(SERVER, "k3s --version").strip() == "other"
        assert lab.running(SERVER) == NEW
        assert lab.pids(SERVER) == before
    finally:
        lab.ssh(SERVER, f"ln -sfn {target} {link}")


def test_containers_outlive_a_kill_and_a_restart(lab: K3sLab) -> None:
    image = lab.ssh(SERVER, "k3s ctr images ls -q name~=coredns").split()[0]
    lab.kubectl(
        "run",
        "outlive",
        f"--image={image}",
        "--restart=Always",
        "--overrides",
        json.dumps({"spec": {"nodeName": SERVER}}),
    )
    try:
        lab.kubectl("wait", "pod/outlive", "--for=jsonpath={.status.phase}=Running", "--timeout=60s", timeout=90)
        before = lab.processes(SERVER)["coredns"]
        main = lab.pid(SERVER)
        lab.ssh(SERVER, f"kill -9 {main}")
        until("systemd has started it again", 120, lambda: lab.pid(SERVER) not in (0, main))
        until("the API answers", 120, lambda: lab.ssh(SERVER, "k3s kubectl get --raw=/readyz", check=False) == "ok")
        after = lab.processes(SERVER)["coredns"]
        assert [one for one in before if one in after], "a container ended with K3s"
        assert len(lab.processes(SERVER).get("containerd", [])) == 1, "a program outlived K3s"
    finally:
        lab.kubectl("delete", "pod", "outlive", "--now", timeout=120)
