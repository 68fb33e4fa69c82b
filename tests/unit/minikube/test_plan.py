# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner: when a profile is made, started, stopped or left alone, and when nothing at all may be done."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.minikube.plan import Desired, make_plan
from hypothesis import given
from hypothesis import strategies as st

PROFILE: dict[str, Any] = {
    "driver": "docker",
    "version": "v1.36.3",
    "runtime": "containerd",
    "cpus": 2,
    "memory_mb": 4096,
    "disk_mb": 20000,
    "port": 8443,
    "address": "192.168.49.2",
    "addons": ["default-storageclass", "storage-provisioner"],
}


def desired(**more: Any) -> Desired:
    given = {key: value for key, value in PROFILE.items() if key not in ("address", "addons")}
    addons = ("storage-provisioner", "default-storageclass")
    named = {"environment": "local", "profile": "local", "state": "started", "addons": addons, "settings": "one"}
    return Desired(**{**given, **named, **more})


def seen(membership: str = "member", *, running: bool = True, **more: Any) -> dict[str, Any]:
    there = membership in ("member", "foreign", "interrupted")
    return {
        "membership": membership,
        "begun": {"environment": "local"} if membership == "interrupted" else None,
        "member": {"environment": "local", "settings": "one"} if membership in ("member", "damaged") else None,
        "profile": dict(PROFILE) if there else None,
        "running": running and there,
        "api": {"ready": running and there, "nodes": [], "problem": ""},
        "kubelet": None,
        "names": {},
        **more,
    }


def with_profile(**more: Any) -> dict[str, Any]:
    return seen(profile={**PROFILE, **more})


@pytest.mark.parametrize(
    ("observed", "steps"),
    [
        (seen("absent"), ("start",)),
        (seen(), ()),
        (seen(running=False), ("start",)),
        (seen(member={"environment": "local", "settings": "other"}), ("start",)),
        (seen("damaged"), ("delete", "start")),
        (seen("interrupted"), ("delete", "start")),
        (seen("interrupted", profile=None), ("delete", "start")),
        (seen("interrupted", member={"environment": "local", "settings": "one"}), ("start",)),
        (with_profile(addons=["storage-provisioner"]), ("addons",)),
        (with_profile(addons=[*PROFILE["addons"], "ingress"]), ("addons",)),
        (seen(names={"192.168.49.2": ["old.local"]}), ("names",)),
    ],
)
def test_steps_are_what_is_left_to_do(observed: dict[str, Any], steps: tuple[str, ...]) -> None:
    plan = make_plan(desired(), observed)
    assert (plan.steps, plan.problems) == (steps, ())


@pytest.mark.parametrize(
    ("found", "steps"),
    [({"192.168.49.2": ["a.local"]}, ()), ({"192.168.49.3": ["a.local"]}, ("names",)), ({}, ("names",))],
)
def test_names_follow_the_address_of_the_node(found: dict[str, list[str]], steps: tuple[str, ...]) -> None:
    assert make_plan(desired(names=("a.local",)), seen(names=found)).steps == steps


@pytest.mark.parametrize(
    ("observed", "steps"),
    [
        (seen(), ("stop",)),
        (seen(running=False), ()),
        (seen(running=False, kubelet=True), ("stop",)),
        (seen("absent"), ()),
    ],
)
def test_a_cluster_that_is_to_be_stopped_is_stopped_once(observed: dict[str, Any], steps: tuple[str, ...]) -> None:
    assert make_plan(desired(state="stopped"), observed).steps == steps


@pytest.mark.parametrize(
    ("differs", "told"),
    [
        ({"driver": "podman"}, "minikube_driver: wanted docker, the profile has podman"),
        ({"version": "v1.35.8"}, "minikube_kubernetes_version: wanted v1.36.3, the profile has v1.35.8"),
        ({"runtime": "docker"}, "minikube_container_runtime: wanted containerd, the profile has docker"),
        ({"cpus": 4}, "minikube_cpus: wanted 2, the profile has 4"),
        ({"memory_mb": 2048}, "minikube_memory_mb: wanted 4096 MiB, the profile has 2048 MiB"),
        ({"port": 0}, "minikube_port: wanted 8443, the profile has none"),
    ],
)
def test_a_profile_that_drifted_is_named_and_left_alone(differs: dict[str, Any], told: str) -> None:
    plan = make_plan(desired(), with_profile(**differs))
    assert plan.steps == ()
    assert len(plan.problems) == 1
    assert told in plan.problems[0]
    assert "-e minikube_recreate=local" in plan.problems[0]


def test_all_differences_are_named_at_once_and_the_right_name_lets_it_be_made_anew() -> None:
    observed = with_profile(driver="podman", cpus=1)
    assert len(make_plan(desired(), observed).drift) == 2
    assert make_plan(desired(recreate="another"), observed).problems
    assert make_plan(desired(recreate="local"), observed).steps == ("delete", "start")
    assert make_plan(desired(recreate="local"), seen()).steps == ()


@pytest.mark.parametrize(
    ("driver", "differs"),
    [("none", ()), ("ssh", ()), ("docker", ("cpus", "memory_mb")), ("kvm2", ("cpus", "memory_mb", "disk_mb"))],
)
def test_sizes_count_where_the_driver_makes_the_node(driver: str, differs: tuple[str, ...]) -> None:
    plan = make_plan(desired(driver=driver), with_profile(driver=driver, cpus=9, memory_mb=9, disk_mb=9))
    assert [line.split(":")[0] for line in plan.drift] == [f"minikube_{key}" for key in differs]


def test_what_others_made_is_refused() -> None:
    assert "did not make" in make_plan(desired(), seen("foreign")).problems[0]
    other = seen(member={"environment": "staging", "settings": "one"})
    assert "belongs to environment 'staging'" in make_plan(desired(), other).problems[0]
    begun = seen("interrupted", begun={"environment": "staging"})
    assert "belongs to environment 'staging'" in make_plan(desired(), begun).problems[0]


@given(
    membership=st.sampled_from(["absent", "interrupted", "member", "damaged", "foreign"]),
    running=st.booleans(),
    state=st.sampled_from(["started", "stopped"]),
    version=st.sampled_from(["v1.36.3", "v1.35.8"]),
)
def test_nothing_is_deleted_that_works_and_a_refusal_does_nothing(
    membership: str, running: bool, state: str, version: str
) -> None:
    observed = seen(membership, running=running)
    if observed["profile"]:
        observed["profile"]["version"] = version
    plan = make_plan(desired(state=state), observed)
    assert not (plan.problems and plan.steps)
    assert membership != "member" or "delete" not in plan.steps
    assert "stop" not in plan.steps or state == "stopped"
