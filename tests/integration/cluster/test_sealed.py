# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealed secrets with the controller in a pod: they are there after the first sync, and nothing shows one on its way there."""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from tests.integration.canary import Watch, forms_of, in_files
from tests.integration.cluster.lab import Lab
from tools.story import put_into_vault

PRIVATE = ("PRIVATE KEY", "AGE-SECRET-KEY")


@pytest.fixture
def source(lab: Lab) -> Path:
    """Where playbooks/sandbox-secrets.yml has put the vault and its password."""
    return lab.directory / "secrets" / lab.context


def password(source: Path) -> bytes:
    return (source / "vault-password").read_bytes().strip()


def in_cluster(lab: Lab) -> str:
    found = json.loads(lab.kubectl("-n", "applications", "get", "secret", "hello", "-o", "json"))
    return base64.b64decode(found["data"]["token"]).decode()


def test_the_sample_has_its_secret_after_the_first_sync(lab: Lab, source: Path) -> None:
    vault = VaultLib([("default", VaultSecret(password(source)))]).decrypt((source / "vault.yml").read_bytes())
    assert in_cluster(lab) == yaml.safe_load(vault)["hello_token"]
    head = (source / "sealing-keys.age").read_text().splitlines()[0]
    assert head == "-----BEGIN AGE ENCRYPTED FILE-----"


def test_no_service_leads_to_the_controllers_own_port_and_one_key_is_active(lab: Lab) -> None:
    """That the NetworkPolicy closes the port to other pods is not shown: the network of these hosts enforces none."""
    services = [item["metadata"]["name"] for item in lab.objects("services", "-n", "kube-system")]
    assert [name for name in services if "sealed" in name] == ["sealed-secrets-controller-metrics"]
    policies = {item["metadata"]["name"]: item for item in lab.objects("networkpolicies", "-n", "kube-system")}
    assert policies["sealed-secrets-controller"]["spec"]["policyTypes"] == ["Ingress"]
    assert "ingress" not in policies["sealed-secrets-controller"]["spec"]
    keys = lab.objects("secrets", "-n", "kube-system", "-l", "sealedsecrets.bitnami.com/sealed-secrets-key")
    assert [item["metadata"]["labels"]["sealedsecrets.bitnami.com/sealed-secrets-key"] for item in keys] == ["active"]


def test_a_secret_on_its_way_through_the_set_up_is_shown_nowhere(lab: Lab, source: Path, tmp_path: Path) -> None:
    value = f"canary-{secrets.token_hex(16)}"
    put_into_vault(source / "vault.yml", password(source), "hello_token", value)
    facts, temporary = tmp_path / "facts", tmp_path / "tmp"
    extra = {
        "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(facts),
        "ANSIBLE_LOCAL_TEMP": str(temporary),
    }
    forms = forms_of(value)
    # The hosts' processes are the machine's own, so their arguments are seen too.
    with Watch(forms, [temporary]) as watch:
        run = lab.setup("-vvvv", "--diff", extra=extra).must_work()
    assert in_cluster(lab) == value, "the set-up ended before the cluster had it"
    assert watch.found == set()
    assert [form for form in forms if form in run.output.encode()] == []
    assert [words for words in PRIVATE if words in run.output] == []
    assert in_files(forms, [facts, temporary]) == []
    for host in lab.nodes:
        script = f"grep -rlF {value} /tmp /var/tmp /root /var/lib/stagecraft /var/log; journalctl -q | grep -cF {value}"
        assert lab.ssh(host, script, check=False).split() == ["0"], host
    lab.playbook("playbooks/seal-secrets.yml").must_not_change()
