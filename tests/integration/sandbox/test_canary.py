# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks that want hosts, with the fullest output there is: those of sandboxes themselves.

What is made here, and what the inventory gives, is looked for afterwards in all that was printed, kept as a fact, put into
a file for a moment or given to a process.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox import preflight

from tests.integration.cluster.lab import Lab, Run, cache, run_playbook
from tests.integration.openbao_host.site import shown
from tests.integration.openbao_host.watch import Watch
from tests.integration.sandbox.machine import STATE_ROOT
from tests.programs import lacking
from tools.story import put_into_vault

NAME = "canary-test"
HOSTS = [
    {"name": "s1", "environment": "staging", "groups": ["control_plane"], "memory_mb": 2560, "cpus": 2},
    {"name": "m1", "environment": "local", "groups": ["control_plane"], "memory_mb": 2560, "cpus": 2},
    {"name": "forge", "groups": ["git_hosts"], "memory_mb": 768},
]


class World:
    """A sandbox, what is known to be secret of it, and what was to be seen."""

    def __init__(self, lab: Lab, directory: Path, watch: Watch) -> None:
        self.lab, self.directory, self.watch = lab, directory, watch
        self.known = {"of the inventory": f"canary-{secrets.token_hex(16)}"}
        self.outputs: list[bytes] = []
        self.variables: dict[str, Any] = {
            "kubeconfig_path": str(lab.kubeconfig),
            "k3s_registries": {
                "configs": {"registry.example.com": {"auth": {"username": "u", "password": self.canary}}}
            },
            "k3s_datastore": "etcd",
            "k3s_config": {"etcd-s3": True, "etcd-s3-bucket": "b", "etcd-s3-secret-key": self.canary},
            "vaulted": self.canary,
        }

    @property
    def canary(self) -> str:
        return self.known["of the inventory"]

    def secrets_of(self, environment: str) -> Path:
        """Where an environment of the sandbox has its own."""
        return self.lab.directory / "secrets" / environment

    def run(self, name: str, environment: str = "", *arguments: str) -> Run:
        """Run a playbook for an environment, or for the sandbox as a whole; keep what it says."""
        inventory = str(self.lab.inventory.parent / environment / self.lab.inventory.name)
        # as a file: what stands in an argument is for all to see
        file = self.directory / "variables.json"
        file.write_text(json.dumps(self.variables))
        extra = {
            "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(self.directory / "facts"),
            "ANSIBLE_LOCAL_TEMP": str(self.directory / "tmp"),
        }
        options = ["-vvvv", "--diff", "-e", f"@{file}", *arguments, f"playbooks/{name}.yml"]
        done = run_playbook(["-i", "localhost," if name == "sandbox" else inventory, *options], 300, extra)
        self.outputs.append(done.output.encode())
        return done

    def key_of(self, file: Path) -> str:
        """Return the line of an Ed25519 key of OpenSSH that has its secret half; the public one is on the lines around it."""
        return [line for line in file.read_text().splitlines() if not line.startswith("-----")][3]

    def must_not_show(self) -> None:
        """Fail where something secret was to be seen up to now."""
        assert shown(self.known, self.outputs) == set()
        assert shown(self.known, self.watch.arguments) == set()
        # The forge's token lies in clear beside the key of the hosts; the module copy writes it there through a file of its own.
        assert shown(self.known, self.watch.files) <= {"token of the forge"}
        facts = [path.read_bytes() for path in (self.directory / "facts").rglob("*") if path.is_file()]
        assert shown(self.known, facts) == set()


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
    places = [lab.directory / "hosts" / str(host["name"]) / "disk" / "upper" for host in HOSTS]
    places = [place / path for place in places for path in ("root/.ansible", "tmp", "var/tmp")]
    try:
        with Watch([directory / "tmp", *places]) as watch:
            yield World(lab, directory, watch)
    finally:
        lab.power("absent")


def test_the_sandboxes_own_playbooks_show_nothing(world: World) -> None:
    """Hosts with their key, the Git server with its key and token, and what an admin has of an environment."""
    lab = world.lab
    world.run("sandbox", "", "-e", json.dumps({"sandbox_name": NAME, "sandbox_hosts": HOSTS})).must_work()
    world.known["key of the hosts"] = world.key_of(lab.directory / "id_ed25519")
    for _ in range(2):
        world.run("sandbox-forge").must_work()
    world.known["key of the repositories"] = world.key_of(lab.directory / "forge" / "id_ed25519")
    world.known["token of the forge"] = (lab.directory / "forge" / "token").read_text().strip()

    for environment in ("staging", "local"):
        for _ in range(2):
            world.run("sandbox-secrets", environment).must_work()
        place = world.secrets_of(environment)
        for name in ("admin", "safe"):
            (identity,) = re.findall(r"^AGE-SECRET-KEY-\w+$", (place / f"{name}.txt").read_text(), re.MULTILINE)
            world.known[f"{environment}: identity {name}"] = identity
        password = (place / "vault-password").read_text().strip()
        world.known[f"{environment}: password of the vault"] = password
        put_into_vault(place / "vault.yml", password.encode(), "hello_token", world.canary)
    world.must_not_show()
