# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on the machine: what a profile is, names in /etc/hosts, and steps that may be cut short anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.minikube import names, observe, profile
from ansible_collections.stagecraft.gitops.plugins.module_utils.minikube.host import (
    Completed,
    Host,
    LocalApi,
    NodeError,
    home_of,
    read_json,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.node import host as journal
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.api import ApiUnavailable
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.minikube.plan import Desired, make_plan

ENTRY = {"environment": "local", "profile": "minikube", "settings": "one"}
WANTED = {"entry": ENTRY, "arguments": ["--driver=none"], "addons": ["default-storageclass"], "names": ["a.local"]}
DESIRED = Desired(
    "local",
    "minikube",
    "started",
    "none",
    "v1.36.3",
    "containerd",
    2,
    4096,
    20000,
    8443,
    ("default-storageclass",),
    ("a.local",),
    "one",
)


class Killed(BaseException):
    """The run was killed here."""


class FakeHost(Host):
    """A machine below a directory with a Minikube that only keeps its records; ``kill_at`` ends the run at that command."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, profile="minikube")
        object.__setattr__(self, "calls", [])
        object.__setattr__(self, "up", [False])
        object.__setattr__(self, "fails", {})
        object.__setattr__(self, "kill_at", [None, 0])
        root.joinpath("etc").mkdir(exist_ok=True)
        root.joinpath("etc/hosts").write_text("127.0.0.1 localhost\n")

    calls: list[list[str]]
    up: list[bool]
    fails: dict[str, Completed]
    kill_at: list[Any]

    def run(self, argv: Any, timeout: float = 60.0, input_text: str | None = None) -> Completed:
        self.calls.append(list(argv))
        if argv[0] == "systemctl":
            return Completed(0 if self.up[0] else 3, "", "")
        words = argv[list(argv).index("/usr/local/bin/minikube") + 1 :]
        if words[0] in self.fails:
            return self.fails[words[0]]
        when, count = self.kill_at
        self.kill_at[1] = count + 1
        if when == (count, "before"):
            raise Killed
        self._act(words)
        if when == (count, "after"):
            raise Killed
        return Completed(0, "", "")

    def _act(self, words: list[str]) -> None:
        if words[0] == "start":
            addons = (read_json(self.record) or {}).get(
                "Addons", {"default-storageclass": True, "storage-provisioner": True}
            )
            self.write_record(addons)
            self.path(self.kubeconfig).write_text("server: https://192.0.2.31:8443\n")
            self.up[0] = True
        elif words[0] == "stop":
            self.up[0] = False
        elif words[0] == "delete":
            self.record.unlink(missing_ok=True)
            self.up[0] = False
        elif words[0] == "addons":
            record: Mapping[str, Any] = read_json(self.record) or {}
            self.write_record({**record["Addons"], words[2]: words[1] == "enable"})

    def write_record(self, addons: Mapping[str, bool]) -> None:
        self.record.parent.mkdir(parents=True, exist_ok=True)
        self.record.write_text(
            json.dumps(
                {
                    "Driver": "none",
                    "Memory": 3900,
                    "CPUs": 2,
                    "DiskSize": 20000,
                    "APIServerPort": 8443,
                    "KubernetesConfig": {"KubernetesVersion": "v1.36.3", "ContainerRuntime": "containerd"},
                    "Nodes": [{"IP": "192.0.2.31", "Port": 8443}],
                    "Addons": dict(addons),
                }
            )
        )

    def verbs(self) -> list[str]:
        """What Minikube was called for."""
        calls = [
            call[call.index("/usr/local/bin/minikube") + 1 :]
            for call in self.calls
            if "/usr/local/bin/minikube" in call
        ]
        return [" ".join(word for word in call[:3] if not word.startswith("-")) for call in calls]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    fake = FakeHost(tmp_path)

    class Api:
        def __init__(self, asked: Host) -> None:
            if not fake.up[0]:
                raise ApiUnavailable("nobody answers")

        def ready(self) -> bool:
            return True

        def nodes(self) -> list[dict[str, Any]]:
            return [{"name": "m1", "ready": True}]

    monkeypatch.setattr(observe, "LocalApi", Api)
    return fake


def converge(host: FakeHost, desired: Desired = DESIRED) -> tuple[str, ...]:
    """One whole run: look, plan, carry out."""
    plan = make_plan(desired, observe.observe(host))
    assert plan.problems == ()
    profile.carry_out(host, plan.steps, WANTED, 5)
    return plan.steps


def test_a_bare_machine_gets_a_cluster_and_the_second_run_finds_nothing_to_do(host: FakeHost) -> None:
    assert converge(host) == ("start",)
    assert host.verbs() == ["start", "addons disable storage-provisioner"]
    assert (host.root / "etc/hosts").read_text().splitlines()[2] == "192.0.2.31 a.local"
    assert converge(host) == ()
    assert observe.observe(host)["membership"] == "member"


def test_minikube_runs_with_a_kubeconfig_of_its_own(host: FakeHost) -> None:
    converge(host)
    started = next(call for call in host.calls if "start" in call)
    assert started[0] == "env"
    assert "KUBECONFIG=/root/.minikube/stagecraft/minikube.kubeconfig" in started
    assert started[-1] == "--profile=minikube"
    assert "--driver=none" in started


def test_minikube_runs_as_the_user_whose_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def record(self: Host, argv: Any, timeout: float = 60.0, input_text: str | None = None) -> Completed:
        seen.append(list(argv))
        return Completed(0, "", "")

    monkeypatch.setattr(Host, "run", record)
    Host(tmp_path, user="me", home="/home/me").minikube(["stop"], 1)
    assert seen[0][:4] == ["runuser", "-u", "me", "--"]
    assert "MINIKUBE_HOME=/home/me" in seen[0]


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("count", [0, 1])
def test_a_run_that_is_killed_while_it_makes_the_cluster_is_finished_by_the_next(
    host: FakeHost, count: int, where: str
) -> None:
    host.kill_at[0] = (count, where)
    with pytest.raises(Killed):
        converge(host)
    assert observe.observe(host)["membership"] == "interrupted"
    host.kill_at[0] = None
    assert "start" in converge(host)
    assert converge(host) == ()


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("count", [0, 1])
def test_a_run_that_is_killed_while_it_makes_the_cluster_anew_needs_no_second_leave(
    host: FakeHost, count: int, where: str
) -> None:
    converge(host)
    newer = Desired(**{**DESIRED.__dict__, "version": "v1.37.0", "recreate": "minikube"})
    host.kill_at[:] = [(count, where), 0]
    with pytest.raises(Killed):
        converge(host, newer)
    host.kill_at[0] = None
    assert make_plan(DESIRED, observe.observe(host)).steps == ("delete", "start")


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_delete_that_is_killed_is_finished_by_the_next(host: FakeHost, where: str) -> None:
    converge(host)
    host.kill_at[:] = [(0, where), 0]
    with pytest.raises(Killed):
        profile.remove(host, 5)
    assert observe.observe(host)["membership"] == "interrupted"
    profile.remove(host, 5)
    assert observe.observe(host)["membership"] == "absent"
    assert (host.root / "etc/hosts").read_text() == "127.0.0.1 localhost\n"
    assert not host.exists(host.kubeconfig)


@pytest.mark.parametrize("finished", [True, False])
def test_a_removal_that_is_killed_does_not_forget_whose_the_profile_is(host: FakeHost, finished: bool) -> None:
    converge(host)
    if not finished:
        (host.state / "member.json").unlink()
        journal.begin(host.state, ENTRY)
    host.kill_at[:] = [(0, "before"), 0]
    with pytest.raises(Killed):
        profile.remove(host, 5)
    found = observe.observe(host)
    assert (found["membership"], found["begun"]["environment"]) == ("interrupted", "local")


def test_what_minikube_said_is_in_the_error(host: FakeHost) -> None:
    host.fails["start"] = Completed(80, "", "X Exiting due to GUEST_MISSING_CONNTRACK\n")
    with pytest.raises(NodeError, match=r"minikube start ended with 80:\nX Exiting due to GUEST_MISSING_CONNTRACK"):
        converge(host)


def test_a_cluster_that_does_not_get_ready_is_told_with_what_is_missing(host: FakeHost) -> None:
    with pytest.raises(NodeError, match="profile minikube was started, and not ready: the API server"):
        profile.wait(host, 0)


@pytest.mark.parametrize(
    ("begun", "member", "recorded", "what"),
    [
        (None, None, False, "absent"),
        (None, None, True, "foreign"),
        ({}, None, False, "interrupted"),
        ({}, {}, True, "interrupted"),
        (None, {}, True, "member"),
        (None, {}, False, "damaged"),
    ],
)
def test_what_a_profile_is(begun: Any, member: Any, recorded: bool, what: str) -> None:
    assert observe.membership(begun, member, recorded) == what


def test_a_record_of_another_minikube_is_read_as_far_as_it_goes() -> None:
    found = observe.summary({"Driver": "docker", "Nodes": [], "KubernetesConfig": None, "Addons": None})
    assert (found["driver"], found["version"], found["port"], found["addons"]) == ("docker", "", 0, [])


def test_a_stopped_kubelet_is_no_running_cluster(host: FakeHost) -> None:
    api = {"ready": True, "nodes": [{"name": "m1", "ready": True}]}
    assert observe.is_running({"api": api, "kubelet": None})
    assert observe.is_running({"api": api, "kubelet": True})
    assert not observe.is_running({"api": api, "kubelet": False})
    assert not observe.is_running({"api": {"ready": True, "nodes": []}, "kubelet": None})


def test_a_user_that_is_not_there_is_named() -> None:
    assert home_of("root") == "/root"
    with pytest.raises(NodeError, match="no user 'nobody-of-this-name'"):
        home_of("nobody-of-this-name")


@pytest.mark.parametrize("server", ["https://192.0.2.31:8443", "https://[2001:db8::1]:8443"])
def test_the_server_is_read_from_the_kubeconfig(tmp_path: Path, server: str) -> None:
    host = Host(tmp_path)
    path = host.path(host.kubeconfig)
    path.parent.mkdir(parents=True)
    with pytest.raises(ApiUnavailable, match="names no API server"):
        LocalApi(host)
    path.write_text(f"clusters:\n- cluster:\n    server: {server}\n  name: minikube\n")
    LocalApi(host)


class TestNames:
    """A block of our own, and nothing else of the file."""

    def test_go_in_and_out_without_a_trace(self) -> None:
        text = "127.0.0.1 localhost\n# mine\n"
        there = names.write(text, "minikube", "192.0.2.31", ["a.local", "b.local"])
        assert names.read(there, "minikube") == {"192.0.2.31": ["a.local", "b.local"]}
        assert names.write(there, "minikube", "192.0.2.31", ["a.local", "b.local"]) == there
        assert names.write(there, "minikube", "", ()) == text

    def test_of_several_profiles_lie_beside_each_other(self) -> None:
        text = names.write(names.write("", "one", "192.0.2.1", ["one.local"]), "two", "192.0.2.2", ["two.local"])
        assert names.read(names.write(text, "one", "", ()), "two") == {"192.0.2.2": ["two.local"]}
        assert names.read(text, "three") == {}

    def test_are_written_behind_a_last_line_without_an_end(self) -> None:
        assert names.write("::1 localhost", "minikube", "192.0.2.31", ["a.local"]).startswith("::1 localhost\n#")
