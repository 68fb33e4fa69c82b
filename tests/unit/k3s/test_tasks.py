# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role's tasks do on which host, as far as it follows from their text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.plugins.filter.core import FilterModule as Core
from ansible.plugins.filter.mathstuff import FilterModule as Sets
from ansible.plugins.test.core import TestModule as Verdicts
from jinja2.nativetypes import NativeEnvironment

ROLE = Path(__file__).resolve().parents[3] / "roles" / "k3s"


def load(path: str) -> Any:
    return yaml.safe_load((ROLE / path).read_text())


def evaluated(expression: str, **variables: Any) -> Any:
    """An expression as Ansible evaluates it, braces and all, or a condition without them."""
    environment = NativeEnvironment()
    environment.filters.update(Core().filters() | Sets().filters())
    environment.tests.update(Verdicts().tests())
    text = expression if "{{" in expression else "{{ " + expression + " }}"
    return environment.from_string(text).render(**variables)


def wave(name: str) -> dict[str, Any]:
    """A task of a wave."""
    (block,) = load("tasks/wave.yml")
    (found,) = [task for task in block["block"] if task["name"] == name]
    return dict(found)


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        (["restore"], True),
        (["release"], True),
        (["restart"], True),
        (["upgrade"], True),
        (["initialize"], False),
        (["clean", "forget", "join"], False),
    ],
)
def test_a_node_takes_pods_again_after_every_step_that_may_find_it_emptied(steps: list[str], wanted: bool) -> None:
    condition = wave("Let the node take pods again")["when"]
    assert evaluated(condition, inventory_hostname="a", k3s__plan={"drains": []}, k3s__steps=steps) is wanted


def test_going_back_only_the_server_with_the_snapshot_is_asked_about_nodes() -> None:
    """Those that stood when the run began are stopped by then."""
    via = load("vars/main.yml")["k3s__via"]
    common = {
        "inventory_hostname": "a",
        "k3s__plan": {"primary": "a"},
        "k3s__standing": ["a", "b", "c"],
        "groups": {"control_plane": ["a", "b", "c"]},
        "ansible_play_hosts_all": ["a", "b", "c"],
    }
    assert evaluated(via, k3s__goes_back=True, **common) == "a"
    assert evaluated(via, k3s__goes_back=False, **common) in ("b", "c")


def test_going_back_the_others_give_up_their_data_before_any_server_starts() -> None:
    """Cut short later, a run would leave servers that start the old cluster beside the one that is back."""
    names = [task["name"] for task in load("tasks/execute.yml")]
    order = ["Stop all servers before the datastore goes back", "Go back to the snapshot"]
    order += ["Leave the cluster that is given up", "Work on the hosts"]
    assert names[names.index(order[0]) :] == order
    assert "Go back to the snapshot" not in [task["name"] for task in load("tasks/wave.yml")[0]["block"]]


@pytest.mark.parametrize(
    ("steps", "restored", "wanted"),
    [
        (["clean", "forget", "join"], {"failed": False}, True),
        (["clean", "forget", "join"], {"failed": True}, False),
        (["clean", "forget", "join"], None, False),
        (["restore"], {"failed": False}, False),
        (["forget", "join"], {"failed": False}, False),
    ],
)
def test_what_the_others_have_goes_only_once_the_datastore_is_back(
    steps: list[str],
    restored: dict[str, bool] | None,
    wanted: bool,
) -> None:
    (task,) = [task for task in load("tasks/execute.yml") if task["name"] == "Leave the cluster that is given up"]
    known = {"primary": {} if restored is None else {"k3s__restored": restored}}
    variables = {"k3s__goes_back": True, "k3s__steps": steps, "k3s__plan": {"primary": "primary"}, "hostvars": known}
    assert all(evaluated(condition, **variables) for condition in task["when"]) is wanted
    (registering,) = [task for task in load("tasks/restore.yml") if "register" in task]
    assert registering["register"] == "k3s__restored"
    assert registering["stagecraft.gitops.k3s_snapshot"]["state"] == "restored"
