# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Post-build substitution as kustomize-controller does it since Flux 2.9: a variable without a value is an error.

The controller substitutes in the YAML text of an object, so what was quoted in the file may become a number. Text that
YAML would quote, or that has several lines, stays text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.documents import parse, substituted_scalar

DISABLED = "kustomize.toolkit.fluxcd.io/substitute"
NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*\Z")
#: Stands in for what only the cluster knows, such as the data of an encrypted Secret. Checks of values pass over it.
UNKNOWN = "\ue000"

_START = re.compile(r"\$\$|\$\{")
_VARIABLE = re.compile(r"(#?)([\w]+)(.*)\Z", re.DOTALL)
_DEFAULT = re.compile(r":[-=?+]|=")


@dataclass(frozen=True)
class Unset:
    """A variable that has neither a value nor a default, or an expression that cannot be read."""

    path: tuple[str | int, ...]
    name: str
    message: str


class _SubstitutionError(Exception):
    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def is_disabled(content: Mapping[str, Any]) -> bool:
    """Say whether an object opts out."""
    metadata = content.get("metadata")
    if not isinstance(metadata, dict):
        return False
    return any(
        isinstance(metadata.get(field), dict) and metadata[field].get(DISABLED) == "disabled"
        for field in ("labels", "annotations")
    )


def substitute(value: Any, values: Mapping[str, str]) -> tuple[Any, list[Unset]]:
    """Return the object with variables replaced, and those that have no value."""
    problems: list[Unset] = []
    return _walk(value, values, (), problems), problems


def _walk(value: Any, values: Mapping[str, str], path: tuple[str | int, ...], problems: list[Unset]) -> Any:
    if isinstance(value, str):
        return _scalar(value, values, path, problems) if "$" in value else value
    if isinstance(value, dict):
        found = {}
        for key, item in value.items():
            name = str(_scalar(key, values, (*path, key), problems)) if "$" in key else key
            found[name] = item if item is None else _walk(item, values, (*path, key), problems)
        return found
    if isinstance(value, list):
        return [_walk(item, values, (*path, number), problems) for number, item in enumerate(value)]
    return value


def _scalar(text: str, values: Mapping[str, str], path: tuple[str | int, ...], problems: list[Unset]) -> Any:
    try:
        replaced = expand(text, values)
    except _SubstitutionError as error:
        problems.append(Unset(path, error.name, str(error)))
        return UNKNOWN
    if replaced == text or UNKNOWN in replaced or not _is_plain(text):
        return replaced
    known = substituted_scalar(replaced)
    if known is not None:
        return known[0]
    if _is_plain(replaced):
        return replaced
    documents, wrong = parse(f"value: {replaced}\n".encode())
    if wrong or len(documents) != 1 or not isinstance(documents[0].value, dict):
        message = f"with its variables replaced this is not YAML any more: {replaced!r}. Quote it inside of the text"
        problems.append(Unset(path, "", message))
        return UNKNOWN
    return documents[0].value.get("value")


def _is_plain(text: str) -> bool:
    """Say whether YAML writes the text without quotes and in one line."""
    if not text or "\n" in text:
        return False
    return bool(yaml.dump(text, Dumper=yaml.SafeDumper, width=1_000_000).splitlines()[0] == text)


def expand(text: str, values: Mapping[str, str]) -> str:
    """Return the text with ${NAME} and its forms replaced; $$ is a $, $NAME stays."""
    parts: list[str] = []
    position = 0
    while found := _START.search(text, position):
        parts.append(text[position : found.start()])
        if found[0] == "$$":
            parts.append("$")
            position = found.end()
            # An escaped $ is no start of a variable.
            if text.startswith("{", position):
                parts.append("{")
                position += 1
            continue
        end = _closing(text, found.end())
        parts.append(_expression(text[found.end() : end], values))
        position = end + 1
    return "".join([*parts, text[position:]])


def _closing(text: str, position: int) -> int:
    depth = 1
    start = position
    while position < len(text):
        if text.startswith("${", position):
            depth += 1
            position += 1
        elif text[position] == "}":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    name = re.match(r"\w*", text[start:])
    raise _SubstitutionError(name[0] if name else "", "a ${ has no }. Close it, or write $${ for the text ${")


def _expression(inner: str, values: Mapping[str, str]) -> str:
    found = _VARIABLE.match(inner)
    if found is None:
        fix = "Write $${ for the text ${, or set the annotation kustomize.toolkit.fluxcd.io/substitute: disabled"
        raise _SubstitutionError("", f"${{{inner}}} is no variable. {fix}")
    length, name, rest = found.groups()
    value = values.get(name)
    default = _DEFAULT.match(rest) if not length else None
    if default is not None:
        # The default is expanded in any case: a variable without a value in it is an error also when it is not used.
        fallback = expand(rest[default.end() :], values)
        return value if value else fallback
    if rest and rest[0] not in ":,^/#%":
        raise _SubstitutionError(name, f"${{{inner}}} cannot be read. Correct it, or write $${{ for the text ${{")
    if value is None:
        raise _SubstitutionError(name, "")
    if UNKNOWN in value:
        return UNKNOWN
    if length:
        return str(len(value))
    return _changed(value, rest, values) if rest else value


def _changed(value: str, operation: str, values: Mapping[str, str]) -> str:
    simple = {"^^": value.upper(), ",,": value.lower(), "^": value[:1].upper() + value[1:]}
    simple[","] = value[:1].lower() + value[1:]
    if operation in simple:
        return simple[operation]
    if found := re.match(r":(\d+)(?::(\d+))?\Z", operation):
        start, length = int(found[1]), found[2]
        return value[start : start + int(length)] if length else value[start:]
    if found := re.match(r"/([/#%]?)([^/]*)/(.*)\Z", operation, re.DOTALL):
        old, new = expand(found[2], values), expand(found[3], values)
        if found[1] == "#":
            return new + value.removeprefix(old) if old and value.startswith(old) else value
        if found[1] == "%":
            return value.removesuffix(old) + new if old and value.endswith(old) else value
        return value.replace(old, new, -1 if found[1] == "/" else 1) if old else value
    if re.match(r"[#%]", operation):
        return UNKNOWN  # patterns of the shell: what is left of the value is not worked out here
    raise _SubstitutionError("", f"${{NAME{operation}}} cannot be read. Correct it, or write $${{ for the text ${{")
