# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Planner: which steps follow from what is there."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox.plan import (
    STATES,
    Change,
    Observed,
    ObservedHost,
    Wanted,
    WantedHost,
    make_plan,
)
from hypothesis import given
from hypothesis import strategies as st

CP1 = WantedHost(
    "cp1",
    "10.87.1.11",
    "/cache/base-1",
    ("control_plane",),
    (512, 1.0),
    recorded=True,
    recorded_groups=("control_plane",),
)
W1 = replace(CP1, name="w1", address="10.87.1.12", groups=("workers",), recorded_groups=("workers",))
UP = ObservedHost(running=True, supervised=True, limits=(512, 1.0))
FILES = {"/inventory": "text"}
LIMIT = "fs.inotify.max_user_instances"


def wanted(state: str = "present", *hosts: WantedHost, rest: tuple[str, ...] = ()) -> Wanted:
    return Wanted(state, "s", "10.87.1.0/24", "sc-1", "10.87.1.1:8480", hosts or (CP1, W1), rest, FILES, {LIMIT: 1024})


SETTLED = Observed(
    exists=True,
    hosts={"cp1": UP, "w1": UP},
    bases=["/cache/base-1"],
    key=True,
    switch=True,
    repository=True,
    files=FILES,
    sysctl={LIMIT: 1024},
    ledger={LIMIT: (128, 1024)},
    shared_leftovers=True,
)
BARE = Observed(sysctl={LIMIT: 128}, missing_packages=["debootstrap", "systemd-container"])


def steps(plan: list[Change]) -> list[str]:
    return [f"{change.kind} {change.target} {change.action}" for change in plan]


def test_nothing_to_do() -> None:
    assert make_plan(SETTLED, wanted()) == []


def test_from_nothing() -> None:
    fresh = tuple(replace(host, recorded=False) for host in (CP1, W1))
    assert steps(make_plan(BARE, wanted("present", *fresh))) == [
        "package debootstrap install",
        "package systemd-container install",
        f"sysctl {LIMIT} raise",
        "base /cache/base-1 build",
        "sandbox s create",
        "key s create",
        "switch sc-1 create",
        "repository 10.87.1.1:8480 start",
        "host cp1 create",
        "host cp1 power-on",
        "host w1 create",
        "host w1 power-on",
        "file /inventory write",
    ]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (replace(UP, supervised=False), ["host cp1 adopt"]),
        (replace(UP, limits=(256, 1.0)), ["host cp1 limit"]),
        (replace(UP, limits=None, running=False), ["host cp1 power-on"]),
        (ObservedHost(leftovers=True), ["host cp1 power-on"]),
    ],
)
def test_repairs(now: ObservedHost, expected: list[str]) -> None:
    observed = replace(SETTLED, hosts={"cp1": now, "w1": UP})
    assert steps(make_plan(observed, wanted())) == expected


def test_reboot_powers_on_what_is_off() -> None:
    observed = replace(SETTLED, hosts={"cp1": UP, "w1": ObservedHost()})
    assert steps(make_plan(observed, wanted("rebooted"))) == ["host cp1 reboot", "host w1 power-on"]


def test_another_environment_only_rewrites_the_inventories() -> None:
    moved = replace(CP1, environment="staging", recorded_environment="production")
    assert (moved.recorded_place, moved.place) == (
        ["control_plane", "environment production"],
        ["control_plane", "environment staging"],
    )
    observed = replace(SETTLED, files={"/inventory": "old"})
    assert steps(make_plan(observed, wanted("present", moved, W1))) == ["host cp1 regroup", "file /inventory write"]


def test_changed_groups_only_rewrite_the_inventory() -> None:
    moved = replace(CP1, groups=("workers",))
    observed = replace(SETTLED, files={"/inventory": "old"})
    assert steps(make_plan(observed, wanted("present", moved, W1))) == ["host cp1 regroup", "file /inventory write"]


def test_higher_limit_of_the_machine_stays() -> None:
    assert make_plan(replace(SETTLED, sysctl={LIMIT: 8192}), wanted()) == []


@pytest.mark.parametrize(
    "now", [UP, replace(UP, supervised=False), ObservedHost(leftovers=True), ObservedHost(supervised=True)]
)
def test_power_off_takes_left_overs_too(now: ObservedHost) -> None:
    observed = replace(SETTLED, hosts={"cp1": now, "w1": ObservedHost()})
    assert steps(make_plan(observed, wanted("powered-off"))) == ["host cp1 power-off"]


def test_absent_removes_all_and_puts_limits_back() -> None:
    plan = make_plan(SETTLED, wanted("absent"))
    assert steps(plan) == ["host cp1 remove", "host w1 remove", "sandbox s remove", f"sysctl {LIMIT} restore"]
    assert plan[-1].after == 128


def test_limits_stay_while_another_sandbox_lives() -> None:
    plan = make_plan(replace(SETTLED, others=["t"]), wanted("absent"))
    assert steps(plan) == ["host cp1 remove", "host w1 remove", "sandbox s remove"]


def test_limit_that_somebody_else_changed_stays() -> None:
    plan = make_plan(replace(SETTLED, sysctl={LIMIT: 4096}), wanted("absent"))
    assert "restore" not in [change.action for change in plan]


def test_absent_of_one_host_keeps_the_rest() -> None:
    observed = replace(SETTLED, files={"/inventory": "with w1"})
    assert steps(make_plan(observed, wanted("absent", W1, rest=("cp1",)))) == [
        "host w1 remove",
        "file /inventory write",
    ]


def test_absent_of_nothing() -> None:
    unrecorded = replace(CP1, recorded=False)
    assert make_plan(Observed(sysctl={LIMIT: 128}), wanted("absent", unrecorded)) == []


hosts = st.builds(
    ObservedHost,
    running=st.booleans(),
    supervised=st.booleans(),
    leftovers=st.booleans(),
    limits=st.sampled_from([None, (512, 1.0), (256, 1.0)]),
)
machines = st.builds(
    Observed,
    exists=st.booleans(),
    hosts=st.fixed_dictionaries({"cp1": hosts, "w1": hosts}),
    missing_packages=st.sampled_from([[], ["debootstrap"]]),
    bases=st.sampled_from([[], ["/cache/base-1"]]),
    key=st.booleans(),
    switch=st.booleans(),
    repository=st.booleans(),
    files=st.sampled_from([{}, {"/inventory": "old"}, FILES]),
    sysctl=st.fixed_dictionaries({LIMIT: st.sampled_from([128, 1024, 9000])}),
)


@given(machines, st.sampled_from(STATES))
def test_plan_is_a_function_and_a_step_never_comes_twice(observed: Observed, state: str) -> None:
    plan = make_plan(observed, wanted(state))
    assert plan == make_plan(observed, wanted(state))
    assert len(set(steps(plan))) == len(plan)


@given(machines)
def test_hosts_start_after_all_that_they_need(observed: Observed) -> None:
    kinds = [change.kind for change in make_plan(observed, wanted())]
    order = ["package", "sysctl", "base", "sandbox", "key", "switch", "repository", "host", "file"]
    assert [order.index(kind) for kind in kinds] == sorted(order.index(kind) for kind in kinds)
