# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The builder against the program that it stands in for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check import program
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.documents import parse
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import UnsupportedError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.kustomize import Builder
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.tree import Tree

from tests.integration.gitops_check import kustomize
from tests.integration.gitops_check.overlays import Chance

SEEDS = range(1000, 1025)
DIRECTORIES = ("base", "one", "two")


@pytest.fixture(scope="module")
def real() -> Path:
    found = kustomize.program()
    if found is None:
        pytest.skip("neither Go nor a built kustomize is here")
    return found


def ours(root: Path, directory: str) -> tuple[list[Any], list[str]]:
    builder = Builder(Tree(root))
    place = builder.load(directory)
    assert place is not None
    return [resource.content for resource in builder.build(place)], [one.text() for one in builder.findings]


def test_builds_what_kustomize_builds(real: Path, tmp_path: Path) -> None:
    same = refused = 0
    for seed in SEEDS:
        Chance(seed).write(tmp_path / str(seed))
        for directory in DIRECTORIES:
            answer = kustomize.build(real, tmp_path / str(seed) / directory)
            try:
                objects, problems = ours(tmp_path / str(seed), directory)
            except UnsupportedError:
                continue
            if answer.returncode:
                assert problems, f"seed {seed}, {directory}: kustomize refuses it: {answer.stderr.decode()}"
                refused += 1
                break
            wanted = [document.value for document in parse(answer.stdout)[0]]
            assert (objects, problems) == (wanted, []), f"seed {seed}, {directory}"
            same += 1
    assert same > len(SEEDS) * 2


def test_the_program_builds_in_the_place_of_the_builder(
    real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(real.parent), prepend=":")
    program.command.cache_clear()
    compared = 0
    for seed in range(1000, 1006):
        root = tmp_path / str(seed)
        Chance(seed).write(root)
        answer = kustomize.build(real, root / "one")
        if answer.returncode:
            continue
        place = Builder(Tree(root)).load("one")
        assert place is not None
        content = {**place.content, "sortOptions": {"order": "fifo"}}
        built = program.build(str(root), "one", content, "sortOptions")
        assert built == [document.value for document in parse(answer.stdout)[0]]
        assert sorted(path.name for path in (root / "one").iterdir()) == [
            "binary.dat",
            "kustomization.yaml",
            "text.txt",
            "values.env",
        ]
        compared += 1
    program.command.cache_clear()
    assert compared
