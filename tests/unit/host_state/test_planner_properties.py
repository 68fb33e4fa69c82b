# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Properties of the planner: what was applied needs no further plan, and a plan depends on nothing but its input."""

from __future__ import annotations

import copy
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state import spec
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state.observe import observe
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state.plan import plan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .fake_host import FakeHost, digest, tar_of

UNITS = ("alpha", "beta")
BLOBS = {
    "tool/1": b"tool 1",
    "tool/2": b"tool 2",
    "tool/3": b"tool 3",
    "kit/1": tar_of({"bin/a": "A1"}),
    "kit/2": tar_of({"bin/a": "A2", "bin/b": "B2"}),
    "img/1": b"IMAGE r/img:1 build",
}
DIGESTS = {key: digest(data, "r/img:1" if key.startswith("img") else None) for key, data in BLOBS.items()}

modes = st.sampled_from(["0600", "0644", "0755", "0700"])
notify = st.lists(st.sampled_from([*UNITS, "gamma"]), max_size=2, unique=True)
file_paths = ["/etc/a.conf", "/etc/b.conf", "/etc/deep/er/c.conf", "/etc/systemd/system/alpha.service.d/x.conf"]


@st.composite
def states(draw: st.DrawFn) -> dict[str, Any]:
    """A declaration; the two units always have their files, so that it can be met."""
    files: list[dict[str, Any]] = [
        {
            "path": f"/etc/systemd/system/{name}.service",
            "content": f"ExecStart=/bin/{name}\n# {draw(st.integers(0, 2))}\n",
        }
        for name in UNITS
    ]
    for path in draw(st.lists(st.sampled_from(file_paths), unique=True)):
        if draw(st.booleans()):
            files.append({"path": path, "absent": True, "notify": draw(notify)})
        else:
            text = draw(st.text(max_size=20).filter(lambda value: "\r" not in value))
            files.append(
                {
                    "path": path,
                    "content": text,
                    "mode": draw(modes),
                    "notify": draw(notify),
                    "sensitive": draw(st.booleans()),
                }
            )
    artifacts: list[dict[str, Any]] = []
    if draw(st.booleans()):
        artifacts.append(
            {
                "name": "tool",
                "version": draw(st.sampled_from("123")),
                "install": "binary",
                "links": {"/bin/tool": "tool"},
                "notify": draw(notify),
            }
        )
    if draw(st.booleans()):
        artifacts.append(
            {
                "name": "kit",
                "version": draw(st.sampled_from("12")),
                "install": "archive",
                "directory": draw(st.sampled_from([None, "/srv/kit"])),
            }
        )
    if draw(st.booleans()):
        artifacts.append({"name": "img", "version": "1", "install": "image"})
    units = [
        {
            "name": name,
            "state": draw(st.sampled_from(["started", "stopped", "any"])),
            "enabled": draw(st.booleans()),
            "on_change": draw(st.sampled_from(["restart", "reload"])),
            "exe": draw(st.sampled_from([None, f"/bin/{name}"])),
        }
        for name in draw(st.lists(st.sampled_from(UNITS), unique=True))
    ]
    return {
        "directories": [{"path": "/srv/d", "mode": draw(modes)}] if draw(st.booleans()) else [],
        "files": files,
        "links": [{"path": "/srv/link", "target": draw(st.sampled_from(["/a", "b"]))}] if draw(st.booleans()) else [],
        "artifacts": artifacts,
        "kernel_modules": draw(st.lists(st.sampled_from(["overlay", "br_netfilter"]), unique=True)),
        "sysctl": {"net.ipv4.ip_forward": draw(st.integers(0, 1))} if draw(st.booleans()) else {},
        "sysctl_file": "/etc/sysctl.d/99-x.conf",
        "swap": draw(st.sampled_from(["disabled", "keep"])),
        "packages": draw(st.lists(st.sampled_from(["chrony", "iptables"]), unique=True)),
        "units": units,
    }


def _host() -> FakeHost:
    host = FakeHost(Path(tempfile.mkdtemp(prefix="host-state-")))
    for name in UNITS:
        host.write(f"/bin/{name}", name)
    host.write("/usr/local/bin/ctr", "")
    host.set_unit("containerd.service", active="active")
    host.write("/etc/fstab", "UUID=x none swap sw 0 0\n")
    host.write("/proc/swaps", "Filename Type Size Used Priority\n/dev/vdb partition 1 0 -2\n")
    return host


def _apply(host: FakeHost, state: dict[str, Any]) -> dict[str, Any]:
    result = host.apply(state, DIGESTS)
    for need in result["needs"]:
        host.push(BLOBS[need["key"]])
    return host.apply(state, DIGESTS) if result["needs"] else result


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(states(), min_size=1, max_size=3))
def test_after_any_sequence_of_declarations_the_last_one_holds(sequence: list[dict[str, Any]]) -> None:
    host = _host()
    try:
        for state in sequence:
            planned = host.apply(state, DIGESTS, check=True)
            result = _apply(host, state)
            assert result["changed"] == bool(planned["plan"])
            assert planned["plan"] == result["plan"][: len(planned["plan"])]
            again = host.apply(state, DIGESTS)
            assert (again["plan"], again["changed"], again["needs"]) == ([], False, [])
            assert not list(host.path("/var/lib/stagecraft/pending").glob("*.service"))
            for unit in state["units"]:
                if unit["state"] != "any":
                    assert (host.unit(unit["name"] + ".service").get("active") == "active") == (
                        unit["state"] == "started"
                    )
    finally:
        shutil.rmtree(host.root)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(states())
def test_planning_is_pure(state: dict[str, Any]) -> None:
    host = _host()
    try:
        declared = spec.parse(state, DIGESTS)
        seen = observe(host.system(), declared)
        before = copy.deepcopy(seen)
        host.commands.clear()
        disk = host.snapshot()
        assert plan(declared, seen) == plan(declared, seen)
        assert seen == before
        assert host.snapshot() == disk
        assert host.commands == []
    finally:
        shutil.rmtree(host.root)
