# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From outside of the cluster a node answers on exactly the ports that the roles open."""

from __future__ import annotations

import json
import socket

from tests.integration.cluster.lab import Lab, until

LISTENER = "python3 -m http.server --bind 0.0.0.0 {port}"
FREE_PORT = 9999


def answers(address: str, port: int) -> bool:
    """Whether a TCP connection from this machine, which is no node, is taken."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def test_only_ssh_and_the_api_are_open_to_everybody(lab: Lab) -> None:
    for host in lab.nodes:
        address = lab.hosts[host]
        wanted = {22: True, 6443: host in lab.control_planes, 2379: False, 10250: False}
        assert {port: answers(address, port) for port in wanted} == wanted, host


def test_a_port_is_open_only_once_it_is_declared(lab: Lab) -> None:
    """Somebody's program listens on all addresses: it is reached after host_firewall_allow names its port, and not before."""
    host = lab.control_planes[0]
    address = lab.hosts[host]
    lab.ssh(host, f"systemd-run --unit=test-listener {LISTENER.format(port=FREE_PORT)}")
    try:
        until("it listens", 20, lambda: f":{FREE_PORT}" in lab.ssh(host, "ss -Hltn"))
        assert not answers(address, FREE_PORT)
        opened = {"host_firewall_allow": [{"port": FREE_PORT, "protocol": "tcp", "from": "0.0.0.0/0"}]}
        before = lab.pids(host)
        lab.setup("-e", json.dumps(opened)).must_work()
        assert answers(address, FREE_PORT)
        lab.setup().must_work()
        assert not answers(address, FREE_PORT)
        assert lab.pids(host) == before
    finally:
        lab.ssh(host, "systemctl stop test-listener")
    lab.setup().must_not_change()
