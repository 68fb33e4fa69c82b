# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""host_state on a host with systemd, sshd and nothing else: what a fake host cannot show."""

from __future__ import annotations

import copy
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts import packages
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.cache import sha256_of
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.lock import BUNDLE_LOCK, Lock, LockedFile

from tests.integration.cluster.lab import cache
from tests.integration.sandbox.machine import ROOT, environment
from tests.programs import lacking

from .conftest import VERSIONS

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Machine

UNIT = """\
[Service]
ExecStart=/usr/local/bin/kubelet infinity
[Install]
WantedBy=multi-user.target
"""
OTHER = """\
[Service]
ExecStart=/usr/bin/sleep infinity
ExecReload=/usr/bin/touch /run/other-reloaded
[Install]
WantedBy=multi-user.target
"""
STATE: dict[str, Any] = {
    "directories": [{"path": "/etc/kubernetes", "mode": "0750"}],
    "files": [
        {"path": "/etc/systemd/system/kubelet.service", "content": UNIT, "notify": ["kubelet"]},
        {"path": "/etc/systemd/system/other.service", "content": OTHER, "notify": ["other"]},
        {"path": "/etc/kubernetes/kubelet.conf", "content": "a: 1\n", "notify": ["kubelet"]},
        {"path": "/etc/other.conf", "content": "b: 1\n", "notify": ["other"]},
        {"path": "/etc/kubernetes/token", "content": "c4n4ry-t0ken", "mode": "0600", "sensitive": True},
    ],
    "links": [{"path": "/etc/kubernetes/current", "target": "kubelet.conf"}],
    "artifacts": [
        {
            "name": "kubelet",
            "version": "1.36.2",
            "install": "binary",
            "links": {"/usr/local/bin/kubelet": "kubelet"},
            "notify": ["kubelet"],
        }
    ],
    "sysctl": {"net.ipv4.ip_forward": "1"},
    "sysctl_file": "/etc/sysctl.d/99-test.conf",
    "swap": "disabled",
    "units": [{"name": "kubelet", "exe": "/usr/local/bin/kubelet"}, {"name": "other", "on_change": "reload"}],
}


def _with(**changes: Any) -> dict[str, Any]:
    state = copy.deepcopy(STATE)
    state["artifacts"][0]["version"] = changes.get("version", "1.36.2")
    state["files"][2]["content"] = changes.get("kubelet_conf", "a: 1\n")
    state["files"][3]["content"] = changes.get("other_conf", "b: 1\n")
    return state


def test_check_mode_then_first_run_then_no_op(machine: Machine) -> None:
    before = machine.disk()
    planned = machine.declare(STATE, "--check", "--diff")
    assert planned["changed"]
    assert machine.disk() == before
    first = machine.declare(STATE, "--diff")
    assert "failed" not in first, first["msg"]
    assert [entry["target"] for entry in first["plan"]] == [entry["target"] for entry in planned["plan"]]
    assert first["started"] == ["kubelet.service", "other.service"]
    assert (
        machine.ssh("readlink /proc/$(systemctl show -P MainPID kubelet)/exe")
        == "/opt/stagecraft/kubelet/1.36.2/kubelet"
    )
    assert machine.ssh("sysctl -n net.ipv4.ip_forward") == "1"
    assert machine.ssh("stat -c %a /etc/kubernetes/token /etc/kubernetes").split() == ["600", "750"]
    assert machine.unit("kubelet")["UnitFileState"] == "enabled"
    pids = [machine.unit(name)["MainPID"] for name in ("kubelet", "other")]
    settled = machine.disk()
    again = machine.declare(STATE, "-vvv")
    assert (again["changed"], again["plan"], again["needs"]) == (False, [], [])
    assert [machine.unit(name)["MainPID"] for name in ("kubelet", "other")] == pids
    assert machine.disk() == settled
    for result in (planned, first, again):
        assert "c4n4ry" not in repr(result)


def test_upgrade_rollback_and_what_is_restarted(machine: Machine) -> None:
    machine.declare(STATE)
    kubelet, other = (machine.unit(name)["MainPID"] for name in ("kubelet", "other"))
    changed = machine.declare(_with(other_conf="b: 2\n"))
    assert changed["restarted"] == ["other.service"]
    assert machine.ssh("ls /run/other-reloaded")
    assert [machine.unit(name)["MainPID"] for name in ("kubelet", "other")] == [kubelet, other]
    for version in ("1.36.3", "1.35.8"):
        upgraded = machine.declare(_with(version=version, other_conf="b: 2\n"))
        assert upgraded["restarted"] == ["kubelet.service"]
        assert upgraded["pushed"]["files"] == 1
    assert machine.ssh("ls /opt/stagecraft/kubelet").split() == ["1.35.8", "1.36.3"]
    assert machine.unit("other")["MainPID"] == other
    back = machine.declare(_with(version="1.36.3", other_conf="b: 2\n"))
    assert back["restarted"] == ["kubelet.service"]
    assert "pushed" not in back
    exe = machine.ssh("readlink /proc/$(systemctl show -P MainPID kubelet)/exe")
    assert exe == "/opt/stagecraft/kubelet/1.36.3/kubelet"


def test_a_program_that_was_replaced_by_hand_is_put_right_and_restarted(machine: Machine) -> None:
    machine.declare(STATE)
    program = "/opt/stagecraft/kubelet/1.36.2/kubelet"
    machine.ssh(f"cp {program} /tmp/k && echo x >>/tmp/k && mv /tmp/k {program}")
    result = machine.declare(STATE)
    assert result["restarted"] == ["kubelet.service"]
    assert machine.ssh("readlink /proc/$(systemctl show -P MainPID kubelet)/exe") == program
    assert not machine.declare(STATE)["changed"]


def test_wrong_bytes_that_wait_on_the_host_are_refused_and_replaced_by_the_next_run(
    machine: Machine, mirror: Path
) -> None:
    sha256 = machine.declare(STATE, "--check")["needs"][0]["sha256"]
    size = machine.declare(STATE, "--check")["needs"][0]["size"]
    machine.ssh(
        f"mkdir -p /var/lib/stagecraft/incoming && head -c {size} /dev/zero >/var/lib/stagecraft/incoming/{sha256}"
    )
    refused = machine.declare(STATE)
    assert "was refused and removed" in refused["msg"]
    assert machine.ssh("ls /opt /etc/kubernetes 2>&1 || true").count("stagecraft") == 0
    assert machine.declare(STATE)["changed"]
    assert not machine.declare(STATE)["changed"]


def test_packages_come_out_of_a_bundle_on_a_host_without_any_source_of_them(machine: Machine, tmp_path: Path) -> None:
    found = sorted((cache() / "mirror" / "apt" / "debian" / "bookworm").glob("*.deb"))
    if not found:
        lacking("there is no mirror: run `make mirror`")
    bundle = tmp_path / "bundle"
    file = bundle / "packages" / "debian" / "bookworm" / "amd64.tar"
    file.parent.mkdir(parents=True)
    packages.write_repository(found, file)
    lock = Lock(bundle / BUNDLE_LOCK, origin="built", built_by="a test")
    lock.record(str(file.relative_to(bundle)), LockedFile(sha256_of(file), file.stat().st_size))
    lock.write()
    machine.source = {"bundle": str(bundle), "trust_built_mirror": True, "cache": str(tmp_path / "cache")}
    machine.ssh("rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/*")
    state = {"packages": ["conntrack", "haproxy"]}
    before = machine.disk()
    planned = machine.declare(state, "--check")
    assert [entry["kind"] for entry in planned["plan"]] == ["fetch", "packages"]
    assert machine.disk() == before
    done = machine.declare(state)
    assert "failed" not in done, done["msg"]
    assert done["pushed"]["files"] == 1
    assert "haproxy" in machine.ssh(
        "dpkg-query -W -f '${Package} ${Status}\\n' conntrack haproxy | grep 'ok installed'"
    )
    assert (
        machine.ssh("ls /var/lib/stagecraft/incoming; ls -d /var/lib/stagecraft/packages 2>&1 || true").count("No such")
        == 1
    )
    assert machine.ssh("ls /var/lib/apt/lists /etc/apt/sources.list.d").count("stagecraft") == 0
    again = machine.declare(state)
    assert (again["changed"], again["needs"]) == (False, [])


def test_a_full_disk_is_refused_before_the_push(machine: Machine) -> None:
    machine.ssh("mkdir -p /opt/stagecraft && mount -t tmpfs -o size=2m tmpfs /opt/stagecraft")
    refused = machine.declare(STATE)
    assert "no room for artefacts on the host, nothing was pushed" in refused["msg"]
    assert "/opt/stagecraft has 20" in refused["msg"]
    assert machine.ssh("ls -A /var/lib/stagecraft 2>/dev/null || true") == ""


def test_a_unit_that_dies_is_told_with_its_journal(machine: Machine) -> None:
    unit = "[Service]\nExecStart=/bin/sh -c 'echo cannot find my teeth; exit 7'\n"
    state = {
        "files": [{"path": "/etc/systemd/system/broken.service", "content": unit, "notify": ["broken"]}],
        "units": [{"name": "broken", "enabled": False, "start_timeout": 5}],
    }
    failed = machine.declare(state)
    assert "broken.service did not become active" in failed["msg"]
    assert "cannot find my teeth" in failed["msg"]
    state["files"][0]["content"] = unit.replace("exit 7", "exec sleep infinity")  # type: ignore[index]
    assert "failed" not in machine.declare(state)
    assert machine.unit("broken")["ActiveState"] == "active"


def test_a_read_only_sysctl_is_explained(machine: Machine) -> None:
    state = {"sysctl": {"kernel.ngroups_max": "1"}, "sysctl_file": "/etc/sysctl.d/99-test.conf"}
    failed = machine.declare(state)
    assert "sysctl kernel.ngroups_max cannot be set to '1' (is '65536')" in failed["msg"]


INCOMING = "/var/lib/stagecraft/incoming"
MOMENTS = {
    "a file is being pushed": f'[ -n "$(ls -A {INCOMING})" ]',
    "the markers are written": "[ -e /var/lib/stagecraft/pending/kubelet.service ]",
    "a unit file is new": "grep -q VERSION /etc/systemd/system/other.service",
    "the program is there": "[ -e /opt/stagecraft/kubelet/VERSION/kubelet ]",
    "the link is switched": "[ $(readlink /usr/local/bin/kubelet) = /opt/stagecraft/kubelet/VERSION/kubelet ]",
    "systemd is reloaded": "[ -e /var/lib/stagecraft/pending/kubelet.service ] && sleep 0.05 && "
    "[ ! -e /var/lib/stagecraft/pending/daemon-reload ]",
}


def test_killed_at_any_moment_the_next_run_finishes(machine: Machine) -> None:
    machine.declare(STATE)
    for number, (moment, condition) in enumerate(MOMENTS.items()):
        version = VERSIONS[number % 2]
        machine.ssh("rm -rf /opt/stagecraft/kubelet/" + version)
        pids = {name: machine.unit(name)["MainPID"] for name in ("kubelet", "other")}
        state = _with(version=version, kubelet_conf=f"a: {version}\n", other_conf=f"b: {version}\n")
        state["files"][1]["content"] = f"{OTHER}# {version} {number}\n"
        run = subprocess.Popen(
            machine.command(state),
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            # Every python on this host is the module of the run.
            watch = f"until {condition.replace('VERSION', version)}; do :; done; kill -9 $(pidof python3)"
            machine.ssh(f"timeout 50 sh -c '{watch}' || true")
        finally:
            run.send_signal(signal.SIGKILL)
            run.wait()
        finished = machine.declare(state)
        assert "failed" not in finished, (moment, finished["msg"])
        assert not machine.declare(state)["changed"], moment
        for name, pid in pids.items():
            assert machine.unit(name)["ActiveState"] == "active", moment
            assert machine.unit(name)["MainPID"] != pid, f"{name} still runs what it ran before: {moment}"
        exe = machine.ssh("readlink /proc/$(systemctl show -P MainPID kubelet)/exe")
        assert exe == f"/opt/stagecraft/kubelet/{version}/kubelet", moment
        assert machine.ssh(f"ls -A /var/lib/stagecraft/pending {INCOMING}").split() == [
            "/var/lib/stagecraft/incoming:",
            "/var/lib/stagecraft/pending:",
        ], moment


def test_power_cut_in_the_middle(machine: Machine) -> None:
    run = subprocess.Popen(
        machine.command(STATE),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not machine.ssh("ls /etc/kubernetes 2>/dev/null || true"):
        time.sleep(0.05)
    hosts = [{"name": "n1", "memory_mb": 512}]
    machine.sandbox.bring("powered-off", hosts=hosts)
    run.wait()
    machine.sandbox.up(*hosts, inventory=str(machine.directory / "inventory.yml"))
    finished = machine.declare(STATE)
    assert "failed" not in finished, finished["msg"]
    assert not machine.declare(STATE)["changed"]
    assert machine.unit("kubelet")["ActiveState"] == "active"
