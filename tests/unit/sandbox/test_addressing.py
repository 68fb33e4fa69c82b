# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Subnets, addresses and names."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox.addressing import (
    POOL,
    allocate,
    choose_subnet,
    gateway,
    parse_routes,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox.layout import HOST_NAME, SANDBOX_NAME, Layout
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox.spec import HostSpec, check_names
from hypothesis import given
from hypothesis import strategies as st

SUBNET = IPv4Network("10.87.9.0/24")
ROUTES = """\
default via 192.0.2.1 dev eth0
10.87.0.0/17 dev tun0 scope link
unreachable 10.87.200.0/24
192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.2
local 127.0.0.0/8 dev lo table local proto kernel scope host src 127.0.0.1
broadcast 192.0.2.255 dev eth0 table local proto kernel scope link src 192.0.2.2
10.87.201.7 dev wg0
"""


def test_routes() -> None:
    assert [str(network) for network in parse_routes(ROUTES)] == [
        "10.87.0.0/17", "10.87.200.0/24", "192.0.2.0/24", "127.0.0.0/8", "192.0.2.255/32", "10.87.201.7/32",
    ]  # fmt: skip


def test_subnet_is_the_same_each_time_and_differs_by_name() -> None:
    assert choose_subnet("default", []) == choose_subnet("default", [])
    assert choose_subnet("default", []) != choose_subnet("other", [])


@given(st.from_regex(SANDBOX_NAME, fullmatch=True), st.lists(st.integers(0, 255), max_size=250))
def test_subnet_touches_nothing(name: str, taken: list[int]) -> None:
    blocked = [
        *parse_routes(ROUTES),
        *(IPv4Network((int(POOL.network_address) + (number << 8), 24)) for number in taken),
    ]
    subnet = choose_subnet(name, blocked)
    if subnet is not None:
        assert subnet.subnet_of(POOL)
        assert subnet.prefixlen == 24
        assert not any(subnet.overlaps(other) for other in blocked)


def test_no_subnet_left() -> None:
    assert choose_subnet("default", [IPv4Network("10.0.0.0/8")]) is None


def test_addresses_are_kept_asked_for_and_filled_up() -> None:
    addresses, problems = allocate(
        SUBNET, {"w1": "10.87.9.11"}, {"cp1": None, "w1": None, "w2": "10.87.9.12", "w3": None}
    )
    assert problems == []
    assert addresses == {"cp1": "10.87.9.13", "w1": "10.87.9.11", "w2": "10.87.9.12", "w3": "10.87.9.14"}


@pytest.mark.parametrize(
    ("recorded", "wanted", "words"),
    [
        ({}, {"a": "192.0.2.5"}, "not a host address"),
        ({}, {"a": "nonsense"}, "not a host address"),
        ({}, {"a": "10.87.9.1"}, "not a host address"),
        ({"b": "10.87.9.20"}, {"a": "10.87.9.20"}, "belongs to host b"),
        ({}, {"a": "10.87.9.20", "b": "10.87.9.20"}, "belongs to host a"),
        ({"a": "10.87.9.20"}, {"a": "10.87.9.21"}, "remove the host first"),
    ],
)
def test_refused_addresses(recorded: dict[str, str], wanted: dict[str, str | None], words: str) -> None:
    _, problems = allocate(SUBNET, recorded, wanted)
    assert len(problems) == 1
    assert words in problems[0]


def test_full_subnet() -> None:
    _, problems = allocate(SUBNET, {}, {f"h{number}": None for number in range(245)})
    assert problems == ["host h244: the subnet 10.87.9.0/24 is full"]


@given(st.sets(st.integers(0, 300).map("h{}".format), max_size=200))
def test_addresses_are_unique_and_inside(names: set[str]) -> None:
    addresses, problems = allocate(SUBNET, {}, dict.fromkeys(sorted(names)))
    assert problems == []
    assert len(set(addresses.values())) == len(names)
    assert all(IPv4Address(address) in SUBNET and address != gateway(SUBNET) for address in addresses.values())


def test_names_fit_the_kernel_and_never_meet() -> None:
    sandbox, host = Layout("a" * 20), "b" * 32
    assert len(sandbox.host(host).machine) <= 64
    assert len(sandbox.link) <= 15
    assert len(sandbox.host(host).port) <= 15
    assert Layout("a-b").host("c").machine != Layout("a").host("b-c").machine
    assert Layout("a").switch != Layout("b").switch


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "1a", "a.b", "a_b", "a/b", "..", "a" * 21])
def test_bad_sandbox_names(name: str) -> None:
    assert check_names(name, [], [], [])


@given(st.from_regex(HOST_NAME, fullmatch=True), st.from_regex(SANDBOX_NAME, fullmatch=True))
def test_good_names(host: str, sandbox: str) -> None:
    assert check_names(sandbox, [HostSpec(host)], [host], [host]) == []


def test_all_problems_at_once() -> None:
    hosts = [HostSpec("cp1", memory_mb=64), HostSpec("cp1"), HostSpec("W1", cpus=-1), HostSpec("w2", cpus=0.01)]
    hosts.append(HostSpec("w3", environment="../x"))
    assert len(check_names("BAD", hosts, ["w9"], ["cp1"])) == 8
