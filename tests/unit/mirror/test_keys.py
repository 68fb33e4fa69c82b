# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A step's key changes with each of its inputs, and with nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.mirror.keys import SOURCES, overall_key, step_keys
from tests.mirror.recipes import GoPrograms, Image, PlainFile, Recipe

RECIPES: tuple[Recipe, ...] = (
    GoPrograms("part/one", "one", (("one", "example.com/one"),)),
    GoPrograms("part/two", "two", (("two", "example.com/two"),)),
    PlainFile("one", "example.com/one", "part/one", "one"),
    Image("two/image", ("example.com/two:1",), programs=(("two", ("part/two", "two")),)),
)
GO = "go1.26.8"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name in {name for names in SOURCES.values() for name in names}:
        (tmp_path / name).write_text(f"# {name}\n")
    for module_set in ("one", "two"):
        directory = tmp_path / "go" / module_set
        directory.mkdir(parents=True)
        (directory / "go.mod").write_text(f"module {module_set}\n")
        (directory / "go.sum").write_text("")
    return tmp_path


def changed(here: Path, edit: Path | None = None, recipes: tuple[Recipe, ...] = RECIPES, go: str = GO) -> set[str]:
    """Names of the steps whose key differs after appending a line to the file ``edit``, or with other recipes or Go."""
    before = step_keys(RECIPES, GO, here=here)
    if edit is not None:
        edit.write_text(edit.read_text() + "changed\n")
    after = step_keys(recipes, go, here=here)
    return {name for name in before if before[name] != after.get(name)}


def test_nothing_changed(here: Path) -> None:
    assert changed(here) == set()


@pytest.mark.parametrize("name", ["go.mod", "go.sum"])
def test_a_module_set_changes_what_is_built_from_it(here: Path, name: str) -> None:
    assert changed(here, here / "go" / "one" / name) == {"part/one", "one"}


def test_a_recipe_changes_itself_and_what_is_made_from_it(here: Path) -> None:
    first = RECIPES[0]
    assert isinstance(first, GoPrograms)
    edited = dataclasses.replace(first, variables=(("example.com/one.version", "2"),))
    assert changed(here, recipes=(edited, *RECIPES[1:])) == {"part/one", "one"}


def test_the_go_version_changes_what_go_builds(here: Path) -> None:
    assert changed(here, go="go1.26.9") == {"part/one", "part/two", "one", "two/image"}


def test_the_archive_writer_changes_only_what_it_writes(here: Path) -> None:
    assert changed(here, here / "oci.py") == {"two/image"}


def test_the_overall_key_changes_with_any_key(here: Path) -> None:
    before = step_keys(RECIPES, GO, here=here)
    assert overall_key(before) == overall_key(dict(reversed(before.items())))
    assert overall_key(before) != overall_key({**before, "one": "0" * 64})
