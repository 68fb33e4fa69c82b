# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall's rules let in what a node's own services need, from those who need it, and nothing else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from .inventories import CONTROL_PLANES, WORKERS, cluster
from .role import firewall

if TYPE_CHECKING:
    from pathlib import Path

EVERYBODY = "everybody"
NODES = (*CONTROL_PLANES, *WORKERS)
SSH = {"tcp 22": EVERYBODY}
KUBELET = {"tcp 10250": NODES}
API = {"tcp 6443": EVERYBODY}
ETCD = {"tcp 2379-2380": CONTROL_PLANES}
FLANNEL = {"udp 8472": NODES}


def openings(rules: str) -> dict[str, Any]:
    """Who is let in where: EVERYBODY, the addresses of a set, or what stands after saddr."""
    sets = {name: tuple(elements.split(", ")) for name, elements in SET.findall(rules)}
    found = {}
    for source, protocol, port in RULE.findall(rules):
        place = f"{protocol} {port.strip('{ }')}"
        assert place not in found, "a port is let in twice"
        found[place] = sets[source.removeprefix("ip saddr @")] if "@" in source else source or EVERYBODY
    return found


SET = re.compile(r"set (\w+) \{\s+type ipv4_addr\s+elements = \{ (.*) \}\s+\}")
RULE = re.compile(r"^ +((?:ip|ip6) saddr \S+|)\s*(tcp|udp) dport (\{[^}]*\}|\S+) accept", re.MULTILINE)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("cp1", SSH | KUBELET | API | ETCD | FLANNEL), ("worker1", SSH | KUBELET | FLANNEL)],
)
def test_a_cluster_of_several_nodes(host: str, expected: dict[str, Any], tmp_path: Path) -> None:
    assert openings(firewall(cluster(), host, tmp_path)) == expected


@pytest.mark.parametrize("plugin", ["bridge", "manifest"])
def test_the_port_of_flannel_is_shut_where_there_is_no_flannel(plugin: str, tmp_path: Path) -> None:
    rules = firewall(cluster(cni_plugin=plugin), "cp1", tmp_path)
    assert openings(rules) == SSH | KUBELET | API | ETCD


def test_one_node_alone_has_no_flannel_unless_it_is_asked_for(tmp_path: Path) -> None:
    address = CONTROL_PLANES[:1]
    alone = SSH | API | {"tcp 10250": address, "tcp 2379-2380": address}
    assert openings(firewall(cluster(1, 0), "cp1", tmp_path)) == alone
    flannel = openings(firewall(cluster(1, 0, cni_plugin="flannel"), "cp1", tmp_path))
    assert flannel == alone | {"udp 8472": address}


def test_a_worker_has_no_set_of_control_planes_and_no_rule_that_names_one(tmp_path: Path) -> None:
    assert "control_planes" not in firewall(cluster(), "worker1", tmp_path)


def test_ports_that_were_moved_and_ports_of_the_admin(tmp_path: Path) -> None:
    allow = [
        {"port": 443},
        {"port": "8000-8010", "protocol": "udp", "from": "10.0.0.0/8"},
        {"port": 9100, "from": "2001:db8::/32"},
    ]
    inventory = cluster(1, 0, ansible_port=2222, kubeadm_api_port=8443, host_firewall_allow=allow)
    found = openings(firewall(inventory, "cp1", tmp_path))
    assert {place: who for place, who in found.items() if not isinstance(who, tuple)} == {
        "tcp 2222": EVERYBODY,
        "tcp 8443": EVERYBODY,
        "tcp 443": EVERYBODY,
        "udp 8000-8010": "ip saddr 10.0.0.0/8",
        "tcp 9100": "ip6 saddr 2001:db8::/32",
    }


def listener(port: int, process: str, protocol: str = "tcp") -> dict[str, Any]:
    return {"protocol": protocol, "address": "0.0.0.0", "port": port, "process": process, "pid": 1}


@pytest.mark.parametrize(
    ("port", "listening", "expected"),
    [
        # as the inventory says
        (22, [listener(22, "sshd")], "22"),
        (2222, [listener(2222, "sshd"), listener(22, "sshd")], "2222"),
        (2222, [listener(2222, "systemd")], "2222"),
        # a router forwards the inventory's port to another one of the host
        (2201, [listener(22, "sshd"), listener(111, "rpcbind"), listener(6010, "sshd") | {"address": "::1"}], "22"),
        (2201, [listener(2022, "sshd"), listener(2023, "sshd"), listener(2022, "sshd")], "2022, 2023"),
        (2201, [listener(22, "systemd"), listener(2201, "x", "udp")], "22"),
    ],
)
def test_ssh_is_let_in_where_sshd_listens_on_the_host_itself(
    port: int, listening: list[dict[str, Any]], expected: str, tmp_path: Path
) -> None:
    found = openings(firewall(cluster(1, 0, ansible_port=port), "cp1", tmp_path, listening=listening))
    assert [place for place, who in found.items() if who == EVERYBODY] == [f"tcp {expected}", "tcp 6443"]


def test_a_node_is_let_in_by_the_address_that_the_others_see(tmp_path: Path) -> None:
    inventory = cluster(1, 1)
    inventory["children"]["workers"]["hosts"]["worker1"] |= {
        "ansible_host": "w.example.com",
        "host_node_ip": "10.0.0.21",
    }
    assert openings(firewall(inventory, "cp1", tmp_path))["tcp 10250"] == ("10.0.0.21", "192.0.2.11")


def test_everything_else_is_dropped_and_the_old_rules_are_replaced_at_once(tmp_path: Path) -> None:
    rules = firewall(cluster(), "cp1", tmp_path)
    assert "hook input priority filter; policy drop;" in rules
    assert re.search(
        r"^table inet stagecraft\ndelete table inet stagecraft\ntable inet stagecraft \{", rules, re.MULTILINE
    )
