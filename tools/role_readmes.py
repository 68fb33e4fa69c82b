# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write each role's table of variables, from ``meta/argument_specs.yml``, into its README.md (`make docs`).

Text outside of the two marks is written by hand and left alone; a role without a README gets one.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
BEGIN = "<!-- variables: written by `make docs` from meta/argument_specs.yml -->"
END = "<!-- end of variables -->"


def paragraphs(text: str | list[str] | None) -> list[str]:
    """Return a description, which may be one text or a list of paragraphs, as Markdown paragraphs."""
    lines = [text] if isinstance(text, str) else text or []
    return [markdown(line) for line in lines]


def markdown(text: str) -> str:
    """Turn Ansible's markup into Markdown: ``O(a)``, ``V(b)``, ``C(c)``, ``M(d)`` … become code, links links."""
    text = re.sub(r"\b(?:O|V|C|E|RV|M|P)\(((?:[^()\\]|\\.)*)\)", lambda match: f"`{match[1]}`", text)
    text = re.sub(r"\bB\(([^)]*)\)", r"**\1**", text)
    text = re.sub(r"\bI\(([^)]*)\)", r"*\1*", text)
    text = re.sub(r"\bU\(([^)]*)\)", r"<\1>", text)
    text = re.sub(r"\b(?:L|R)\(([^,)]*),\s*([^)]*)\)", r"[\1](\2)", text)
    return " ".join(text.split())


def option_rows(options: Mapping[str, Mapping[str, Any]], prefix: str = "") -> list[str]:
    """Return a table row for each option, sub-options under their parent as ``parent.child``."""
    rows = []
    for name, option in options.items():
        kind = option.get("type", "str")
        if option.get("elements"):
            kind += f" of {option['elements']}"
        if option.get("required"):
            default = "**required**"
        elif "default" in option:
            default = f"`{json.dumps(option['default'], ensure_ascii=False)}`"
        else:
            default = ""
        words = paragraphs(option.get("description"))
        if option.get("choices"):
            words.append("One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + ".")
        cells = [f"`{prefix}{name}`", kind, default, " ".join(words)]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        rows += option_rows(option.get("options", {}), f"{prefix}{name}.")
    return rows


def variables(specifications: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the tables of all entry points, between the marks."""
    blocks = [BEGIN]
    for entry, specification in specifications.items():
        title = "Variables" if entry == "main" else f"Variables of `tasks_from: {entry}.yml`"
        blocks.append(f"## {title}")
        if entry != "main":
            blocks += [markdown(specification["short_description"]) + "."]
        rows = option_rows(specification.get("options", {}))
        if rows:
            blocks.append("\n".join(["| variable | type | default | meaning |", "|---|---|---|---|", *rows]))
        else:
            blocks.append("None of its own.")
    return "\n\n".join([*blocks, END])


def readme(role: str, specifications: Mapping[str, Mapping[str, Any]], current: str | None) -> str:
    """Return the README of a role: ``current`` with new tables, or a whole one where there is none."""
    tables = variables(specifications)
    if current is None:
        main = specifications["main"]
        parts = [f"# Role `stagecraft.gitops.{role}`", markdown(main["short_description"]) + "."]
        return "\n\n".join([*parts, *paragraphs(main.get("description")), tables]) + "\n"
    if BEGIN in current and END in current:
        before, _, rest = current.partition(BEGIN)
        return before + tables + rest.partition(END)[2]
    return f"{current.rstrip()}\n\n{tables}\n"


def outdated_readmes(root: Path = ROOT) -> dict[Path, str]:
    """Return the READMEs that differ from what they should hold, with that text."""
    result = {}
    for path in sorted((root / "roles").glob("*/meta/argument_specs.yml")):
        role = path.parent.parent
        target = role / "README.md"
        current = target.read_text() if target.exists() else None
        wanted = readme(role.name, yaml.safe_load(path.read_text())["argument_specs"], current)
        if wanted != current:
            result[target] = wanted
    return result


def main() -> int:
    """Write the READMEs; with ``--check`` only say which are outdated and return 1 if any is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where something would be written")
    arguments = parser.parse_args()
    outdated = outdated_readmes()
    for path, text in outdated.items():
        print(f"{path.relative_to(ROOT)}: {'outdated, run `make docs`' if arguments.check else 'written'}")
        if not arguments.check:
            path.write_text(text)
    return 1 if arguments.check and outdated else 0


if __name__ == "__main__":
    sys.exit(main())
