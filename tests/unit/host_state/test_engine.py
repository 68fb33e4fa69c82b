# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole engine on a fake host: first run, second run, upgrades, interruptions."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state import errors, store

from .fake_host import ARCH, FakeHost, digest, tar_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BINARY = b"#!kubelet 1"
ARCHIVE = tar_of({"./bin/containerd": "containerd 1", "./bin/ctr": "ctr 1"})
PLUGINS = tar_of({"bridge": "bridge", "host-local": "host-local"})
IMAGE = b"IMAGE registry.k8s.io/pause:3.10.2 build 1"
DIGESTS = {
    "kubelet/1.0": digest(BINARY),
    "containerd/2.0": digest(ARCHIVE),
    "cni-plugins/1.9": digest(PLUGINS),
    "pause/3.10.2": digest(IMAGE, "registry.k8s.io/pause:3.10.2"),
}
ARTIFACTS: list[dict[str, Any]] = [
    {
        "name": "containerd",
        "version": "2.0",
        "install": "archive",
        "strip": 1,
        "links": {"/usr/local/bin/containerd": "containerd", "/usr/local/bin/ctr": "ctr"},
        "notify": ["containerd"],
    },
    {
        "name": "kubelet",
        "version": "1.0",
        "install": "binary",
        "links": {"/usr/local/bin/kubelet": "kubelet"},
        "notify": ["kubelet"],
    },
    {"name": "cni-plugins", "version": "1.9", "install": "archive", "directory": "/opt/cni/bin"},
    {"name": "pause", "version": "3.10.2", "install": "image"},
]
STATE: dict[str, Any] = {
    "directories": [{"path": "/etc/kubernetes/manifests", "mode": "0700"}],
    "files": [
        {
            "path": "/etc/systemd/system/kubelet.service",
            "content": "ExecStart=/usr/local/bin/kubelet\n",
            "notify": ["kubelet"],
        },
        {
            "path": "/etc/systemd/system/containerd.service",
            "content": "ExecStart=/usr/local/bin/containerd\n",
            "notify": ["containerd"],
        },
        {"path": "/etc/containerd/config.toml", "content": "version = 3\n", "notify": ["containerd"]},
        {
            "path": "/etc/kubernetes/token",
            "content": "s3cr3t-t0ken",
            "mode": "0600",
            "sensitive": True,
            "notify": ["kubelet"],
        },
        {"path": "/etc/chrony/chrony.conf", "content": "server ntp\n", "notify": ["chrony"]},
        {"path": "/etc/old.conf", "absent": True},
    ],
    "links": [{"path": "/etc/resolv.link", "target": "/run/resolv.conf"}],
    "artifacts": ARTIFACTS,
    "kernel_modules": ["overlay", "br_netfilter"],
    "sysctl": {"net.ipv4.ip_forward": "1", "net.bridge.bridge-nf-call-iptables": 1},
    "sysctl_file": "/etc/sysctl.d/99-test.conf",
    "swap": "disabled",
    "packages": ["chrony", "iptables"],
    "units": [
        {"name": "containerd", "exe": "/usr/local/bin/containerd"},
        {"name": "kubelet", "exe": "/usr/local/bin/kubelet"},
        {"name": "chrony"},
    ],
}


def bare(path: Path) -> FakeHost:
    path.mkdir()
    host = FakeHost(path)
    host.write("/etc/old.conf", "old")
    host.write("/etc/fstab", "UUID=abc / ext4 defaults 0 1\nUUID=def none swap sw 0 0\n")
    host.write("/proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n")
    return host


def push_all(host: FakeHost, *blobs: bytes) -> None:
    for blob in blobs or (BINARY, ARCHIVE, PLUGINS, IMAGE):
        host.push(blob)


def assert_declared(host: FakeHost) -> None:
    assert os.readlink(host.path("/usr/local/bin/kubelet")) == "/opt/stagecraft/kubelet/1.0/kubelet"
    assert host.read("/opt/stagecraft/kubelet/1.0/kubelet") == BINARY.decode()
    assert os.readlink(host.path("/usr/local/bin/ctr")) == "/opt/stagecraft/containerd/2.0/ctr"
    assert host.read("/opt/cni/bin/bridge") == "bridge"
    assert host.read("/etc/kubernetes/token") == "s3cr3t-t0ken"
    assert host.path("/etc/kubernetes/token").stat().st_mode & 0o777 == 0o600
    assert host.path("/etc/kubernetes/manifests").stat().st_mode & 0o777 == 0o700
    assert not host.path("/etc/old.conf").exists()
    assert "# UUID=def none swap sw 0 0\n" in host.read("/etc/fstab")
    assert host.read("/proc/sys/net/ipv4/ip_forward").strip() == "1"
    assert host.read("/proc/sys/net/bridge/bridge-nf-call-iptables").strip() == "1"
    assert host.read("/etc/chrony/chrony.conf") == "server ntp\n"
    assert host.state["images"] == ["registry.k8s.io/pause:3.10.2"]
    for name in ("containerd.service", "kubelet.service", "chrony.service"):
        assert host.unit(name)["active"] == "active"
        assert host.unit(name)["enabled"] == "enabled"
    assert not list(host.path("/var/lib/stagecraft/pending").iterdir())
    assert not list(host.path("/var/lib/stagecraft/incoming").iterdir())


def leftovers(host: FakeHost) -> list[str]:
    return [name for name in host.snapshot() if "stagecraft-tmp" in name or name.endswith(".stagecraft-new")]


def test_first_run_reports_what_it_needs_and_changes_nothing(tmp_path: Path) -> None:
    host = bare(tmp_path / "host")
    before = host.snapshot()
    result = host.apply(STATE, DIGESTS)
    assert {need["key"] for need in result["needs"]} == set(DIGESTS)
    assert not result["changed"]
    assert host.snapshot() == before


def test_bare_host_gets_everything_and_the_second_run_is_empty(tmp_path: Path) -> None:
    host = bare(tmp_path / "host")
    push_all(host)
    result = host.apply(STATE, DIGESTS)
    assert result["changed"]
    assert_declared(host)
    assert leftovers(host) == []
    before = host.snapshot()
    host.commands.clear()
    again = host.apply(STATE, DIGESTS)
    assert again["plan"] == []
    assert not again["changed"]
    assert again["restarted"] == again["started"] == []
    assert host.snapshot() == before
    assert [command[:2] for command in host.commands] == [("/usr/local/bin/ctr", "-n"), ("systemctl", "show")]


def test_check_mode_on_a_bare_host_completes_and_writes_nothing(tmp_path: Path) -> None:
    host = bare(tmp_path / "host")
    before = host.snapshot()
    result = host.apply(STATE, DIGESTS, check=True)
    assert result["changed"]
    assert host.snapshot() == before
    kinds = [change["kind"] for change in result["plan"]]
    assert {
        "packages",
        "directory",
        "file",
        "kernel_module",
        "sysctl",
        "swap",
        "artifact",
        "link",
        "systemd",
        "unit",
        "image",
    } == set(kinds)


def test_sensitive_content_is_nowhere_in_the_result(tmp_path: Path) -> None:
    host = bare(tmp_path / "host")
    push_all(host)
    host.write("/etc/kubernetes/token", "old-s3cr3t")
    result = host.apply(STATE, DIGESTS)
    assert "s3cr3t" not in repr(result)
    assert any("content differs" in change["after"] for change in result["plan"])


def _run_killed_at(host: FakeHost, step: int, state: Mapping[str, Any], digests: Mapping[str, Any]) -> bool:
    """Run in a child process that dies without any clean-up before its change number `step`; True when it died."""
    child = os.fork()
    if child == 0:
        count = 0

        def hook(_what: str) -> None:
            nonlocal count
            count += 1
            if count > step:
                os._exit(9)

        try:
            host.apply(state, digests, hook=hook)
        except BaseException:  # noqa: BLE001 - the child must never return into pytest
            os._exit(3)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9), f"the run failed at step {step} instead of being killed"
    return status == 9


def _count_steps(host: FakeHost, state: Mapping[str, Any], digests: Mapping[str, Any]) -> int:
    steps: list[str] = []
    host.apply(state, digests, hook=steps.append)
    return len(steps)


def test_killed_between_any_two_steps_the_next_run_completes_a_first_installation(tmp_path: Path) -> None:
    host = bare(tmp_path / "count")
    push_all(host)
    total = _count_steps(host, STATE, DIGESTS)
    assert total > 60
    for step in range(total):
        host = bare(tmp_path / f"host-{step}")
        push_all(host)
        assert _run_killed_at(host, step, STATE, DIGESTS)
        needed = host.apply(STATE, DIGESTS)
        if needed["needs"]:
            push_all(host)
            host.apply(STATE, DIGESTS)
        assert host.apply(STATE, DIGESTS)["plan"] == [], step
        assert_declared(host)
        assert leftovers(host) == []


NEW_BINARY = b"#!kubelet 2"
NEW_CONFIG = "version = 3\n# more\n"


def _upgraded() -> tuple[dict[str, Any], dict[str, Any]]:
    state = {
        **STATE,
        "artifacts": [dict(entry) for entry in ARTIFACTS],
        "files": [dict(entry) for entry in STATE["files"]],
    }
    state["artifacts"][1]["version"] = "2.0"
    state["files"][1]["content"] += "# unit changed\n"
    state["files"][2]["content"] = NEW_CONFIG
    state["files"][4]["content"] = "server other\n"
    return state, {**DIGESTS, "kubelet/2.0": digest(NEW_BINARY)}


def test_killed_between_any_two_steps_of_an_upgrade_everything_that_must_be_restarted_is(tmp_path: Path) -> None:
    state, digests = _upgraded()
    host = bare(tmp_path / "count")
    push_all(host)
    host.apply(STATE, DIGESTS)
    host.push(NEW_BINARY)
    total = _count_steps(host, state, digests)
    assert total > 20
    for step in range(total):
        host = bare(tmp_path / f"host-{step}")
        push_all(host)
        host.apply(STATE, DIGESTS)
        runs = {name: unit["runs"] for name, unit in host.state["units"].items()}
        host.push(NEW_BINARY)
        assert _run_killed_at(host, step, state, digests)
        second = host.apply(state, digests)
        assert not second["needs"], step
        assert host.apply(state, digests)["plan"] == [], step
        for name in ("containerd.service", "kubelet.service", "chrony.service"):
            assert host.unit(name)["runs"] > runs[name], (step, name)
        assert host.unit("kubelet.service")["content"] == NEW_BINARY.decode()
        assert host.unit("containerd.service")["loaded"].endswith("# unit changed\n")
        assert not list(host.path("/var/lib/stagecraft/pending").iterdir())


def test_upgrade_restarts_only_what_changed(tmp_path: Path) -> None:
    host = bare(tmp_path / "host")
    push_all(host)
    host.apply(STATE, DIGESTS)
    pids = {name: unit["pid"] for name, unit in host.state["units"].items()}
    state = {**STATE, "files": [dict(entry) for entry in STATE["files"]]}
    state["files"][4]["content"] = "server other\n"
    result = host.apply(state, DIGESTS)
    assert result["restarted"] == ["chrony.service"]
    assert host.unit("containerd.service")["pid"] == pids["containerd.service"]
    assert host.unit("kubelet.service")["pid"] == pids["kubelet.service"]


def test_previous_version_stays_and_older_ones_go(tmp_path: Path) -> None:
    host = bare(tmp_path / "host")
    push_all(host)
    host.apply(STATE, DIGESTS)
    digests = dict(DIGESTS)
    for version in ("2.0", "3.0"):
        state = {**STATE, "artifacts": [dict(entry) for entry in ARTIFACTS]}
        state["artifacts"][1]["version"] = version
        blob = f"#!kubelet {version}".encode()
        digests[f"kubelet/{version}"] = digest(blob)
        host.push(blob)
        host.apply(state, digests)
    assert sorted(entry.name for entry in host.path("/opt/stagecraft/kubelet").iterdir()) == ["2.0", "3.0"]
    assert not host.path("/var/lib/stagecraft/artifacts/kubelet@1.0.json").exists()
    state["artifacts"][1]["version"] = "2.0"
    back = host.apply(state, digests)
    assert back["restarted"] == ["kubelet.service"]
    assert back["needs"] == []
    assert host.unit("kubelet.service")["content"] == "#!kubelet 2.0"


def test_wrong_artifact_is_refused_and_removed_before_anything_changes(tmp_path: Path) -> None:
    host = bare(tmp_path / "host")
    push_all(host)
    sha256 = DIGESTS["kubelet/1.0"][ARCH]["sha256"]
    host.write(store.incoming_path(sha256), b"#!kubelet X")
    with pytest.raises(errors.ProblemsError, match=r"kubelet/1\.0 was refused and removed.*wanted " + sha256):
        host.apply(STATE, DIGESTS)
    assert not host.path(store.incoming_path(sha256)).exists()
    assert not host.path("/opt/stagecraft").exists()
    assert not host.path("/etc/containerd").exists()
    assert host.state["units"] == {}
    assert not host.path("/usr/sbin/chronyd").exists()


def test_incomplete_artifact_is_asked_for_again(tmp_path: Path) -> None:
    host = bare(tmp_path / "host")
    push_all(host)
    sha256 = DIGESTS["kubelet/1.0"][ARCH]["sha256"]
    host.write(store.incoming_path(sha256), BINARY[:5])
    assert [need["key"] for need in host.apply(STATE, DIGESTS)["needs"]] == ["kubelet/1.0"]


def test_a_unit_that_somebody_else_starts_later_is_not_restarted_for_it(tmp_path: Path) -> None:
    """The kubelet is enabled, but kubeadm starts it: it then runs with everything, and owes no restart."""
    host = bare(tmp_path / "host")
    push_all(host)
    state = {**STATE, "units": [*STATE["units"][::2], {"name": "kubelet", "enabled": True, "state": "any"}]}
    host.apply(state, DIGESTS)
    assert not list(host.path("/var/lib/stagecraft/pending").iterdir())
