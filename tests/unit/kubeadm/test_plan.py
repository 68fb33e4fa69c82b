# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner: who initializes, who joins, who is cleaned, and when nothing at all may be done."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kubeadm.plan import Desired, Plan, make_plan
from hypothesis import given
from hypothesis import strategies as st

VERSION = "1.36.3"
DIGEST = "d1"


def desired(control_planes: tuple[str, ...] = ("cp1",), workers: tuple[str, ...] = ()) -> Desired:
    return Desired(
        control_planes,
        workers,
        {h: h for h in control_planes + workers},
        "production",
        VERSION,
        DIGEST,
        encryption_at_rest=False,
    )


def bare(**more: Any) -> dict[str, Any]:
    return {
        "membership": "absent",
        "begun": None,
        "member": None,
        "traces": [],
        "address_is_local": True,
        "control_plane": False,
        "encryption_key": False,
        "missing_sans": [],
        "api": None,
        **more,
    }


def interrupted() -> dict[str, Any]:
    return bare(membership="interrupted", begun={"verb": "init", "environment": "production"})


def member(
    role: str = "control_plane", nodes: tuple[str, ...] = ("cp1",), ready: bool = True, **more: Any
) -> dict[str, Any]:
    journal = {"environment": "production", "role": role, "kubernetes_version": VERSION, "settings_digest": DIGEST}
    journal.update(more.pop("journal", {}))
    api = {
        "ready": ready,
        "nodes": [{"name": name} for name in nodes],
        "problem": "" if ready else "connection refused",
    }
    return bare(membership="member", member=journal, api=api if role == "control_plane" else None, **more)


def test_a_bare_host_is_initialized() -> None:
    assert make_plan(desired(), {"cp1": bare()}).steps == {"cp1": ("initialize",)}


def test_one_initializes_and_all_others_join() -> None:
    plan = make_plan(desired(("a", "b", "c"), ("w",)), {h: bare() for h in "abcw"})
    assert plan.primary == "a"
    assert plan.steps == {"a": ("initialize",), "b": ("join",), "c": ("join",), "w": ("join",)}
    assert plan.newcomers == ("b", "c")


def test_an_interrupted_initialization_is_cleaned_first() -> None:
    assert make_plan(desired(), {"cp1": interrupted()}).steps == {"cp1": ("clean", "initialize")}


def test_an_interrupted_join_is_cleaned_and_joins_the_cluster_that_is_there() -> None:
    plan = make_plan(desired(("a",), ("w",)), {"a": member(nodes=("a",)), "w": interrupted()})
    assert plan.steps == {"w": ("clean", "join")}


def test_nothing_to_do_is_an_empty_plan() -> None:
    plan = make_plan(desired(("a",), ("w",)), {"a": member(nodes=("a", "w")), "w": member("worker")})
    assert plan.empty
    assert plan.primary == "a"


def test_a_newcomer_joins_through_a_control_plane_that_answers_even_if_it_is_not_the_first() -> None:
    observed = {"a": member(nodes=(), ready=False), "b": member(nodes=("a", "b")), "c": bare()}
    plan = make_plan(desired(("a", "b", "c")), observed)
    assert plan.primary == "b"
    assert plan.steps == {"c": ("join",)}


def test_a_replaced_first_control_plane_joins_and_never_initializes() -> None:
    plan = make_plan(
        desired(("a", "b", "c")), {"a": bare(), "b": member(nodes=("a", "b", "c")), "c": member(nodes=("a", "b", "c"))}
    )
    assert plan.steps == {"a": ("join",)}
    assert plan.newcomers == ("a",)


def test_a_changed_configuration_converges_on_every_control_plane() -> None:
    old = {"settings_digest": "d0"}
    plan = make_plan(desired(("a", "b", "c")), {h: member(nodes=("a", "b", "c"), journal=old) for h in "abc"})
    assert plan.steps == dict.fromkeys("abc", ("converge",))


def test_a_missing_certificate_name_converges() -> None:
    plan = make_plan(desired(), {"cp1": member(missing_sans=["api.example.com"])})
    assert plan.steps == {"cp1": ("converge",)}


def test_a_worker_never_converges() -> None:
    plan = make_plan(
        desired(("a",), ("w",)),
        {"a": member(nodes=("a", "w")), "w": member("worker", journal={"settings_digest": "d0"})},
    )
    assert plan.empty


def test_nodes_that_the_inventory_does_not_name_are_told() -> None:
    assert make_plan(desired(), {"cp1": member(nodes=("cp1", "old"))}).unmanaged == ("old",)


@pytest.mark.parametrize(
    ("observed", "words"),
    [
        ({"a": bare(membership="foreign", traces=["/etc/kubernetes/admin.conf"])}, "did not make"),
        ({"a": bare(membership="damaged", member={"environment": "production"})}, "kubelet.conf is gone"),
        ({"a": member(nodes=("a",), journal={"environment": "staging"})}, "belongs to environment 'staging'"),
        (
            {"a": member(nodes=("a",), journal={"kubernetes_version": "1.35.8"})},
            'stagecraft_kubernetes_version: "1.35.8"',
        ),
        ({"a": member("worker")}, "group of another role"),
        ({"a": bare(address_is_local=False)}, "host_node_ip"),
        ({"a": member(nodes=(), ready=False)}, "none of its API servers answers"),
        ({"a": bare(), "w": member("worker")}, "no control plane is left"),
        ({"a": member(nodes=("a",), encryption_key=True)}, "kubeadm_encryption_at_rest: true"),
        ({"w": bare()}, "could not be looked at"),
        ({"a": member(nodes=("a",)), "w": member("worker")}, "has no node 'w' any more"),
    ],
)
def test_where_going_on_could_hurt_nothing_is_planned(observed: dict[str, Any], words: str) -> None:
    plan = make_plan(desired(("a",), ("w",)), observed)
    assert any(words in problem for problem in plan.problems), plan.problems
    assert plan.empty
    assert plan.primary is None


def test_all_problems_are_told_at_once() -> None:
    observed = {"a": bare(membership="foreign", traces=["x"]), "w": bare(address_is_local=False)}
    assert len(make_plan(desired(("a",), ("w",)), observed).problems) == 2


NAMES = ("a", "b", "c", "w1", "w2")
STATES = st.sampled_from(["absent", "interrupted", "member", "unseen"])


@given(st.fixed_dictionaries(dict.fromkeys(NAMES, STATES)))
def test_whatever_is_seen_the_plan_is_safe(states: dict[str, str]) -> None:
    """Never two initializations, never one beside a cluster, never a step for a member or for an unseen host."""
    nodes = tuple(name for name, state in states.items() if state == "member")
    made: dict[str, dict[str, Any]] = {}
    for name, state in states.items():
        role = "worker" if name.startswith("w") else "control_plane"
        if state != "unseen":
            made[name] = {"absent": bare(), "interrupted": interrupted(), "member": member(role, nodes)}[state]
    plan = make_plan(desired(("a", "b", "c"), ("w1", "w2")), made)
    starts = [name for name, steps in plan.steps.items() if "initialize" in steps]
    assert len(starts) <= 1
    assert not (starts and nodes), "a second cluster"
    assert not (starts and any(states[name] == "unseen" for name in "abc")), "a second cluster beside an unseen one"
    assert all(states[name] in ("absent", "interrupted") for name in plan.steps)
    assert all(("clean" in plan.steps[name]) == (states[name] == "interrupted") for name in plan.steps)
    assert after(plan, made) == {} or plan.problems


def after(plan: Plan, observed: dict[str, dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    """The steps of a second run, when the first one has done what its plan says."""
    if plan.problems:
        return {}
    known = {node["name"] for seen in observed.values() for node in (seen["api"] or {"nodes": []})["nodes"]} | set(
        plan.steps
    )
    done = {
        name: member("worker" if name.startswith("w") else "control_plane", tuple(sorted(known)))
        if name in plan.steps or seen["membership"] == "member"
        else seen
        for name, seen in observed.items()
    }
    return dict(make_plan(desired(("a", "b", "c"), ("w1", "w2")), done).steps)


def test_warnings_name_who_was_left_out_and_whose_certificate_ends() -> None:
    now = 1_800_000_000.0
    seen = member(nodes=("a", "b", "c", "old"), certificate={"sans": [], "not_after": now + 59 * 86400})
    whole = member(nodes=("a", "b", "c", "old"), certificate={"sans": [], "not_after": now + 61 * 86400})
    warnings = make_plan(desired(("a", "b", "c")), {"a": seen, "b": whole}, now).warnings
    assert [text.split(":")[0] for text in warnings] == [
        "node old is in the cluster and not in the inventory",
        "not looked at in this run (--limit)",
        "a",
    ]
    assert "certificate ends on 2027-03-15" in warnings[2]
    assert warnings[1].endswith(": c")
