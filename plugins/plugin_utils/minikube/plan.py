# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan for one Minikube profile: pure, from what was declared and what the machine says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Drivers whose nodes Minikube makes itself, with processors and memory of their own; of those, with a disk of their own.
SIZED = ("docker", "podman", "kvm2")
DISKED = ("kvm2",)


@dataclass(frozen=True)
class Desired:
    """What the inventory declares; sizes in MiB. ``recreate`` is the name of the profile that may be deleted, or ""."""

    environment: str
    profile: str
    state: str
    driver: str
    version: str
    runtime: str
    cpus: int
    memory_mb: int
    disk_mb: int
    port: int
    addons: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    settings: str = ""
    recreate: str = ""


@dataclass(frozen=True)
class Plan:
    """Steps out of delete, start, stop, addons and names; what differs from the profile that there is; why not to go on."""

    steps: tuple[str, ...]
    drift: tuple[str, ...]
    problems: tuple[str, ...]


def find_drift(desired: Desired, profile: Mapping[str, Any]) -> tuple[str, ...]:
    """Name what of a profile is not as declared and cannot be changed: Minikube would pass over it with a warning."""
    compared = [
        ("driver", "minikube_driver", desired.driver, ""),
        ("version", "minikube_kubernetes_version", desired.version, ""),
        ("runtime", "minikube_container_runtime", desired.runtime, ""),
        ("port", "minikube_port", desired.port, ""),
    ]
    if desired.driver in SIZED:
        compared += [
            ("cpus", "minikube_cpus", desired.cpus, ""),
            ("memory_mb", "minikube_memory_mb", desired.memory_mb, " MiB"),
        ]
    if desired.driver in DISKED:
        compared += [("disk_mb", "minikube_disk_mb", desired.disk_mb, " MiB")]
    return tuple(
        f"{variable}: wanted {wanted}{unit}, the profile has {profile[key] or 'none'}{unit if profile[key] else ''}"
        for key, variable, wanted, unit in compared
        if profile[key] != wanted
    )


def make_plan(desired: Desired, observed: Mapping[str, Any]) -> Plan:
    """Decide the steps; ``observed`` is a result of ``minikube_info``."""
    membership, profile, member = observed["membership"], observed["profile"], observed["member"] or {}
    owner = (observed["member"] or observed["begun"] or {}).get("environment", desired.environment)
    drift = find_drift(desired, profile) if profile and membership == "member" else ()
    problems = []
    if owner != desired.environment:
        problems.append(
            f"profile {desired.profile} belongs to environment {owner!r}, and this inventory is of {desired.environment!r}. "
            "Check the inventory, or choose another minikube_profile."
        )
    if membership == "foreign":
        problems.append(
            f"Minikube has a profile {desired.profile} that this collection did not make. If it is not needed any more, run "
            f"minikube delete -p {desired.profile} as its user; otherwise choose another minikube_profile."
        )
    if drift and desired.recreate != desired.profile:
        differences = "".join(f"\n    {one}" for one in drift)
        problems.append(
            f"profile {desired.profile} is not as declared, and Minikube cannot change it:{differences}\n  It has to be deleted and "
            f"made anew, with the loss of everything in it: run once with -e minikube_recreate={desired.profile}. "
            "Or declare what is there."
        )
    if problems:
        return Plan((), drift, tuple(problems))
    if desired.state == "stopped":
        up = observed["running"] or observed["api"]["ready"] or observed["kubelet"]
        return Plan(("stop",) if profile and up else (), drift, ())
    return Plan(_steps(desired, observed, member, drift), drift, ())


def _steps(
    desired: Desired, observed: Mapping[str, Any], member: Mapping[str, Any], drift: tuple[str, ...]
) -> tuple[str, ...]:
    membership, profile = observed["membership"], observed["profile"]
    # a profile that was never finished holds nothing that would be missed, and half a node may be in it
    unfinished = membership == "interrupted" and not (member and profile)
    if membership == "absent":
        return ("start",)
    if drift or unfinished or membership == "damaged":
        return ("delete", "start")
    if membership == "interrupted" or not observed["running"] or member.get("settings") != desired.settings:
        return ("start",)
    steps = []
    if sorted(desired.addons) != profile["addons"]:
        steps.append("addons")
    wanted = {profile["address"]: list(desired.names)} if desired.names else {}
    if observed["names"] != wanted:
        steps.append("names")
    return tuple(steps)
