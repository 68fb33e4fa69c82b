# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pods, services, names and node ports, from every node to every node."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from tests.integration.cluster.lab import BUSYBOX, CommandFailedError, Lab, not_running, pods_of, until

NAMESPACE = "stagecraft-test"
NODE_PORT = 30080
WEB = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: {NAMESPACE}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: web, namespace: {NAMESPACE}}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      tolerations: [{{operator: Exists}}]
      containers:
        - name: web
          image: {BUSYBOX}
          imagePullPolicy: Never
          command: [sh, -c, "mkdir /www && hostname > /www/index.html && exec httpd -f -p 8080 -h /www"]
          readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: {NAMESPACE}}}
spec:
  type: NodePort
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: 8080, nodePort: {NODE_PORT}}}]
"""
FETCH = "timeout 5 wget -qO- http://{}/"


@pytest.fixture(scope="module")
def web(lab: Lab) -> Iterator[dict[str, tuple[str, str]]]:
    """A web server on each node: node → (pod, address). It answers with its pod's name."""
    lab.kubectl("apply", "-f", "-", stdin=WEB)
    until(
        "a web server on each node",
        90,
        lambda: len(found(lab)) == len(lab.nodes) and not not_running(lab, "-n", NAMESPACE),
    )
    # kube-proxy and the cluster's DNS learn of a new service each in its own time
    for pod, _address in found(lab).values():
        until(f"the service is known to {pod}", 30, partial(inside, lab, pod, FETCH.format("web")))
    yield found(lab)
    lab.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def found(lab: Lab) -> dict[str, tuple[str, str]]:
    pods = pods_of(lab, "-n", NAMESPACE, "-l", "app=web")
    return {pod["spec"]["nodeName"]: (name, pod["status"].get("podIP", "")) for name, pod in pods}


def inside(lab: Lab, pod: str, script: str) -> str:
    return lab.kubectl("exec", "-n", NAMESPACE, pod, "--", "sh", "-c", script).strip()


def test_every_pod_reaches_every_pod(lab: Lab, web: dict[str, tuple[str, str]]) -> None:
    """Itself included, by its address."""
    everybody = sorted(pod for pod, _address in web.values())
    script = "; ".join(FETCH.format(f"{address}:8080") for _pod, address in web.values())
    for node, (pod, _address) in web.items():
        assert sorted(inside(lab, pod, script).split()) == everybody, f"from {node}"


def test_service_by_name(lab: Lab, web: dict[str, tuple[str, str]]) -> None:
    """The cluster's DNS gives the name, kube-proxy the way; from each node, and the short name too."""
    for pod, _address in web.values():
        assert inside(lab, pod, FETCH.format(f"web.{NAMESPACE}.svc.cluster.local")).startswith("web-")
        assert inside(lab, pod, FETCH.format("web")).startswith("web-")


def test_service_spreads(lab: Lab, web: dict[str, tuple[str, str]]) -> None:
    """Each pod gets its turn, the asking one among them: a pod must be able to reach itself through its own service."""
    pods = {pod for pod, _address in web.values()}
    for pod in pods:
        seen = inside(
            lab, pod, f"for i in $(seq {12 * len(pods)}); do {FETCH.format('web')} || echo lost; done"
        ).split()
        assert set(seen) == pods, f"asked by {pod}"


def test_node_port(lab: Lab, web: dict[str, tuple[str, str]]) -> None:
    """From outside of the cluster's network through each node, and from each host through its own address."""
    pods = {pod for pod, _address in web.values()}
    fetch = "python3 -c 'import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())' "
    for host in web:
        for address in lab.hosts.values():
            assert lab.ssh(host, f"{fetch} http://{address}:{NODE_PORT}/").strip() in pods, (
                f"from {host} through {address}"
            )


def test_logs_and_exec(lab: Lab, web: dict[str, tuple[str, str]]) -> None:
    """The API server reaches the kubelet of each node."""
    for pod, _address in web.values():
        assert inside(lab, pod, "echo $HOSTNAME") == pod
        assert lab.kubectl("logs", "-n", NAMESPACE, pod) == ""


def test_name_that_does_not_exist(lab: Lab, web: dict[str, tuple[str, str]]) -> None:
    """The checks above can fail."""
    pod = next(iter(web.values()))[0]
    with pytest.raises(CommandFailedError):
        inside(lab, pod, FETCH.format("nobody"))


def test_network_policy(lab: Lab, web: dict[str, tuple[str, str]]) -> None:
    """A connection that a policy denies is denied."""
    engines = [item["metadata"]["name"] for item in lab.objects("daemonsets", "-n", "kube-system")]
    if "kube-router" not in engines:
        pytest.skip(
            "no policy engine is here: the image of kube-router is not in the mirror, so policies are not enforced"
        )
    policy = f"""
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: nobody, namespace: {NAMESPACE}}}
spec: {{podSelector: {{matchLabels: {{app: web}}}}, policyTypes: [Ingress]}}
"""
    (first, _), (_, address) = next(iter(web.values())), list(web.values())[-1]
    ask = f"{FETCH.format(f'{address}:8080')} && echo let through || echo denied"
    assert "let through" in inside(lab, first, ask)
    lab.kubectl("apply", "-f", "-", stdin=policy)
    until("the connection is denied", 30, lambda: inside(lab, first, ask) == "denied")
    lab.kubectl("delete", "-n", NAMESPACE, "networkpolicy", "nobody")
    until("the connection is let through again", 30, lambda: "let through" in inside(lab, first, ask))
