# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for workloads, references that must exist, and room for what is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.quantity import quantity
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates import cluster, policy
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.gate import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.render import Rendered

GOOD: dict[str, Any] = {
    "name": "app",
    "image": "x",
    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    "securityContext": {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}


def workload(kind: str = "Deployment", pod: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
    spec = {"containers": [{**GOOD, **container}], **(pod or {})}
    template = {"spec": spec}
    body: dict[str, Any] = {"template": template, "replicas": 2}
    if kind == "CronJob":
        body = {"jobTemplate": {"spec": {"template": template}}}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "w", "namespace": "apps"},
        "spec": spec if kind == "Pod" else body,
    }


def rendered(*objects: dict[str, Any]) -> Rendered:
    return Rendered({f"{one['kind']} {number}": one for number, one in enumerate(objects)})


@pytest.mark.parametrize("kind", ["Deployment", "CronJob", "Pod"])
def test_what_is_well_is_well_at_every_level(kind: str) -> None:
    for level in ("privileged", "baseline", "restricted"):
        assert policy.judge(rendered(workload(kind)), {"pod_security": level}).ok


@pytest.mark.parametrize(
    ("pod", "container", "level", "said"),
    [
        ({"hostNetwork": True}, {}, "baseline", "it uses hostNetwork"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, {}, "baseline", "volume v is a hostPath"),
        ({"volumes": [{"name": "v", "nfs": {}}]}, {}, "restricted", "volume v is of a kind"),
        ({}, {"securityContext": {"privileged": True}}, "baseline", "container app is privileged"),
        ({}, {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}, "baseline", "adds SYS_ADMIN"),
        ({}, {"securityContext": {"capabilities": {"add": ["CHOWN"]}}}, "restricted", "adds CHOWN"),
        ({}, {"ports": [{"containerPort": 1, "hostPort": 1}]}, "baseline", "has a hostPort"),
        (
            {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
            {"securityContext": {}},
            "baseline",
            "unconfined by seccomp",
        ),
        ({}, {"securityContext": {}}, "restricted", "container app may run as root"),
        ({}, {"securityContext": {}}, "restricted", "container app may gain privileges"),
        ({}, {"resources": {}}, "privileged", "container app asks for no cpu"),
        (
            {"securityContext": {"sysctls": [{"name": "kernel.msgmax"}]}},
            {},
            "baseline",
            "it sets the sysctl kernel.msgmax",
        ),
        (
            {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
            {},
            "baseline",
            "it is unconfined by AppArmor",
        ),
        (
            {},
            {"securityContext": {"seLinuxOptions": {"type": "spc_t"}}},
            "baseline",
            "app sets SELinux options of its own",
        ),
        ({}, {"securityContext": {"procMount": "Unmasked"}}, "baseline", "container app mounts /proc Unmasked"),
        ({}, {"securityContext": {"windowsOptions": {"hostProcess": True}}}, "baseline", "app is a host process"),
        ({"securityContext": {"runAsUser": 0}}, {}, "restricted", "it runs as user 0"),
        ({}, {"securityContext": {"runAsUser": 0}}, "restricted", "container app runs as user 0"),
    ],
)
def test_what_is_not_well_is_told(pod: dict[str, Any], container: dict[str, Any], level: str, said: str) -> None:
    verdict = policy.judge(rendered(workload(pod=pod, **container)), {"pod_security": level})
    assert verdict.ok is False
    assert said in verdict.detail


def test_what_the_levels_allow() -> None:
    own = {
        "sysctls": [{"name": "net.ipv4.tcp_keepalive_time"}],
        "appArmorProfile": {"type": "RuntimeDefault"},
        "seLinuxOptions": {"type": "container_t", "level": "s0:c1,c2"},
        "runAsUser": 1000,
    }
    one = workload(pod={"securityContext": own})
    assert policy.judge(rendered(one), {"pod_security": "restricted"}) == Verdict(True, "")


def test_network_policies_and_levels() -> None:
    assert policy.judge(rendered(workload()), {"network_policy": True}).detail == "namespace apps has no NetworkPolicy"
    one = {"kind": "NetworkPolicy", "metadata": {"name": "n", "namespace": "apps"}}
    assert policy.judge(rendered(workload(), one), {"network_policy": True}).ok
    with pytest.raises(ReleaseError, match="wanted privileged, baseline, restricted, found 'strict'"):
        policy.judge(rendered(), {"pod_security": "strict"})


def test_only_what_the_plan_breaks_is_refused() -> None:
    wrong = workload()
    wrong["spec"]["replicas"] = "two"
    assert policy.builds(rendered(workload()), rendered(workload()), {}).ok
    broken = policy.builds(rendered(workload()), rendered(wrong), {})
    assert broken.ok is False
    assert "spec.replicas" in broken.detail
    before = policy.builds(rendered(wrong), rendered(wrong), {})
    assert before.ok
    assert "was broken before" in before.detail
    variable = workload()
    variable["spec"]["replicas"] = "${REPLICAS}"
    assert policy.builds(rendered(workload()), rendered(variable), {}).ok


def test_references_are_found_wherever_they_stand() -> None:
    container: dict[str, Any] = {
        "env": [
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s1", "key": "k"}}},
            {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c1", "key": "k", "optional": True}}},
            {"name": "C", "value": "x"},
        ],
        "envFrom": [{"configMapRef": {"name": "c2"}}, {"secretRef": {"name": "s2"}}],
    }
    pod = {
        "imagePullSecrets": [{"name": "pull"}],
        "volumes": [
            {"name": "a", "secret": {"secretName": "s3", "items": [{"key": "x", "path": "x"}]}},
            {"name": "b", "projected": {"sources": [{"configMap": {"name": "c3"}}, {"secret": {"name": "s4"}}]}},
            {"name": "c", "emptyDir": {}},
        ],
    }
    found = cluster.references(rendered(workload(pod=pod, **container)))
    assert found == {
        ("Secret", "apps", "s1"): {"k"},
        ("ConfigMap", "apps", "c2"): set(),
        ("Secret", "apps", "s2"): set(),
        ("Secret", "apps", "s3"): {"x"},
        ("ConfigMap", "apps", "c3"): set(),
        ("Secret", "apps", "s4"): set(),
        ("Secret", "apps", "pull"): set(),
    }


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("250m", 0.25),
        ("1", 1),
        ("1.5Gi", 1.5 * 2**30),
        ("64Mi", 64 * 2**20),
        ("1e3", 1000),
        ("2k", 2000),
        ("100n", 1e-7),
        ("x", 0),
        ("", 0),
    ],
)
def test_quantities(text: str, number: float) -> None:
    assert quantity(text) == pytest.approx(number)


def test_what_sops_has_encrypted_for_others_is_refused() -> None:
    def secret(**sops: object) -> dict[str, Any]:
        return {"kind": "Secret", "metadata": {"name": "s", "namespace": "apps"}, "data": {"k": "ENC[x]"}, "sops": sops}

    def ask(one: dict[str, Any], *recipients: str) -> Verdict:
        return cluster.secrets(None, rendered(one), {"recipients": list(recipients)})  # type: ignore[arg-type]

    staging = secret(age=[{"recipient": "age1staging", "enc": "x"}], pgp=[{"fp": "AB"}])
    assert ask(staging, "age1production").detail == (
        "Secret 0 is encrypted for AB, age1staging, and not for the target"
    )
    assert ask(staging, "age1production", "age1staging").ok
    assert ask(staging, "AB").ok
    assert ask(secret(key_groups=[{"age": [{"recipient": "age1production"}]}]), "age1production").ok
    assert ask({**staging, "sops": None}, "age1production").ok
    assert cluster.secrets(None, rendered(staging), {}).ok  # type: ignore[arg-type]
    with pytest.raises(ReleaseError, match="wanted recipients, a list"):
        cluster.secrets(None, rendered(staging), {"recipients": "age1production"})  # type: ignore[arg-type]


def test_hosts_of_ingresses_and_routes() -> None:
    assert cluster.ingress_hosts({"kind": "Ingress", "spec": {"rules": [{"host": "a"}, {}]}}) == ["a"]
    assert cluster.ingress_hosts({"kind": "HTTPRoute", "spec": {"hostnames": ["b"]}}) == ["b"]
    assert cluster.ingress_hosts({"kind": "Service"}) == []


def test_of_a_sealed_secret_the_needed_items_are_asked_for() -> None:
    container = {
        "name": "app",
        "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}],
    }
    pod = {"kind": "Pod", "metadata": {"name": "app", "namespace": "apps"}, "spec": {"containers": [container]}}

    def ask(spec: dict[str, Any]) -> tuple[bool | None, str]:
        sealed = {"kind": "SealedSecret", "metadata": {"name": "db", "namespace": "apps"}, "spec": spec}
        found = cluster.secrets(None, rendered(pod, sealed), {})  # type: ignore[arg-type]
        return found.ok, found.detail

    assert ask({"encryptedData": {"password": "x"}}) == (True, "")
    assert ask({"encryptedData": {}, "template": {"data": {"password": "{{ .user }}"}}}) == (True, "")
    assert ask({"encryptedData": {"user": "x"}}) == (False, "Secret apps/db has no key password")
