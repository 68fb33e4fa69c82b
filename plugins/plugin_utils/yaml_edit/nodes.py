# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML text as a tree whose nodes know where they stand in the text.

PyYAML's parser finds the events; the tree is our own, because its composer forgets where aliases stand, and counts an
anchor or a tag as part of the scalar behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit.errors import YamlEditError

_Loader: Any = getattr(yaml, "CLoader", yaml.Loader)  # the same events; libyaml's are found in a fifth of the time
_PROPERTIES = re.compile(r"(?:[&!]\S*(?:[ \t]*(?:#[^\r\n]*)?(?:\r?\n|\r))*[ \t]*)*")
#: Plain scalars that YAML 1.2 or Go's libraries read as numbers, and PyYAML's resolver (YAML 1.1) does not.
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|0o[0-7]+|[-+]?0[xX][0-9a-fA-F_]+")
_RESOLVER: Any = yaml.resolver.Resolver()
_TAG = "tag:yaml.org,2002:"
_MOST_NODES = 1_000_000


@dataclass(slots=True)
class Scalar:
    """A scalar: `text[start:end]` is what is written, without anchor and tag; `style` is "" for a plain one.

    `kind` is str, int, float, bool, null, timestamp and the like, or the tag as written. `anchor` is "" without one.
    """

    start: int
    end: int
    style: str
    value: str
    kind: str
    anchor: str = ""


@dataclass(slots=True)
class Alias:
    """An alias: `*name`, and what it stands for."""

    start: int
    end: int
    name: str
    target: Content


@dataclass(slots=True)
class Mapping:
    """A mapping with its pairs in order; `flow` says that it is written in braces."""

    start: int
    end: int
    flow: bool
    pairs: list[tuple[Node, Node]] = field(default_factory=list)

    def find(self, key: str) -> Node | None:
        """Return the value of `key`, or None. Raises YamlEditError for a key that is there twice."""
        found = [value for name, value in self.pairs if isinstance(name, Scalar) and name.value == key]
        if len(found) > 1:
            raise YamlEditError(f"the key {key} is there twice in the same mapping. Remove one of them")
        return found[0] if found else None


@dataclass(slots=True)
class Sequence:
    """A sequence; `flow` says that it is written in brackets."""

    start: int
    end: int
    flow: bool
    items: list[Node] = field(default_factory=list)


#: What an alias can stand for.
Content = Scalar | Mapping | Sequence
Node = Content | Alias


def parse(text: str) -> list[Node]:
    """Return the root node of each document that is not empty of nodes. Raises YamlEditError for what is no YAML."""
    try:
        events: Iterator[Any] = iter(yaml.parse(text, Loader=_Loader))
        return [_Reader(text, events).node(next(events)) for event in events if _is(event, yaml.DocumentStartEvent)]
    except yaml.YAMLError as error:
        raise YamlEditError(_syntax(error)) from error


def resolve(node: Node) -> Content:
    """Return what a node stands for: the target of an alias, else itself."""
    return node.target if isinstance(node, Alias) else node


def scalars(node: Node) -> Iterator[Scalar | Alias]:
    """Yield all scalars and aliases of a tree that stand in the text themselves, in its order."""
    if isinstance(node, Mapping):
        for key, value in node.pairs:
            yield from scalars(key)
            yield from scalars(value)
    elif isinstance(node, Sequence):
        for item in node.items:
            yield from scalars(item)
    else:
        yield node


def kind_of(plain: str) -> str:
    """Return what a plain scalar is read as by any of the libraries in use: str only where all agree on text."""
    if _NUMBER.fullmatch(plain):
        return "int" if plain.lstrip("+-").isdigit() else "float"
    return str(_RESOLVER.resolve(yaml.ScalarNode, plain, (True, False))).removeprefix(_TAG)


def value(node: Node) -> Any:
    """Return a node as plain Python: dict, list, for every scalar its text, and None for null. Aliases are expanded."""
    content = resolve(node)
    if isinstance(content, Mapping):
        return {key.value: value(item) for key, item in content.pairs if isinstance(key, Scalar)}
    if isinstance(content, Scalar):
        return None if content.kind == "null" else content.value
    return [value(item) for item in content.items]


def structure(node: Node) -> Any:
    """Return a node as nested lists that are equal only for documents with equal content, order and types."""
    return _Structure().of(node)


class _Structure:
    def __init__(self) -> None:
        self._left = _MOST_NODES

    def of(self, node: Node) -> Any:
        self._left -= 1
        if self._left < 0:
            raise YamlEditError("its aliases multiply to too many values")
        content = resolve(node)
        if isinstance(content, Mapping):
            return ["map", [[self.of(key), self.of(item)] for key, item in content.pairs]]
        if isinstance(content, Sequence):
            return ["list", [self.of(item) for item in content.items]]
        return [content.kind, content.value]


class _Reader:
    """Builds the tree of one document."""

    def __init__(self, text: str, events: Iterator[Any]) -> None:
        self._text, self._events = text, events
        self._anchors: dict[str, Content] = {}

    def node(self, event: Any) -> Node:
        start, end = _span(event)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise YamlEditError(f"there is no anchor &{event.anchor} before *{event.anchor}")
            return Alias(start, end, event.anchor, self._anchors[event.anchor])
        if isinstance(event, yaml.ScalarEvent):
            return self._remember(event, self._scalar(event, start, end))
        if isinstance(event, yaml.MappingStartEvent):
            mapping = Mapping(start, end, bool(event.flow_style))
            self._remember(event, mapping)
            for inner in self._events:
                if _is(inner, yaml.MappingEndEvent):
                    mapping.end = _span(inner)[1]
                    return mapping
                key = self.node(inner)
                mapping.pairs.append((key, self.node(next(self._events))))
        sequence = Sequence(start, end, bool(event.flow_style))
        self._remember(event, sequence)
        for inner in self._events:
            if _is(inner, yaml.SequenceEndEvent):
                sequence.end = _span(inner)[1]
                break
            sequence.items.append(self.node(inner))
        return sequence

    def _remember(self, event: Any, node: Content) -> Content:
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _scalar(self, event: Any, start: int, end: int) -> Scalar:
        if event.anchor or event.tag:
            found = _PROPERTIES.match(self._text, start, end)
            start = found.end() if found else start
        style = event.style or ""
        if event.tag:
            kind = str(event.tag).removeprefix(_TAG)
        elif style or not event.implicit[0]:
            kind = "str"
        else:
            kind = kind_of(event.value)
        return Scalar(start, end, style, event.value, kind, event.anchor or "")


def _is(event: Any, kind: type[yaml.Event]) -> bool:
    return isinstance(event, kind)


def _span(event: Any) -> tuple[int, int]:
    return int(event.start_mark.index), int(event.end_mark.index)


def _syntax(error: yaml.YAMLError) -> str:
    mark: Any = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = " ".join(part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part)
    where = f"line {mark.line + 1}: " if mark is not None else ""
    return f"{where}it is no YAML: {said or error}"
