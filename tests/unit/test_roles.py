# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules that every role follows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.role_readmes import outdated_readmes, readme

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
SHARED_PREFIX = "stagecraft_"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def options_of(role: Path) -> dict[str, dict[str, Any]]:
    """Every option of every entry point of a role; an option of several entry points must be the same in all."""
    options: dict[str, dict[str, Any]] = {}
    for entry in load(role / "meta" / "argument_specs.yml")["argument_specs"].values():
        options |= entry.get("options", {})
    return options


def is_template(value: object) -> bool:
    """Whether a default is computed, or a part of it, so that the documentation can only describe it."""
    return "{{" in str(value)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
class TestEveryRole:
    def test_has_its_files(self, role: Path) -> None:
        wanted = ["README.md", "defaults/main.yml", "meta/argument_specs.yml", "meta/main.yml", "tasks/main.yml"]
        assert [name for name in wanted if not (role / name).is_file()] == []

    def test_documents_exactly_the_variables_that_have_defaults(self, role: Path) -> None:
        options = options_of(role)
        own = {name for name in options if not name.startswith(SHARED_PREFIX)}
        required = {name for name, option in options.items() if option.get("required")}
        defaults = set(load(role / "defaults" / "main.yml") or {})
        assert own - required == defaults - required
        assert not defaults & required, "a required variable has no default"

    def test_documents_the_defaults_that_hold(self, role: Path) -> None:
        defaults = load(role / "defaults" / "main.yml") or {}
        documented = {name: option["default"] for name, option in options_of(role).items() if "default" in option}
        actual = {name: defaults[name] for name in documented if name in defaults and not is_template(defaults[name])}
        assert {name: value for name, value in documented.items() if name in actual} == actual

    def test_documents_every_plain_default(self, role: Path) -> None:
        defaults = load(role / "defaults" / "main.yml") or {}
        options = options_of(role)
        plain = {name for name, value in defaults.items() if not is_template(value) and value is not None}
        assert {name for name in plain if "default" not in options.get(name, {})} == set()

    def test_carries_its_prefix(self, role: Path) -> None:
        names = {*options_of(role), *(load(role / "defaults" / "main.yml") or {})}
        variables = role / "vars" / "main.yml"
        if variables.exists():
            names |= set(load(variables) or {})
        allowed = (f"{role.name}_", f"_{role.name}_", f"__{role.name}_", SHARED_PREFIX)
        assert {name for name in names if not name.startswith(allowed)} == set()

    def test_keeps_versions_in_the_catalogue(self, role: Path) -> None:
        """A version as a literal, even as a default, would be a second source of it."""
        defaults = load(role / "defaults" / "main.yml") or {}
        literal = re.compile(r"v?\d+\.\d+(\.\d+)?([-+][\w.]+)?")
        found = {
            name: value
            for name, value in defaults.items()
            if name.endswith("version") and literal.fullmatch(str(value))
        }
        assert found == {}


def test_what_protects_a_cluster_is_on_whatever_its_environment_is_called() -> None:
    defaults = load(ROOT / "roles" / "kubeadm" / "defaults" / "main.yml")
    assert (defaults["kubeadm_encryption_at_rest"], defaults["kubeadm_audit_log"]) == (True, True)


def test_readmes_say_what_the_argument_specs_say() -> None:
    assert [str(path.relative_to(ROOT)) for path in outdated_readmes()] == [], "run `make docs`"


SPECIFICATION: dict[str, Any] = {
    "main": {
        "short_description": "Do a thing",
        "description": ["First, with V(x).", "Second."],
        "options": {
            "thing_mode": {
                "type": "str",
                "choices": ["a", "b"],
                "default": "a",
                "description": "See O(thing_list) or U(https://example.com/a|b).",
            },
            "thing_list": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "description": ["One.", "Two."],
                "options": {"name": {"type": "str", "description": "Its name."}},
            },
        },
    }
}


def test_a_new_readme_has_title_description_and_table() -> None:
    text = readme("thing", SPECIFICATION, None)
    assert text.startswith("# Role `stagecraft.gitops.thing`\n\nDo a thing.\n\nFirst, with `x`.\n\nSecond.\n\n")
    assert '| `thing_mode` | str | `"a"` | See `thing_list` or <https://example.com/a\\|b>. One of `a`, `b`. |' in text
    assert (
        "| `thing_list` | list of dict | **required** | One. Two. |\n| `thing_list.name` | str |  | Its name. |" in text
    )


def test_text_outside_of_the_marks_is_left_alone() -> None:
    first = readme("thing", SPECIFICATION, "# Mine\n\nWords.\n")
    assert first.startswith("# Mine\n\nWords.\n\n")
    more = first.replace("Words.", "Other words.") + "\nAfter.\n"
    changed = {"main": {**SPECIFICATION["main"], "options": {}}}
    again = readme("thing", changed, more)
    assert again.startswith("# Mine\n\nOther words.\n")
    assert again.endswith("\nAfter.\n")
    assert "thing_mode" not in again
    assert readme("thing", changed, again) == again
