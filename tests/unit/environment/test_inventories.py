# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every inventory below tests/fixtures/inventories: the invalid ones are told exactly what stands beside them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment import check as rules

from .inventories import told

COLLECTION = Path(__file__).parents[3]
FIXTURES = COLLECTION / "tests" / "fixtures" / "inventories"
INVALID = sorted(path.name for path in (FIXTURES / "invalid").iterdir())
VALID = sorted(path.name for path in (FIXTURES / "valid").iterdir())


@pytest.mark.parametrize("name", INVALID)
def test_invalid_inventory_is_told_what_is_wrong(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = FIXTURES / "invalid" / name
    monkeypatch.chdir(directory)
    assert told(directory / "hosts.yml") == (directory / "expected.txt").read_text().splitlines()


@pytest.mark.parametrize("name", VALID)
def test_valid_inventory_has_no_problem(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = FIXTURES / "valid" / name
    monkeypatch.chdir(directory)
    assert told(directory / "hosts.yml") == []


def test_every_rule_has_a_fixture_and_every_fixture_fails() -> None:
    package = Path(rules.__file__).parent
    named = {
        rule
        for source in package.glob("*.py")
        for rule in re.findall(r'Problem\(\s*"([a-z-]+)"|rule = "([a-z-]+)" if .* else "([a-z-]+)"', source.read_text())
        for rule in rule
        if rule
    }
    expected = "".join((FIXTURES / "invalid" / name / "expected.txt").read_text() for name in INVALID)
    shown = set(re.findall(r"\[([a-z-]+)\]$", expected, re.MULTILINE))
    assert len(named) >= 25
    assert named == shown
    assert all((FIXTURES / "invalid" / name / "expected.txt").read_text().strip() for name in INVALID)


def test_every_variable_of_the_play_is_known() -> None:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.variables import PLAY_OPTIONS

    files = [*COLLECTION.glob("roles/*/*/*.yml"), *COLLECTION.glob("playbooks/*.yml")]
    read = {name for file in files for name in re.findall(r"\bstagecraft_[a-z_]+", file.read_text())}
    assert {name for name in read if not name.startswith("stagecraft_sandbox_")} <= set(PLAY_OPTIONS)


def test_the_inventory_with_every_list_has_every_list() -> None:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment import knowledge

    lists = {name for name, option in knowledge.role_options().items() if option.type == "list"}
    text = (FIXTURES / "valid" / "every-list" / "hosts.yml").read_text()
    assert lists == set(re.findall(r"^    ([a-z0-9_]+): \[", text, re.MULTILINE))


def test_renamed_variables_lead_to_ones_that_exist() -> None:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment import knowledge, variables

    options = {**variables.PLAY_OPTIONS, **knowledge.role_options()}
    assert {right for right in variables.RENAMED.values() if right not in options} == set()
    assert {wrong for wrong in variables.RENAMED if wrong in options} == set()


def test_an_inventory_of_another_distribution_is_sent_to_its_playbook() -> None:
    from ansible_collections.stagecraft.gitops.plugins.action import environment_check
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.model import Inventory

    inventory = Inventory({"control_plane": ("s1",)}, {"s1": {"stagecraft_distribution": "k3s"}})
    assert environment_check.other_playbook(inventory, "k3s") == []
    assert environment_check.other_playbook(inventory, None) == []
    (problem,) = environment_check.other_playbook(inventory, "kubeadm")
    assert "it is k3s, and this playbook sets up kubeadm. Run playbooks/setup-staging.yml" in str(problem)
