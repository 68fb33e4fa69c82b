# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel modules and sysctl values."""

from __future__ import annotations

import os
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state import errors, kernel

from .fake_host import FakeHost

FILE = "/etc/sysctl.d/99-test.conf"


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.100/forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ("net.ipv4.conf.eth0/100.forwarding", "net/ipv4/conf/eth0.100/forwarding"),
    ],
)
def test_the_first_separator_counts(key: str, path: str) -> None:
    assert kernel.sysctl_path(key) == "/proc/sys/" + path


def test_blanks_of_live_values_do_not_count(host: FakeHost) -> None:
    host.write("/proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n")
    host.write(FILE, "net.ipv4.tcp_rmem = 4096 131072 6291456\n")
    state = {"sysctl": {"net.ipv4.tcp_rmem": "4096 131072  6291456"}, "sysctl_file": FILE}
    assert host.apply(state)["plan"] == []


def test_live_value_and_file_are_both_set(host: FakeHost) -> None:
    result = host.apply({"sysctl": {"net.ipv4.ip_forward": 1}, "sysctl_file": FILE})
    assert [(change["kind"], change["before"]) for change in result["plan"]] == [("file", "absent"), ("sysctl", "0")]
    assert host.read("/proc/sys/net/ipv4/ip_forward") == "1\n"
    assert host.read(FILE) == "net.ipv4.ip_forward = 1\n"


def test_a_key_that_the_kernel_does_not_take_is_explained(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any, path: str, value: str) -> None:
        raise OSError(30, os.strerror(30), path)

    monkeypatch.setattr(
        "ansible_collections.stagecraft.gitops.plugins.module_utils.host_state.system.System.write_value", refuse
    )
    with pytest.raises(
        errors.HostStateError, match=r"sysctl net.ipv4.ip_forward cannot be set to '1' \(is '0'\).*Read-only"
    ):
        host.apply({"sysctl": {"net.ipv4.ip_forward": "1"}, "sysctl_file": FILE})


def test_an_unknown_key_is_refused_before_anything_changes_but_not_in_check_mode(host: FakeHost) -> None:
    state = {"sysctl": {"net.ipv4.nonsense": "1"}, "sysctl_file": FILE}
    before = host.snapshot()
    assert "no such key" in host.apply(state, check=True)["unmet"][0]
    with pytest.raises(errors.ProblemsError, match=r"sysctl net.ipv4.nonsense: this kernel has no such key"):
        host.apply(state)
    assert host.snapshot() == before


def test_modules_that_are_loaded_or_built_in_stay(host: FakeHost) -> None:
    host.write("/proc/modules", "overlay 1 0 - Live 0x0\n")
    host.write("/lib/modules/6.1.0/modules.builtin", "kernel/net/bridge/br_netfilter.ko\nkernel/a/nf-conntrack.ko.xz\n")
    host.path("/sys/module/ip_tables").mkdir(parents=True)
    modules = ["overlay", "br_netfilter", "nf_conntrack", "ip_tables"]
    assert host.apply({"kernel_modules": modules})["plan"] == []
    assert host.commands == []


def test_missing_modules_are_loaded_once(host: FakeHost) -> None:
    assert host.apply({"kernel_modules": ["vxlan"]})["changed"]
    assert host.commands == [("modprobe", "--", "vxlan")]
    assert not host.apply({"kernel_modules": ["vxlan"]})["changed"]


def test_a_module_that_the_kernel_lacks_is_named(host: FakeHost) -> None:
    with pytest.raises(errors.HostStateError, match=r"no_such cannot be loaded \(rc 1\).*FATAL"):
        host.apply({"kernel_modules": ["no_such"]})


def test_keys_of_a_module_that_is_loaded_in_the_same_run(host: FakeHost) -> None:
    state = {
        "kernel_modules": ["br_netfilter"],
        "sysctl": {"net.bridge.bridge-nf-call-iptables": "1"},
        "sysctl_file": FILE,
    }
    assert host.apply(state)["changed"]
    assert host.read("/proc/sys/net/bridge/bridge-nf-call-iptables") == "1\n"
    assert host.apply(state)["plan"] == []
