# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts as a role sees them, and the life of a host."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox import engine, machine

from tests.integration.sandbox.machine import ROOT, Sandbox, environment

if TYPE_CHECKING:
    from pathlib import Path

CP1 = {"name": "cp1", "groups": ["control_plane"], "memory_mb": 512}
W1 = {"name": "w1", "groups": ["workers"], "memory_mb": 256, "cpus": 1}


@pytest.fixture(scope="module")
def hosts(shared_sandbox: Sandbox) -> dict[str, Any]:
    """Two running hosts: the module's result."""
    return shared_sandbox.up(CP1, W1)


@pytest.fixture
def cp1(hosts: dict[str, Any]) -> str:
    return str(hosts["hosts"]["cp1"]["address"])


@pytest.fixture
def w1(hosts: dict[str, Any]) -> str:
    return str(hosts["hosts"]["w1"]["address"])


def test_second_run_changes_nothing(hosts: dict[str, Any], shared_sandbox: Sandbox, cp1: str) -> None:
    before = shared_sandbox.boot_id(cp1)
    again = shared_sandbox.up(CP1, W1)
    assert again["plan"] == []
    assert not again["changed"]
    assert shared_sandbox.boot_id(cp1) == before


def test_a_host_is_like_a_rented_server(shared_sandbox: Sandbox, cp1: str, w1: str) -> None:
    say = shared_sandbox.ssh
    assert say(cp1, "cat /proc/1/comm; hostname") == "systemd\ncp1"
    assert say(cp1, "systemctl is-system-running --wait; systemctl --failed --no-legend") == "running"
    assert say(cp1, "cat /etc/machine-id") != say(w1, "cat /etc/machine-id")
    assert say(cp1, "cat /etc/ssh/ssh_host_ed25519_key.pub") != say(w1, "cat /etc/ssh/ssh_host_ed25519_key.pub")
    assert say(cp1, "findmnt -no PROPAGATION /") == "shared"
    for volume in ("containerd", "kubelet", "etcd"):
        assert say(cp1, f"findmnt -no FSTYPE /var/lib/{volume}") != "overlay"
    absent = say(cp1, "for c in iptables conntrack containerd kubelet curl; do command -v $c; done; true")
    assert absent == "", "a role must bring what it needs"


def test_kernel_settings_of_a_host_are_its_own(shared_sandbox: Sandbox, cp1: str, w1: str) -> None:
    before = [
        machine.run(["sysctl", "-n", name]) for name in ("vm.overcommit_memory", "kernel.panic", "net.ipv4.ip_forward")
    ]
    shared_sandbox.ssh(cp1, "sysctl -w vm.overcommit_memory=1 kernel.panic=10 net.ipv4.ip_forward=1 && sysctl --system")
    assert shared_sandbox.ssh(cp1, "sysctl -n vm.overcommit_memory kernel.panic net.ipv4.ip_forward").split() == [
        "1",
        "10",
        "1",
    ]
    after = [
        machine.run(["sysctl", "-n", name]) for name in ("vm.overcommit_memory", "kernel.panic", "net.ipv4.ip_forward")
    ]
    assert after == before
    assert shared_sandbox.ssh(w1, "sysctl -n net.ipv4.ip_forward") == "0"


def test_modprobe_tells_the_truth(shared_sandbox: Sandbox, cp1: str) -> None:
    shared_sandbox.ssh(cp1, "modprobe overlay && modprobe br_netfilter")
    assert shared_sandbox.ssh(cp1, "modprobe no_such_module 2>/dev/null; echo $?") == "1"


def test_the_clock_belongs_to_the_machine(shared_sandbox: Sandbox, cp1: str) -> None:
    assert shared_sandbox.ssh(cp1, "date -s 2001-01-01 >/dev/null 2>&1; echo $?") == "1"


CONNECT = "import socket,sys; socket.create_connection((sys.argv[1], 22), 2).recv(4)"


def test_hosts_reach_each_other_and_nothing_else(shared_sandbox: Sandbox, sandbox: Sandbox, cp1: str, w1: str) -> None:
    shared_sandbox.ssh(cp1, f"python3 -c '{CONNECT}' {w1}")
    foreign = sandbox.up(CP1)["hosts"]["cp1"]["address"]
    assert foreign.rsplit(".", 1)[0] != cp1.rsplit(".", 1)[0]
    with pytest.raises(subprocess.CalledProcessError):
        shared_sandbox.ssh(cp1, f"python3 -c '{CONNECT}' {foreign}")
    assert sandbox.boot_id(foreign) != shared_sandbox.boot_id(cp1)


def test_packages_come_from_the_mirror(shared_sandbox: Sandbox, cp1: str) -> None:
    shared_sandbox.ssh(cp1, "apt-get -q update && apt-get -qy install greeting")
    assert shared_sandbox.ssh(cp1, "cat /opt/greeting") == "hello"
    gateway = cp1.rsplit(".", 1)[0] + ".1"
    fetch = f"python3 -c 'import urllib.request,sys; urllib.request.urlopen(sys.argv[1])' http://{gateway}:8480"
    for path in ("/outside", "/", "/apt/../../../../etc/hostname"):
        with pytest.raises(subprocess.CalledProcessError):
            shared_sandbox.ssh(cp1, fetch + path)


def test_repository_comes_back(shared_sandbox: Sandbox, cp1: str) -> None:
    """Its serving child is replaced by its parent; the parent, once killed, by the next run."""
    lock = str(shared_sandbox.layout.repository_lock)
    parent = min(engine.programs("repository", lock))
    for process in engine.programs("repository", lock):
        if process != parent:
            machine.kill(process, 9)
    time.sleep(1.5)
    shared_sandbox.ssh(cp1, "apt-get -q update")
    machine.kill(parent, 9)
    time.sleep(0.2)
    assert engine.programs("repository", lock) == [], "the child goes with its parent"
    assert [change["kind"] for change in shared_sandbox.up(CP1, W1)["plan"]] == ["repository"]
    shared_sandbox.ssh(cp1, "apt-get -q update")


def test_memory_limit_is_enforced_and_changes_live(shared_sandbox: Sandbox, w1: str) -> None:
    hog = "python3 -c 'x = bytearray(400 << 20); print(len(x))'"
    with pytest.raises(subprocess.CalledProcessError):
        shared_sandbox.ssh(w1, hog)
    before = shared_sandbox.boot_id(w1)
    larger = shared_sandbox.up(CP1, {**W1, "memory_mb": 800})
    assert [(change["kind"], change["target"], change["action"]) for change in larger["plan"]] == [
        ("host", "w1", "limit")
    ]
    assert shared_sandbox.ssh(w1, hog) == str(400 << 20)
    assert shared_sandbox.boot_id(w1) == before
    assert [change["action"] for change in shared_sandbox.up(CP1, W1)["plan"]] == ["limit"]


def test_reboot(shared_sandbox: Sandbox, w1: str, cp1: str) -> None:
    before, other = shared_sandbox.boot_id(w1), shared_sandbox.boot_id(cp1)
    shared_sandbox.ssh(w1, "echo kept >/root/note && sync")
    result = shared_sandbox.bring("rebooted", only=["w1"])
    assert [change["action"] for change in result["plan"]] == ["reboot"]
    assert shared_sandbox.boot_id(w1) != before
    assert shared_sandbox.boot_id(cp1) == other
    assert shared_sandbox.ssh(w1, "cat /root/note") == "kept"


def test_reboot_from_inside(shared_sandbox: Sandbox, w1: str) -> None:
    before = shared_sandbox.boot_id(w1)
    shared_sandbox.ssh(w1, "systemctl reboot --no-block")
    for _ in machine.poll(30, 0.2):
        try:
            if shared_sandbox.boot_id(w1) != before:
                return
        except subprocess.CalledProcessError:
            continue
    pytest.fail("the host did not come back")


def test_power_cut_keeps_the_disks(shared_sandbox: Sandbox, w1: str) -> None:
    before = shared_sandbox.boot_id(w1)
    shared_sandbox.ssh(w1, "echo kept >/root/note; echo kept >/var/lib/etcd/note; sync")
    cut = shared_sandbox.bring("powered-off", only=["w1"])
    assert [change["action"] for change in cut["plan"]] == ["power-off"]
    assert not any("w1" in trace for trace in shared_sandbox.traces() if not trace.startswith("state "))
    assert not shared_sandbox.bring("powered-off", only=["w1"])["changed"]
    on = shared_sandbox.up(CP1, W1)
    assert [change["action"] for change in on["plan"]] == ["power-on"]
    assert shared_sandbox.boot_id(w1) != before
    assert shared_sandbox.ssh(w1, "cat /root/note /var/lib/etcd/note").split() == ["kept", "kept"]


def test_poweroff_from_inside(shared_sandbox: Sandbox, w1: str) -> None:
    shared_sandbox.ssh(w1, "systemctl poweroff --no-block")
    for _ in machine.poll(20):
        if not any("w1" in trace for trace in shared_sandbox.traces() if not trace.startswith("state ")):
            break
    else:
        pytest.fail("the supervisor has not cleaned up")
    assert [change["action"] for change in shared_sandbox.up(CP1, W1)["plan"]] == ["power-on"]


def test_killed_supervisor_is_replaced_and_the_host_runs_on(shared_sandbox: Sandbox, w1: str) -> None:
    before = shared_sandbox.boot_id(w1)
    engine.stop_programs("supervisor", str(shared_sandbox.layout.host("w1").directory))
    assert shared_sandbox.boot_id(w1) == before
    again = shared_sandbox.up(CP1, W1)
    assert [change["action"] for change in again["plan"]] == ["adopt"]
    assert shared_sandbox.boot_id(w1) == before
    shared_sandbox.bring("rebooted", only=["w1"])
    assert shared_sandbox.boot_id(w1) != before, "the new supervisor boots it again"


def test_one_host_is_removed_and_comes_back_empty(shared_sandbox: Sandbox, w1: str, cp1: str) -> None:
    shared_sandbox.ssh(w1, "echo kept >/root/note; sync")
    gone = shared_sandbox.bring("absent", only=["w1"])
    assert list(gone["hosts"]) == ["cp1"]
    assert "w1" not in shared_sandbox.layout.inventory.read_text()
    assert not any(".w1" in trace or "/w1" in trace for trace in shared_sandbox.traces())
    assert shared_sandbox.boot_id(cp1)
    shared_sandbox.up(CP1, W1)
    assert shared_sandbox.ssh(w1, "ls /root") == ""


def test_inventory_works_with_pinned_host_keys(shared_sandbox: Sandbox, hosts: dict[str, Any], tmp_path: Path) -> None:
    inventory = str(shared_sandbox.layout.inventory)
    ping = ["ansible", "-i", inventory, "control_plane:workers", "-m", "ansible.builtin.ping"]
    done = subprocess.run(ping, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.stdout.count("SUCCESS") == 2, done.stdout + done.stderr
    known = shared_sandbox.layout.known_hosts
    kept = known.read_text()
    lines = [line.split() for line in kept.splitlines()]
    known.write_text(
        "".join(f"{line[0]} {line[1]} {other[2]}\n" for line, other in zip(lines, reversed(lines), strict=True))
    )
    swapped = subprocess.run(
        ping,
        cwd=ROOT,
        env={**environment(), "ANSIBLE_SSH_ARGS": "-o ControlMaster=no"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert swapped.stdout.count("SUCCESS") == 0, "a host with another key must not be believed"
    assert [change["kind"] for change in shared_sandbox.up(CP1, W1)["plan"]] == ["file"]
    assert known.read_text() == kept


def test_unlisted_host_stays(shared_sandbox: Sandbox, hosts: dict[str, Any]) -> None:
    result = shared_sandbox.up(CP1)
    assert not result["changed"]
    assert set(result["hosts"]) == {"cp1", "w1"}
    assert result["unlisted"] == ["w1"]
