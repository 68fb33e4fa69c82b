# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions and flags of K3s."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.version import minor, numbers
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment import k3s as rules
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.k3s.flags import load_flags, wrong_type

KINDS = {"string", "list", "bool", "int", "duration"}


def test_versions_are_ordered_by_kubernetes_and_then_by_the_release() -> None:
    ordered = ["v1.34.11+k3s1", "v1.35.8+k3s1", "v1.35.8+k3s2", "1.36.2+k3s1", "v1.36.10+k3s1"]
    assert sorted(sorted(ordered), key=numbers) == ordered
    assert minor("v1.36.3+k3s1") == (1, 36)


@pytest.mark.parametrize("text", ["", "latest", "v1.36", "1.36.3+rke2r1"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no version of K3s"):
        numbers(text)


def test_the_table_has_every_flag_with_a_kind() -> None:
    flags = load_flags()
    assert set(flags.server.values()) | set(flags.agent.values()) <= KINDS
    assert len(flags.server) > 100
    assert {"token-file", "server", "kubelet-arg", "node-ip"} <= set(flags.server) & set(flags.agent)
    assert "cluster-init" not in flags.agent


def test_what_the_role_manages_and_what_was_renamed_is_known_to_k3s() -> None:
    flags = load_flags()
    assert set(rules._MANAGED) <= {*flags.server, *flags.agent}
    assert not set(rules._MANAGED) & set(rules._RENAMED)


@pytest.mark.parametrize(
    ("kind", "value", "good"),
    [
        ("bool", True, True),
        ("bool", "true", False),
        ("int", 5, True),
        ("int", "5", True),
        ("int", True, False),
        ("list", ["a"], True),
        ("list", "a", True),
        ("string", ["a"], False),
        ("string", {"a": 1}, False),
        ("list", [{"a": 1}], False),
    ],
)
def test_values_are_of_the_kind_that_the_flag_takes(kind: str, value: Any, good: bool) -> None:
    assert (wrong_type(kind, value) == "") is good
