# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that every module and action plugin follows."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "plugins" / "modules").glob("[!_]*.py"))
ACTIONS = sorted((ROOT / "plugins" / "action").glob("[!_]*.py"))


def constants(path: Path) -> dict[str, Any]:
    """The string constants at the top level of a Python file, by name."""
    return {
        target.id: node.value.value
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def documentation(path: Path) -> dict[str, Any]:
    """A module's documentation with the attributes of this collection's fragments merged into it."""
    own: dict[str, Any] = yaml.safe_load(constants(path)["DOCUMENTATION"])
    for name in own.get("extends_documentation_fragment", []):
        if not name.startswith("stagecraft.gitops."):
            continue
        file, _, part = name.removeprefix("stagecraft.gitops.").partition(".")
        fragment = ROOT / "plugins" / "doc_fragments" / f"{file}.py"
        (holder,) = [node for node in ast.parse(fragment.read_text()).body if isinstance(node, ast.ClassDef)]
        texts = {
            target.id: node.value.value
            for node in holder.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        shared = yaml.safe_load(str(texts[part.upper() or "DOCUMENTATION"]))
        attributes = own.setdefault("attributes", {})
        for attribute, words in shared.get("attributes", {}).items():
            attributes[attribute] = {**words, **attributes.get(attribute, {})}
    return own


def test_the_action_group_lists_every_module() -> None:
    groups = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]
    assert groups["all"] == [path.stem for path in MODULES]


def test_every_action_has_a_module_that_documents_it() -> None:
    assert {path.stem for path in ACTIONS} - {path.stem for path in MODULES} == set()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
class TestEveryModule:
    def test_is_documented(self, module: Path) -> None:
        found = constants(module)
        assert {"DOCUMENTATION", "EXAMPLES", "RETURN"} - set(found) == set()
        document = documentation(module)
        assert document["module"] == module.stem
        assert document["version_added"]
        assert yaml.safe_load(found["EXAMPLES"])
        assert f"stagecraft.gitops.{module.stem}:" in found["EXAMPLES"]

    def test_says_how_it_behaves(self, module: Path) -> None:
        own = yaml.safe_load(constants(module)["DOCUMENTATION"]).get("attributes", {})
        attributes = documentation(module).get("attributes", {})
        for name in ("check_mode", "diff_mode", "idempotent"):
            assert attributes.get(name, {}).get("support"), f"{module.stem} does not say whether it supports {name}"
            if attributes[name]["support"] in ("partial", "none"):
                reason = own[name].get("details") or own[name].get("description")
                assert reason, f"{module.stem}: {name} is {attributes[name]['support']}, which needs its reason"

    def test_says_that_it_is_in_the_action_group(self, module: Path) -> None:
        assert documentation(module).get("attributes", {}).get("action_group", {}).get("membership") == [
            "stagecraft.gitops.all"
        ]

    def test_asks_for_no_third_party_library_on_the_host(self, module: Path) -> None:
        imported = {
            (node.module or "").split(".")[0] if isinstance(node, ast.ImportFrom) else alias.name.split(".")[0]
            for node in ast.walk(ast.parse(module.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert imported & {"jinja2", "kubernetes", "paramiko", "requests", "yaml"} == set()
