# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control plane that made the cluster loses its power; nobody else notices for more than seconds, and it comes back by itself."""

from __future__ import annotations

import json
from functools import partial

from tests.integration.cluster.lab import Lab, not_ready, not_running, until
from tests.integration.cluster.test_secrets import ETCDCTL

LOST = "cp1"
#: Asks the API through the node's own load balancer, as its kubelet does.
ASK = (
    "import ssl, urllib.request as r; c = ssl._create_unverified_context(); "
    "print(r.urlopen('https://127.0.0.1:7443/readyz', timeout=2, context=c).read().decode())"
)


def answers(lab: Lab, host: str) -> bool:
    return lab.ssh(host, f'python3 -c "{ASK}"').strip() == "ok"


def members(lab: Lab, via: str) -> list[str]:
    """The voting members of etcd."""
    listed = lab.kubectl(
        "exec",
        "-n",
        "kube-system",
        f"etcd-{via}",
        "--",
        *ETCDCTL.split(),
        "member",
        "list",
        "--write-out=json",
        via=via,
    )
    return sorted(member["name"] for member in json.loads(listed)["members"] if not member.get("isLearner"))


def test_loss_of_a_control_plane(lab: Lab) -> None:
    others = [host for host in lab.nodes if host != LOST]
    survivor = next(host for host in lab.control_planes if host != LOST)
    before = {host: lab.pids(host)["kubelet"] for host in others}
    for host in lab.nodes:
        assert answers(lab, host), f"the balancer of {host} did not answer before the loss"
    lab.power("powered-off", LOST)
    waited = {
        host: until(f"the API through the balancer of {host}", 20, partial(answers, lab, host), 0.2) for host in others
    }
    print("the API answered again after", {host: f"{seconds:.1f} s" for host, seconds in waited.items()})

    writing = until("a write through another control plane", 30, lambda: write(lab, survivor))
    print(f"writes went on after {writing:.1f} s")
    until(f"{LOST} is seen as lost, and nobody else", 120, lambda: not_ready(lab, survivor) == [LOST], 2)
    # what ran goes on: processes of the other nodes, and new pods can be made
    assert {host: lab.pids(host)["kubelet"] for host in others} == before
    lab.kubectl(
        "create", "deployment", "after-the-loss", "--image=registry.k8s.io/pause:3.10.2", "--replicas=2", via=survivor
    )
    until("new pods run", 90, lambda: running_via(lab, survivor) == 2, 1)
    lab.kubectl("delete", "deployment", "after-the-loss", via=survivor)


def write(lab: Lab, via: str) -> bool:
    lab.kubectl("create", "configmap", "after-the-loss", via=via)
    lab.kubectl("delete", "configmap", "after-the-loss", via=via)
    return True


def running_via(lab: Lab, via: str) -> int:
    return sum(
        pod["status"].get("phase") == "Running" for pod in lab.objects("pods", "-l", "app=after-the-loss", via=via)
    )


def test_it_comes_back(lab: Lab) -> None:
    lab.power("present", LOST)
    until("all nodes are Ready", 120, lambda: not not_ready(lab), 1)
    until("all pods run", 120, lambda: not not_running(lab, "-n", "kube-system"), 1)
    assert members(lab, LOST) == sorted(lab.control_planes)
    for host in lab.nodes:
        until(f"the API through the balancer of {host}", 20, partial(answers, lab, host))
    lab.setup().must_not_change()
