# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing is left behind, whatever was killed, and nothing else is touched."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox import engine, machine

from tests.integration.sandbox.machine import (
    INOTIFY,
    ROOT,
    STATE_ROOT,
    Sandbox,
    environment,
    other_sandboxes,
    shared_state,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CP1 = {"name": "cp1", "groups": ["control_plane"], "memory_mb": 512}
W1 = {"name": "w1", "groups": ["workers"]}


@pytest.fixture(autouse=True)
def unchanged(sandbox: Sandbox) -> Iterator[None]:
    """After each test, `absent` must leave the machine as it was before."""
    assert sandbox.traces() == set()
    others = other_sandboxes()
    before = shared_state()
    yield
    sandbox.bring("absent")
    assert sandbox.traces() == set()
    if not others and not other_sandboxes():
        assert shared_state() == before


def start(command: list[str]) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, to be killed as a whole."""
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill_run(victim: subprocess.Popen[bytes]) -> None:
    """Kill a run of Ansible with its workers, which have sessions of their own, and the module; nothing that these started."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8") as stream:
                    parents[int(entry)] = int(stream.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
    family = {victim.pid}
    while children := {child for child, parent in parents.items() if parent in family} - family:
        family |= children
    for process in family:
        words = command_line(process)
        program = os.path.basename(words.split("\0")[0])
        shell = words.startswith("/bin/sh\0-c\0")  # a module that is piped into its interpreter does not name Ansible
        if (program.startswith("python") or shell) and engine.PACKAGE not in words:
            machine.kill(process, signal.SIGKILL)
    victim.wait()


def test_check_mode_writes_nothing(sandbox: Sandbox) -> None:
    before = shared_state()
    planned = sandbox.bring("present", "--check", hosts=[CP1, W1])
    assert planned["changed"]
    assert sandbox.traces() == set()
    assert shared_state() == before
    done = sandbox.up(CP1, W1)
    assert done["plan"] == planned["plan"]
    for state in ("absent", "powered-off", "rebooted"):
        traces, boot = sandbox.traces(), sandbox.boot_id(done["hosts"]["cp1"]["address"])
        assert sandbox.bring(state, "--check")["changed"]
        assert sandbox.traces() == traces
        assert sandbox.boot_id(done["hosts"]["cp1"]["address"]) == boot


def test_absent_twice(sandbox: Sandbox) -> None:
    sandbox.up(CP1)
    assert sandbox.bring("absent")["changed"]
    assert sandbox.traces() == set()
    assert not sandbox.bring("absent")["changed"]
    assert not sandbox.bring("absent", only=["w1"])["changed"]
    assert not sandbox.bring("powered-off")["changed"]
    assert "sandbox_state=present" in sandbox.bring("rebooted", "--check")["msg"]


def test_limits_are_raised_and_put_back(sandbox: Sandbox) -> None:
    if other_sandboxes():
        pytest.skip("other sandboxes of this machine keep the limits raised: " + ", ".join(other_sandboxes()))
    limit = INOTIFY / "max_user_instances"
    before = limit.read_text()
    value = int(before) + 7
    sandbox.up(CP1, inotify_instances=value)
    assert int(limit.read_text()) == value
    second = Sandbox(sandbox.name + "x", sandbox.mirror, sandbox.cache)
    try:
        second.up(CP1, inotify_instances=value)
        sandbox.bring("absent")
        assert int(limit.read_text()) == value, "another sandbox is still there"
    finally:
        second.bring("absent")
    assert limit.read_text() == before


def test_killed_supervisors_then_absent(sandbox: Sandbox) -> None:
    sandbox.up(CP1, W1)
    for name in ("cp1", "w1"):
        engine.stop_programs("supervisor", str(sandbox.layout.host(name).directory))
    assert machine.guest_init(engine.cgroups_of(sandbox.layout.host("cp1"))) is not None, "the guest runs on"


def test_killed_nspawn_then_power_cut(sandbox: Sandbox) -> None:
    sandbox.up(CP1)
    mine = f"--machine={sandbox.layout.host('cp1').machine}".encode()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as stream:
                    if mine in stream.read().split(b"\0"):
                        os.kill(int(entry), signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                continue
    time.sleep(0.5)
    assert machine.guest_init(engine.cgroups_of(sandbox.layout.host("cp1"))) is not None, (
        "killing nspawn leaves the guest running"
    )
    assert sandbox.bring("powered-off")["changed"]
    address = sandbox.up(CP1)["hosts"]["cp1"]["address"]
    assert sandbox.boot_id(address)


def test_lost_shell_is_repaired(sandbox: Sandbox) -> None:
    address = sandbox.up(CP1)["hosts"]["cp1"]["address"]
    before = sandbox.boot_id(address)
    machine.run(["ip", "link", "del", sandbox.layout.link])
    assert [change["kind"] for change in sandbox.up(CP1)["plan"]] == ["switch"]
    assert sandbox.boot_id(address) == before


def test_half_a_switch_is_made_anew(sandbox: Sandbox) -> None:
    """What a run leaves that is killed before the bridge is there."""
    sandbox.up(CP1)
    sandbox.bring("powered-off")
    machine.run(["ip", "link", "set", sandbox.layout.link, "down"])
    machine.run(["ip", "-n", sandbox.layout.switch, "link", "del", "bridge"])
    hosts = sandbox.up(CP1)["hosts"]
    assert sandbox.boot_id(hosts["cp1"]["address"])
    assert not sandbox.up(CP1)["changed"]


@pytest.mark.parametrize("seed", range(8))
def test_killed_at_any_moment_then_run_again(sandbox: Sandbox, seed: int) -> None:
    """The module is killed somewhere between its start and its end."""
    moment = random.Random(seed).uniform(0.4, 2.4)
    victim = start(sandbox.command("present", hosts=[CP1, W1]))
    time.sleep(moment)
    kill_run(victim)
    if seed % 2:
        hosts = sandbox.up(CP1, W1)["hosts"]
        assert len({sandbox.boot_id(host["address"]) for host in hosts.values()}) == 2
        assert not sandbox.up(CP1, W1)["changed"]
        interrupted = start(sandbox.command("absent"))
        time.sleep(moment / 2)
        kill_run(interrupted)


def test_build_of_a_base_that_was_killed(sandbox: Sandbox, tmp_path: Path) -> None:
    """The next run takes away what the killed one left, mounts included; a refusal by the archive is told."""
    cache = tmp_path / "cache"
    victim = start(sandbox.command("present", hosts=[CP1], cache=str(cache)))
    for _ in machine.poll(20):
        if list(cache.glob(".building-*")):
            break
    kill_run(victim)
    for _ in machine.poll(5):
        if not any(str(cache) in words for words in command_lines()):
            break
    assert not [words for words in command_lines() if str(cache) in words], "debootstrap goes with the module"
    assert machine.mounts_below(cache) == []
    failed = sandbox.bring("present", hosts=[CP1], cache=str(cache), debian_mirror="http://127.0.0.1:9/debian")
    assert failed["failed"]
    assert "debootstrap" in failed["msg"]
    sandbox.bring("absent", cache=str(cache))
    assert not list(cache.glob(".building-*"))


def command_line(process: int) -> str:
    """Return the command line of a process, empty when it is gone."""
    try:
        with open(f"/proc/{process}/cmdline", "rb") as stream:
            return stream.read().decode(errors="replace")
    except OSError:
        return ""


def command_lines() -> list[str]:
    """Return the command lines of all processes but this one."""
    return [command_line(int(entry)) for entry in os.listdir("/proc") if entry.isdigit() and int(entry) != os.getpid()]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hosts": [CP1, CP1]}, ["cp1 is listed twice"]),
        ({"hosts": [{"name": "CP_1"}, {"name": "w1", "memory_mb": 5}]}, ["'CP_1'", "at least 128"]),
        ({"hosts": [CP1], "only": ["w9"]}, ["w9", "known hosts are: cp1"]),
        ({"hosts": [{**CP1, "address": "192.0.2.77"}]}, ["192.0.2.77", "subnet"]),
        ({"hosts": [{**CP1, "address": "{gateway}"}]}, ["is the machine"]),
    ],
)
def test_refusals_come_before_any_change(sandbox: Sandbox, options: dict[str, Any], words: list[str]) -> None:
    subnet = sandbox.bring("present", "--check", hosts=[CP1])["subnet"]
    gateway = subnet.replace(".0/24", ".1")
    hosts = [
        {**host, "address": host["address"].format(gateway=gateway)} if "address" in host else host
        for host in options["hosts"]
    ]
    before = shared_state()
    result = sandbox.bring("present", **{**options, "hosts": hosts})
    assert result["failed"]
    for word in words:
        assert word in result["msg"]
    assert sandbox.traces() == set()
    assert shared_state() == before
    assert not (STATE_ROOT / sandbox.name).exists()
