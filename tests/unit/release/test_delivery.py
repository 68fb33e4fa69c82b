# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at in a cluster whose environment has a branch of its own, and which commit comes after which."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import delivery, verify
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.run import Clusters

from tests.unit.release.lab import Lab

OFF = dict.fromkeys(("server_dry_run", "secrets", "capacity", "connectivity"), "off")


def test_what_is_looked_at_is_of_the_environments_own_branch(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[delivery.Subject] = []

    def well(_cluster: Any, subject: delivery.Subject, *_more: Any) -> verify.Verification:
        asked.append(subject)
        return verify.Verification(True)

    monkeypatch.setattr(verify, "verify", well)
    monkeypatch.setattr(Clusters, "of", lambda _self, one: SimpleNamespace() if one.name == "production" else None)
    lab.git("push", "--quiet", "origin", "main:stable")
    environments = {"staging": {}, "production": {"branch": "stable"}}
    done = lab.promote(place={"environments": environments}, verify=verify.Options(), gates=OFF)
    assert done["verified"], done
    assert [(one.commit, one.branch, one.default) for one in asked] == [(lab.head("stable"), "stable", "main")]


def test_a_commit_that_came_after_the_clone_is_fetched_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.git("push", "--quiet", "origin", "main:stable")
    clone = delivery.Clone(lab.place())
    order = delivery.Order(clone, "stable")
    newer = lab.commit({"x.yaml": "x: 1\n"})
    lab.git("push", "--quiet", "origin", "main:stable")
    lab.git("push", "--quiet", "--force", "origin", f"{lab.first}:main")
    assert order(newer, lab.first)
    assert not order(lab.first, newer)
    fetched: list[str] = []
    monkeypatch.setattr(delivery.Clone, "directory", lambda _self, _branch, commit: fetched.append(commit))
    for _ in range(3):
        assert order(newer, lab.first)
        assert not order("d" * 40, lab.first)
    assert fetched == ["d" * 40]


def test_nothing_comes_after_another_without_a_clone() -> None:
    assert not delivery.Order(None, "main")("b" * 40, "a" * 40)
