# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Contents without a version are read once on a machine, and what is new is always read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.repository import Repository
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import selectors
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.model import Component, Declared, Environment
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.state import Reader

from tests.unit.release.lab import SELECTOR, A, Lab, kustomization

PRODUCTION = "clusters/production/podinfo/kustomization.yaml"
PLAIN = "clusters/production/podinfo/config.yaml"
ENVIRONMENT = Environment("production", "clusters/production")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of all contents that are read."""
    seen: list[str] = []
    read = Repository.read

    def counted(self: Repository, blobs: Iterable[str]) -> dict[str, bytes]:
        wanted = list(blobs)
        seen.extend(wanted)
        return read(self, wanted)

    monkeypatch.setattr(Repository, "read", counted)
    return seen


def versions(lab: Lab, component: Component) -> dict[str, str]:
    with lab.place().open() as repository:
        tip = repository.fetch(["main"])["main"]
        state = Reader(repository).state(tip, ENVIRONMENT, component)
    return {key: selectors.shown(value) for key, value in state.vector.items()}


def test_a_content_without_a_version_is_read_once(lab: Lab, reads: list[str]) -> None:
    lab.commit({PLAIN: "kind: ConfigMap\n"})
    blob = lab.tree()[PLAIN]
    first = versions(lab, Component("podinfo"))
    assert blob in reads
    reads.clear()
    assert versions(lab, Component("podinfo")) == first
    assert blob not in reads
    assert lab.tree()[PRODUCTION] in reads


def test_a_file_that_gets_a_version_is_read(lab: Lab) -> None:
    lab.commit({PRODUCTION: "kind: Kustomization\n"})
    assert versions(lab, Component("podinfo")) == {}
    lab.commit({PRODUCTION: kustomization("6.5.4", A)})
    assert versions(lab, Component("podinfo"))[SELECTOR].startswith("6.5.4@")


def test_a_selector_that_is_declared_is_found_in_what_has_none_otherwise(lab: Lab) -> None:
    lab.commit({PLAIN: "kind: ConfigMap\nmetadata: {name: podinfo}\nversion: 1.0.0\n"})
    versions(lab, Component("podinfo"))
    declared = Component("podinfo", select=(Declared("ConfigMap", "", ("version",)),))
    assert "1.0.0" in versions(lab, declared).values()


def test_a_note_that_was_cut_off_and_one_that_is_too_long_do_no_harm(lab: Lab, reads: list[str]) -> None:
    lab.commit({PLAIN: "kind: ConfigMap\n"})
    first = versions(lab, Component("podinfo"))
    (note,) = Path(lab.directory / "cache").glob(f"*.git/stagecraft-{selectors.SIGNS}")
    note.write_text(note.read_text()[:-20])
    assert versions(lab, Component("podinfo")) == first
    note.write_text("\n".join(map(str, range(300_000))))
    assert versions(lab, Component("podinfo")) == first
    assert len(note.read_text().splitlines()) < 100
