# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units: when they are started, restarted, reloaded or left alone."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state import errors, spec, systemd
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state.system import Completed

from .fake_host import FakeHost

UNIT_FILE = "/etc/systemd/system/daemon.service"
BINARY = "/usr/local/bin/daemon"


@pytest.fixture
def state(host: FakeHost) -> dict[str, Any]:
    """A running daemon with a configuration."""
    host.write(BINARY, "1")
    declared: dict[str, Any] = {
        "files": [
            {"path": UNIT_FILE, "content": f"ExecStart={BINARY}\n", "notify": ["daemon"]},
            {"path": "/etc/daemon.conf", "content": "a\n", "notify": ["daemon"]},
        ],
        "units": [{"name": "daemon", "exe": BINARY}],
    }
    host.apply(declared)
    host.commands.clear()
    return declared


def _verbs(host: FakeHost) -> list[str]:
    return [command[1] for command in host.commands if command[0] == "systemctl" and command[1] != "show"]


def test_first_start(host: FakeHost, state: dict[str, Any]) -> None:
    assert host.unit("daemon.service")["active"] == "active"
    assert host.unit("daemon.service")["runs"] == 1
    assert host.apply(state)["facts"]["units"]["daemon.service"] == {
        "pid": host.unit("daemon.service")["pid"],
        "exe": BINARY,
        "active": "active",
        "enabled": "enabled",
    }


def test_a_no_op_is_one_look_at_all_units(host: FakeHost, state: dict[str, Any]) -> None:
    state["units"] += [{"name": f"other{number}", "state": "any", "enabled": False} for number in range(20)]
    assert host.apply(state)["plan"] == []
    assert len(host.commands) == 1


def test_a_changed_file_restarts_without_a_reload_of_systemd(host: FakeHost, state: dict[str, Any]) -> None:
    state["files"][1]["content"] = "b\n"
    assert host.apply(state)["restarted"] == ["daemon.service"]
    assert _verbs(host) == ["restart"]


def test_a_changed_file_reloads_where_that_is_wanted(host: FakeHost, state: dict[str, Any]) -> None:
    state["files"][1]["content"] = "b\n"
    state["units"][0]["on_change"] = "reload"
    pid = host.unit("daemon.service")["pid"]
    assert host.apply(state)["restarted"] == ["daemon.service"]
    assert _verbs(host) == ["reload-or-restart"]
    assert host.unit("daemon.service")["pid"] == pid


@pytest.mark.parametrize("path", [UNIT_FILE, "/etc/systemd/system/daemon.service.d/limits.conf"])
def test_a_changed_unit_file_reloads_systemd_and_restarts_even_where_reload_is_wanted(
    host: FakeHost, state: dict[str, Any], path: str
) -> None:
    state["units"][0]["on_change"] = "reload"
    state["files"] = [entry for entry in state["files"] if entry["path"] != path]
    state["files"].append({"path": path, "content": f"ExecStart={BINARY}\n# new\n", "notify": ["daemon"]})
    host.apply(state)
    assert _verbs(host) == ["daemon-reload", "restart"]


def test_a_file_that_notifies_nobody_restarts_nothing(host: FakeHost, state: dict[str, Any]) -> None:
    state["files"][1] = {"path": "/etc/daemon.conf", "content": "c\n"}
    assert host.apply(state)["restarted"] == []
    assert _verbs(host) == []


def test_a_replaced_program_is_restarted(host: FakeHost, state: dict[str, Any]) -> None:
    host.path(BINARY).rename(host.path(BINARY + ".old"))
    host.write(BINARY, "2")
    result = host.apply(state)
    assert "(deleted), wanted /usr/local/bin/daemon" in result["plan"][0]["after"]
    assert result["restarted"] == ["daemon.service"]
    assert host.unit("daemon.service")["content"] == "2"


def test_a_store_behind_a_link_is_no_reason_to_restart(host: FakeHost) -> None:
    host.path("/data/opt").mkdir(parents=True)
    host.path("/opt").symlink_to("/data/opt")
    host.write("/data/opt/daemon", "1")
    state = {
        "files": [{"path": UNIT_FILE, "content": "ExecStart=/usr/bin/daemon\n", "notify": ["daemon"]}],
        "links": [{"path": "/usr/bin/daemon", "target": "/opt/daemon"}],
        "units": [{"name": "daemon", "exe": "/usr/bin/daemon"}],
    }
    host.apply(state)
    assert host.apply(state)["plan"] == []
    assert host.unit("daemon.service")["runs"] == 1


def test_a_switched_link_of_the_program_restarts(host: FakeHost, state: dict[str, Any]) -> None:
    host.write("/opt/daemon-2", "2")
    state["links"] = [{"path": "/usr/local/bin/new", "target": "/opt/daemon-2"}]
    state["files"][0]["content"] = "ExecStart=/usr/local/bin/new\n"
    state["units"][0]["exe"] = "/usr/local/bin/new"
    assert host.apply(state)["restarted"] == ["daemon.service"]
    assert host.apply(state)["plan"] == []


def test_a_marker_of_an_interrupted_run_restarts_and_goes(host: FakeHost, state: dict[str, Any]) -> None:
    host.write("/var/lib/stagecraft/pending/daemon.service", "restart\n")
    result = host.apply(state)
    assert [(change["action"], change["after"]) for change in result["plan"]] == [
        ("restart", "active, restart left over from an interrupted run")
    ]
    assert not host.path("/var/lib/stagecraft/pending/daemon.service").exists()
    assert host.apply(state)["plan"] == []


def test_a_marker_of_a_unit_of_another_role_is_left_alone(host: FakeHost, state: dict[str, Any]) -> None:
    host.write("/var/lib/stagecraft/pending/other.service", "restart\n")
    assert host.apply(state)["plan"] == []
    assert host.path("/var/lib/stagecraft/pending/other.service").exists()


def test_a_marker_of_a_unit_that_does_not_run_and_need_not_is_dropped(host: FakeHost) -> None:
    host.write("/var/lib/stagecraft/pending/other.service", "restart\n")
    before = host.snapshot()
    state = {"units": [{"name": "other", "state": "any", "enabled": False}]}
    assert host.apply(state, check=True)["plan"] == []
    assert host.snapshot() == before
    assert not host.apply(state)["changed"]
    assert not host.path("/var/lib/stagecraft/pending/other.service").exists()


def test_a_stronger_marker_is_not_weakened(host: FakeHost, state: dict[str, Any]) -> None:
    host.write("/var/lib/stagecraft/pending/daemon.service", "restart\n")
    state["files"][1]["content"] = "b\n"
    state["units"][0]["on_change"] = "reload"
    host.apply(state)
    assert _verbs(host) == ["restart"]


def test_any_restarts_a_running_unit_and_starts_none(host: FakeHost, state: dict[str, Any]) -> None:
    state["units"][0]["state"] = "any"
    state["files"][1]["content"] = "b\n"
    assert host.apply(state)["restarted"] == ["daemon.service"]
    host.set_unit("daemon.service", active="inactive", pid=0)
    state["files"][1]["content"] = "c\n"
    result = host.apply(state)
    assert result["changed"]
    assert result["restarted"] == result["started"] == []
    assert host.unit("daemon.service")["active"] == "inactive"
    assert not list(host.path("/var/lib/stagecraft/pending").iterdir())


def test_a_stopped_unit_is_started(host: FakeHost, state: dict[str, Any]) -> None:
    host.set_unit("daemon.service", active="inactive", pid=0)
    assert host.apply(state)["started"] == ["daemon.service"]


def test_a_failed_unit_has_its_counter_reset_first(host: FakeHost, state: dict[str, Any]) -> None:
    host.set_unit("daemon.service", active="failed", pid=0)
    assert host.apply(state)["started"] == ["daemon.service"]
    assert _verbs(host) == ["reset-failed", "start"]


def test_stopped_and_absent(host: FakeHost, state: dict[str, Any]) -> None:
    state["units"][0] = {"name": "daemon", "state": "stopped", "enabled": True}
    assert host.apply(state)["stopped"] == ["daemon.service"]
    assert host.unit("daemon.service")["enabled"] == "enabled"
    assert host.apply(state)["plan"] == []
    state["units"][0] = {"name": "daemon", "state": "absent"}
    state["files"] = [{"path": UNIT_FILE, "absent": True, "notify": ["daemon"]}]
    host.commands.clear()
    result = host.apply(state)
    assert [(change["kind"], change["action"]) for change in result["plan"]] == [
        ("unit", "disable"),
        ("file", "remove"),
        ("systemd", "daemon-reload"),
    ]
    assert host.apply(state)["plan"] == []


def test_a_unit_is_stopped_before_its_file_goes(host: FakeHost, state: dict[str, Any]) -> None:
    state = {"units": [{"name": "daemon", "state": "absent"}], "files": [{"path": UNIT_FILE, "absent": True}]}
    result = host.apply(state)
    assert [change["action"] for change in result["plan"]] == ["stop", "disable", "remove", "daemon-reload"]


def test_a_unit_that_nothing_brings_is_refused_before_anything_changes(host: FakeHost) -> None:
    state = {"files": [{"path": "/etc/x", "content": "x"}], "units": [{"name": "chronyy"}]}
    before = host.snapshot()
    assert "chronyy.service does not exist" in host.apply(state, check=True)["unmet"][0]
    with pytest.raises(errors.ProblemsError, match=r"chronyy\.service does not exist here"):
        host.apply(state)
    assert host.snapshot() == before


def test_a_masked_unit_is_refused(host: FakeHost, state: dict[str, Any]) -> None:
    host.set_unit("daemon.service", enabled="masked")
    with pytest.raises(errors.ProblemsError, match=r"systemctl unmask daemon\.service"):
        host.apply(state)


def test_a_host_without_systemd_may_be_planned_only(host: FakeHost, state: dict[str, Any]) -> None:
    host.path("/run/systemd/system").rmdir()
    assert "systemd is not PID 1" in host.apply(state, check=True)["unmet"][0]
    with pytest.raises(errors.ProblemsError, match="systemd is not PID 1"):
        host.apply(state)


def test_a_unit_that_dies_fails_with_its_journal(host: FakeHost) -> None:
    state = {
        "files": [{"path": UNIT_FILE, "content": "ExecStart=/no/such/program\n"}],
        "units": [{"name": "daemon"}],
    }
    with pytest.raises(errors.HostStateError, match=r"(?s)daemon.service did not become active.*failed.*log of daemon"):
        host.apply(state)


def test_a_failing_command_is_quoted_with_the_journal(host: FakeHost, state: dict[str, Any]) -> None:
    host.answers["systemctl restart"] = Completed(1, "", "Job for daemon.service failed.")
    state["files"][1]["content"] = "b\n"
    with pytest.raises(errors.HostStateError, match=r"(?s)restart daemon.service failed \(rc 1\): Job.*log of daemon"):
        host.apply(state)
    assert host.path("/var/lib/stagecraft/pending/daemon.service").exists()


def test_a_unit_that_a_package_starts_with_its_own_configuration_is_restarted_with_ours(host: FakeHost) -> None:
    state = {
        "packages": ["chrony"],
        "files": [{"path": "/etc/chrony.conf", "content": "ours\n", "notify": ["chrony"]}],
    }
    assert host.apply(state)["restarted"] == ["chrony.service"]
    assert host.unit("chrony.service")["runs"] == 2
    assert host.apply(state)["plan"] == []


def test_a_unit_that_a_package_starts_is_stopped_where_that_is_wanted(host: FakeHost) -> None:
    state = {"packages": ["chrony"], "units": [{"name": "chrony", "state": "stopped", "enabled": False}]}
    assert host.apply(state)["stopped"] == ["chrony.service"]
    assert host.unit("chrony.service") == {**host.unit("chrony.service"), "active": "inactive", "enabled": "disabled"}


class _Flapping:
    """A runner whose unit has another main PID at every look for a while, or never comes up."""

    def __init__(self, states: list[tuple[str, int]]) -> None:
        self.states = states

    def __call__(self, argv: Any, env: Any, timeout: float) -> Completed:
        if argv[0] == "journalctl":
            return Completed(0, "boom\n", "")
        active, pid = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return Completed(0, f"ActiveState={active}\nSubState=x\nMainPID={pid}\nResult=exit-code\n", "")


def _wait(host: FakeHost, states: list[tuple[str, int]], timeout: float = 5.0) -> list[str]:
    system = host.system()
    system._runner = _Flapping(states)
    ticks = iter(range(1000))
    system.now = lambda: next(ticks)  # type: ignore[method-assign]
    return systemd.wait_active(system, [spec.Unit("a.service", state="started", start_timeout=timeout)])


def test_waiting_needs_two_looks_at_the_same_process(host: FakeHost) -> None:
    states = [("activating", 0), ("active", 1), ("active", 2), ("active", 2), ("failed", 0)]
    assert _wait(host, states) == []
    assert states == [("failed", 0)]


def test_waiting_ends_at_the_deadline(host: FakeHost) -> None:
    (problem,) = _wait(host, [("activating", 0)])
    assert problem.startswith("a.service did not become active within 5 s: it is activating")
    assert problem.endswith("boom")


def test_waiting_ends_early_when_the_unit_has_failed(host: FakeHost) -> None:
    (problem,) = _wait(host, [("activating", 0), ("failed", 0)], timeout=900)
    assert "it is failed (x, result exit-code)" in problem


def test_a_reload_of_systemd_that_an_interrupted_run_owes_is_made_up_for(host: FakeHost) -> None:
    state = {"files": [{"path": "/etc/systemd/system/job.timer", "content": "[Timer]\n"}]}

    def unplug(what: str) -> None:
        if what == "systemctl daemon-reload":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        host.apply(state, hook=unplug)
    host.commands.clear()
    assert host.apply(state)["changed"]
    assert _verbs(host) == ["daemon-reload"]
    assert host.apply(state)["plan"] == []


def test_a_process_that_is_not_its_program_yet_is_no_reason_to_restart(host: FakeHost, state: dict[str, Any]) -> None:
    pid = host.unit("daemon.service")["pid"]
    show = f"ActiveState=active\nMainPID={pid}\nLoadState=loaded\nUnitFileState=enabled\n"
    host.answers["systemctl show"] = Completed(0, show, "")
    for program, planned in (("/usr/lib/systemd/systemd-executor", []), ("/usr/bin/other", ["restart"])):
        link = host.path(f"/proc/{pid}/exe")
        link.unlink()
        link.symlink_to(program)
        assert [change["action"] for change in host.apply(state, check=True)["plan"]] == planned
