# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML as Flux and the API server read it, strictly, with the line of every value.

Values are read as kustomize reads them: 0777 is octal, `yes` is text.
Positions are not kept while reading, since only a finding needs one: `line_of` reads the text once more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

try:
    from yaml.cyaml import CParser as _Parser  # type: ignore[attr-defined]
except ImportError:  # PyYAML without libyaml: slower, the same result
    from yaml.composer import Composer
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class _Parser(Reader, Scanner, Parser, Composer):  # type: ignore[no-redef]
        def __init__(self, stream: str) -> None:
            Reader.__init__(self, stream)
            Scanner.__init__(self)
            Parser.__init__(self)
            Composer.__init__(self)


Path = Sequence[str | int]

_OLD_BOOLEANS = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "Off", "OFF"), False),
}
_INTEGER = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_FIRST = frozenset("0123456789+-.")
_TAG = "tag:yaml.org,2002:"
_MOST_NODES = 2_000_000


class _Value(tuple[Any]):
    """A plain scalar that is no text, carried in a node's tag."""

    __slots__ = ()


@dataclass(frozen=True)
class Document:
    """One YAML document: its number in the file from 0, its first line, its value."""

    index: int
    line: int
    value: Any


@dataclass(frozen=True)
class Problem:
    """What is wrong with the text itself."""

    line: int
    rule: str
    message: str


def _integer(text: str) -> int | None:
    digits = text.replace("_", "")
    sign = -1 if digits[0] == "-" else 1
    digits = digits.lstrip("+-")
    for prefix, base in (("0b", 2), ("0x", 16), ("0o", 8), ("0", 8)):
        if digits.startswith(prefix) and len(digits) > len(prefix):
            try:
                return sign * int(digits[len(prefix) :], base)
            except ValueError:
                return None
    return sign * int(digits)


@lru_cache(maxsize=65536)
def scalar(text: str) -> _Value | None:
    """Return the value of a plain scalar in a tuple of one, or None when it is text."""
    if text in _WORDS:
        return _Value((_WORDS[text],))
    if text[0] not in _FIRST:
        return None
    if _INTEGER.match(text) and (number := _integer(text)) is not None:
        return _Value((number,))
    if _FLOAT.match(text):
        real = float(text)
        return None if math.isinf(real) else _Value((int(real) if real.is_integer() else real,))
    return None


def substituted_scalar(text: str) -> _Value | None:
    """Return the same for text in which variables were replaced, which is read by an older library: `yes` is true."""
    return _Value((_OLD_BOOLEANS[text],)) if text in _OLD_BOOLEANS else scalar(text)


class _Loader(_Parser):
    """libyaml's parser with our own, much cheaper, way to tell what a plain scalar is."""

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> Any:
        if kind is ScalarNode:
            return scalar(value) if implicit[0] else None
        return None

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        """Do nothing: there are no resolvers that depend on the path."""

    def ascend_resolver(self) -> None:
        """Do nothing."""


class _Builder:
    """Turns the nodes of one document into plain values."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.nodes = 0

    def value(self, node: Any) -> Any:
        """Return what a node stands for."""
        self.nodes += 1
        if self.nodes > _MOST_NODES:
            raise yaml.composer.ComposerError(None, None, "aliases multiply to too many values", node.start_mark)
        kind = type(node)
        if kind is ScalarNode:
            tag = node.tag
            if tag is None:
                return node.value
            return tag[0] if isinstance(tag, _Value) else self.tagged(node)
        if kind is MappingNode:
            return self.mapping(node)
        return [self.value(item) for item in node.value]

    def mapping(self, node: Any) -> dict[str, Any]:
        """Return what a mapping stands for; of a key that is there twice the last value."""
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self.problem(key_node, "yaml-key", "a list or mapping is used as a key. Quote the key, or write text")
                continue
            key, tag = key_node.value, _tag(key_node)
            if tag is not None:
                key = _key(key_node)
            elif key == "<<" and not key_node.style:
                self.merge(merged, value_node)
                continue
            if key in found:
                message = f"the key {key} is there twice in the same mapping, so the first is lost. Remove one of them"
                self.problem(key_node, "duplicate-key", message)
            found[key] = self.value(value_node)
        return {**merged, **found} if merged else found

    def merge(self, merged: dict[str, Any], node: Node) -> None:
        value = self.value(node)
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                for key, item in part.items():
                    merged.setdefault(key, item)

    def tagged(self, node: Any) -> Any:
        tag, text = str(node.tag), str(node.value)
        name = tag.removeprefix(_TAG)
        if name in ("str", "binary", "timestamp"):
            return text
        if name in ("int", "float", "bool", "null"):
            found = scalar(text)
            if found is not None:
                return found[0]
        message = f"the tag {tag} is not understood by Kubernetes. Write a plain or quoted value"
        self.problem(node, "yaml-tag", message)
        return text

    def problem(self, node: Node, rule: str, message: str) -> None:
        self.problems.append(Problem(node.start_mark.line + 1, rule, message))


def _tag(node: Any) -> Any:
    return node.tag


def _key(node: Any) -> str:
    if not isinstance(node.tag, _Value):
        return str(node.value)
    value = node.tag[0]
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _nodes(text: str) -> Iterator[Any]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            yield loader.get_node()
    finally:
        dispose = getattr(loader, "dispose", None)
        if dispose is not None:
            dispose()


def parse(data: bytes) -> tuple[list[Document], list[Problem]]:
    """Return the documents of a file and what is wrong with its text. Empty documents are left out."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return [], [Problem(line, "yaml-syntax", "the file is not UTF-8. Save it as UTF-8")]
    documents: list[Document] = []
    problems: list[Problem] = []
    index = -1
    try:
        for index, node in enumerate(_nodes(text)):
            builder = _Builder()
            value = builder.value(node)
            problems += builder.problems
            if value is not None:
                documents.append(Document(index, node.start_mark.line + 1, value))
    except yaml.YAMLError as error:
        problems.append(_syntax(error, text))
    return documents, problems


def _syntax(error: yaml.YAMLError, text: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = mark.line + 1 if mark is not None else 1
    lines = text.splitlines()
    written = lines[line - 1] if line <= len(lines) else ""
    if re.match(r"\s*\t", written):
        return Problem(line, "yaml-tab", "a tab is used for indentation, which YAML forbids. Use spaces")
    said = " ".join(part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part)
    return Problem(line, "yaml-syntax", f"this is not YAML: {said or error}. Correct the text around this line")


def line_of(data: bytes, index: int, path: Path) -> int:
    """Return the line of the value at `path` in document `index`, or of the nearest parent that is there."""
    return position(data, index, path)[0]


def position(data: bytes, index: int, path: Path) -> tuple[int, int]:
    """Return the line of the value at `path` in document `index`, and how many steps of the path are there.

    A list's item is given by its number, or by its `name`, which survives patches that move it.
    """
    node = _node(data, index)
    if node is None:
        return 1, 0
    line, depth = node.start_mark.line + 1, 0
    for step in path:
        found = _child(node, step)
        if found is None:
            break
        line, node = found
        depth += 1
    return int(line), depth


@lru_cache(maxsize=16)
def _node(data: bytes, index: int) -> Any:
    try:
        return next((item for number, item in enumerate(_nodes(data.decode("utf-8-sig"))) if number == index), None)
    except (yaml.YAMLError, UnicodeDecodeError):
        return None


def _child(node: Node, step: str | int) -> tuple[int, Node] | None:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode) and key.value == str(step):
                return key.start_mark.line + 1, value
    elif isinstance(node, SequenceNode):
        if isinstance(step, int) and step < len(node.value):
            return node.value[step].start_mark.line + 1, node.value[step]
        for item in node.value:
            named = _child(item, "name") if isinstance(item, MappingNode) else None
            if named is not None and named[1].value == step:
                return item.start_mark.line + 1, item
    return None


def named_path(value: Any, path: Path) -> list[str | int]:
    """Replace the numbers of list items in `path` by the items' names, where they have one."""
    steps: list[str | int] = []
    for step in path:
        child = value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None
        if child is not None:
            name = child.get("name") if isinstance(child, dict) else None
            steps.append(name if isinstance(name, str) else step)
            value = child
        else:
            steps.append(step)
            value = value.get(step) if isinstance(value, dict) else None
    return steps
