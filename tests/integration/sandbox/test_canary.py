# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks that want hosts, with the fullest output there is: those of sandboxes themselves.

What is made here, and what the inventory gives, is looked for afterwards in all that was printed, kept as a fact, put into
a file for a moment or given to a process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox import preflight

from tests.integration.cluster.guard import Guard, watched
from tests.integration.cluster.lab import Lab, Run, cache
from tests.integration.sandbox.machine import STATE_ROOT
from tests.programs import lacking

NAME = "canary-test"
HOSTS = [
    {"name": "s1", "environment": "staging", "groups": ["control_plane"], "memory_mb": 2560, "cpus": 2},
    {"name": "m1", "environment": "local", "groups": ["control_plane"], "memory_mb": 2560, "cpus": 2},
    {"name": "forge", "groups": ["git_hosts"], "memory_mb": 768},
]


class World(Guard):
    """A sandbox, what is known to be secret of it, and what was to be seen."""

    def secrets_of(self, environment: str) -> Path:
        """Where an environment of the sandbox has its own."""
        return self.lab.directory / "secrets" / environment

    def play(self, name: str, environment: str = "", *arguments: str) -> Run:
        """Run a playbook for an environment, or for the sandbox as a whole; keep what it says."""
        inventory = str(self.lab.inventory.parent / environment / self.lab.inventory.name)
        variables = {"kubeconfig_path": str(self.lab.kubeconfig), "vaulted": self.canary}
        return self.run(
            "localhost," if name == "sandbox" else inventory, f"playbooks/{name}.yml", *arguments, variables=variables
        )

    def key_of(self, file: Path) -> str:
        """Return the line of an Ed25519 key of OpenSSH that has its secret half; the public one is on the lines around it."""
        return [line for line in file.read_text().splitlines() if not line.startswith("-----")][3]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A sandbox with a host for each kind of cluster and one for Git, removed whatever happens."""
    reasons = preflight.problems(preflight.gather(STATE_ROOT), preflight.missing_packages(), install=False)
    if reasons:
        pytest.skip("no sandbox on this machine: " + "; ".join(reasons))
    if not (cache() / "mirror" / "stagecraft-mirror.lock.json").exists():
        lacking("there is no mirror: run `make mirror`")
    directory = tmp_path_factory.mktemp("canary")
    lab = Lab(sandbox=NAME, state=directory, kubeconfig=directory / "kubeconfig")
    try:
        with watched(lab, [str(host["name"]) for host in HOSTS]) as (own, watch):
            yield World(lab, own, watch)
    finally:
        lab.power("absent")


def test_the_sandboxes_own_playbooks_show_nothing(world: World) -> None:
    """Hosts with their key, the Git server with its key and token, and what an admin has of an environment."""
    lab = world.lab
    world.play("sandbox", "", "-e", json.dumps({"sandbox_name": NAME, "sandbox_hosts": HOSTS})).must_work()
    world.known["key of the hosts"] = world.key_of(lab.directory / "id_ed25519")
    for _ in range(2):
        world.play("sandbox-forge").must_work()
    world.known["key of the repositories"] = world.key_of(lab.directory / "forge" / "id_ed25519")
    world.known["token of the forge"] = (lab.directory / "forge" / "token").read_text().strip()

    for environment in ("staging", "local"):
        for _ in range(2):
            world.play("sandbox-secrets", environment).must_work()
        world.learn_vault(world.secrets_of(environment))
    # The forge's token lies in clear beside the key of the hosts; the module copy writes it there through a file of its own.
    world.must_not_show(["token of the forge"])
