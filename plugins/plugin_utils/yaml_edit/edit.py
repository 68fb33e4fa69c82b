# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Edits of chosen scalars and of the comments behind them: each replaces a few characters of the text and no others.

After the edits the text is read again and must differ in exactly what was asked for, or nothing is returned.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit import nodes
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit.errors import YamlEditError

_BOM = b"\xef\xbb\xbf"
#: Plain scalars that need no second thought in any context: neither indicators nor what ends one in braces.
_PLAIN = re.compile(r"[A-Za-z0-9_./~^+$(<=\\](?:[A-Za-z0-9_./~^+$()<=>;\\@*!|&?-]|:(?=[A-Za-z0-9/_.-])| (?=[^ #]))*")
_BLOCK = re.compile(r"(?P<head>[|>][^\r\n]*\r?\n[ ]*)(?P<line>[^\r\n]*)(?P<rest>\s*)")
_COMMENT = re.compile(r"[ \t,\]}]*?(?:(?<=[ \t])|(?<=^))(#[^\r\n]*)")


@dataclass(frozen=True)
class Item:
    """A step of a path: that item of a list whose `key` is `value`."""

    key: str
    value: str

    def __str__(self) -> str:
        """As messages name it."""
        return f"[{self.key}={self.value}]"


Step = str | int | Item
Path = tuple[Step, ...]


@dataclass(frozen=True)
class SetValue:
    """Give the scalar at `path` of document number `document` the text `value`.

    Where its key is missing, it is added behind that of its siblings that is called `after` (the last one without it).
    """

    document: int
    path: Path
    value: str
    after: str = ""


@dataclass(frozen=True)
class RemoveKey:
    """Take a key with its scalar away; where a comment stands behind it, the scalar becomes empty text instead."""

    document: int
    path: Path


@dataclass(frozen=True)
class SetComment:
    """Give the comment behind the scalar at `path`, on the same line, another text; both begin with `#`."""

    document: int
    path: Path
    before: str
    after: str


Edit = SetValue | RemoveKey | SetComment


def written(path: Iterable[Step]) -> str:
    """Return a path as messages name it: ``images[name=podinfo].newTag``."""
    said = ""
    for step in path:
        said += f"[{step}]" if isinstance(step, int) else str(step) if isinstance(step, Item) else f".{step}"
    return said.removeprefix(".")


def apply(content: bytes, edits: Sequence[Edit]) -> bytes:
    """Return `content` with all edits made. Raises YamlEditError, and changes nothing outside of the edits' places."""
    bom, text = decode(content)
    roots = nodes.parse(text)
    wanted = [nodes.structure(root) for root in roots]
    splices: list[tuple[int, int, str]] = []
    for edit in edits:
        if not 0 <= edit.document < len(roots):
            raise YamlEditError(f"there is no document number {edit.document + 1}; the file has {len(roots)}")
        splices += _splice(text, roots[edit.document], wanted[edit.document], edit, edits)
    result = _spliced(text, splices)
    try:
        found = [nodes.structure(root) for root in nodes.parse(result)]
    except YamlEditError as error:
        raise YamlEditError(f"the edit would break the file ({error}), so it was not made. Edit it by hand") from error
    if found != wanted:
        raise YamlEditError(_side_effect(wanted, found))
    return (_BOM if bom else b"") + result.encode()


def comment(content: bytes, document: int, path: Path) -> str:
    """Return the comment behind the scalar at `path`, on the same line, or "". Raises YamlEditError."""
    text = decode(content)[1]
    root = nodes.parse(text)[document]
    start, end = _comment_range(text, root, find(root, path))
    return text[start:end]


def comment_place(text: str, edit: SetComment) -> tuple[int, int]:
    """Return where in the text the comment of an edit stands. Raises YamlEditError."""
    root = nodes.parse(text)[edit.document]
    return _comment_range(text, root, find(root, edit.path))


def decode(content: bytes) -> tuple[bool, str]:
    """Return whether a file begins with a byte order mark, and its text. Raises YamlEditError."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise YamlEditError(f"line {line}: it is not UTF-8") from error
    return text.startswith("\ufeff"), text.removeprefix("\ufeff")


def find(root: nodes.Node, path: Path) -> nodes.Node:
    """Return the node at `path`, as it is written (an alias is not resolved). Raises YamlEditError."""
    node: nodes.Node = root
    for number, step in enumerate(path):
        inner = _child(node, step)
        if inner is None:
            raise YamlEditError(f"there is no {written(path[: number + 1])}")
        node = inner
    return node


def _child(node: nodes.Node, step: Step) -> nodes.Node | None:
    resolved = nodes.resolve(node)
    if isinstance(step, str):
        return resolved.find(step) if isinstance(resolved, nodes.Mapping) else None
    if not isinstance(resolved, nodes.Sequence):
        return None
    if isinstance(step, int):
        return resolved.items[step] if 0 <= step < len(resolved.items) else None
    found = [item for item in resolved.items if _is(item, step)]
    if len(found) > 1:
        raise YamlEditError(f"{len(found)} items of the list have {step.key}: {step.value}. Remove all but one")
    return found[0] if found else None


def _is(item: nodes.Node, step: Item) -> bool:
    mapping = nodes.resolve(item)
    found = mapping.find(step.key) if isinstance(mapping, nodes.Mapping) else None
    own = None if found is None else nodes.resolve(found)
    return isinstance(own, nodes.Scalar) and own.value == step.value


# -- one edit ------------------------------------------------------------------------------------------------------------


def _splice(text: str, root: nodes.Node, wanted: Any, edit: Edit, edits: Sequence[Edit]) -> list[tuple[int, int, str]]:
    if isinstance(edit, SetComment):
        start, end = _comment_range(text, root, find(root, edit.path))
        if text[start:end] != edit.before:
            found = text[start:end] or "no comment"
            raise YamlEditError(f"behind {written(edit.path)} wanted the comment {edit.before}, found {found}")
        return [(start, end, edit.after)]
    holder = find(root, edit.path[:-1])
    key = edit.path[-1]
    parent = nodes.resolve(holder)
    node = _child(holder, key)
    if isinstance(edit, RemoveKey):
        return _remove(text, parent, node, _at(wanted, root, edit.path[:-1]), edit)
    if node is None:
        if not isinstance(parent, nodes.Mapping) or not isinstance(key, str):
            raise YamlEditError(f"there is no {written(edit.path)}")
        return _insert(text, parent, _at(wanted, root, edit.path[:-1]), edit, edits)
    return _replace(text, root, node, _at(wanted, root, edit.path), edit, edits)


def _replace(
    text: str, root: nodes.Node, node: nodes.Node, expected: Any, edit: SetValue, edits: Sequence[Edit]
) -> list[tuple[int, int, str]]:
    """Replace a scalar; where an alias' target gets the same text by another edit, the alias stays."""
    own = nodes.resolve(node)
    if not isinstance(own, nodes.Scalar):
        raise YamlEditError(f"{written(edit.path)} is no text but a list or mapping")
    token, kind = _token(text, own, edit.value) if node is own else _plain_or_quoted(edit.value)
    expected[:] = [kind, edit.value]
    if isinstance(node, nodes.Alias):
        others = (other for other in edits if isinstance(other, SetValue) and other is not edit)
        for other in others:
            if other.document == edit.document and other.value == edit.value:
                found = _reach(root, other.path)
                if found is own:
                    return []
        return [(node.start, node.end, token)]
    if own.start == own.end:
        token = token if text[own.start - 1 : own.start].isspace() else f" {token}"
    return [(own.start, own.end, token)]


def _reach(root: nodes.Node, path: Path) -> nodes.Node | None:
    try:
        return find(root, path)
    except YamlEditError:
        return None


def _token(text: str, old: nodes.Scalar, value: str) -> tuple[str, str]:
    """Return how `value` is written in the place of a scalar, in its style, and what it is then read as."""
    kind = old.kind if old.style or old.kind not in ("int", "float", "bool", "null", "timestamp") else "str"
    if old.style in ("|", ">"):
        return _block(text[old.start : old.end], value), kind
    if old.style == '"':
        return json.dumps(value, ensure_ascii=False), kind
    if old.style == "'" and "\n" not in value and value.isprintable():
        return "'" + value.replace("'", "''") + "'", kind
    if old.style == "" and value and old.kind not in ("str", "null") and nodes.kind_of(value) == old.kind:
        return value, old.kind
    token, plain_kind = _plain_or_quoted(value)
    return token, plain_kind if kind == "str" else kind


def _plain_or_quoted(value: str) -> tuple[str, str]:
    if _PLAIN.fullmatch(value) and nodes.kind_of(value) == "str" and not value.endswith((":", " ")):
        return value, "str"
    return json.dumps(value, ensure_ascii=False), "str"


def _block(old: str, value: str) -> str:
    found = _BLOCK.fullmatch(old)
    if found is None or "\n" in value or not value or value[0] == " ":
        raise YamlEditError("a block scalar (| or >) of several lines cannot be edited. Write it on one line")
    return found["head"] + value + found["rest"]


def _insert(
    text: str, mapping: nodes.Mapping, expected: Any, edit: SetValue, edits: Sequence[Edit]
) -> list[tuple[int, int, str]]:
    """Add a key behind a sibling that stays; several behind the same one come in the order of the edits."""
    key = str(edit.path[-1])
    names = [name.value if isinstance(name, nodes.Scalar) else "" for name, _value in mapping.pairs]
    if not names:
        raise YamlEditError(f"{written(edit.path[:-1])} is empty. Write its first key by hand")
    gone = {
        other.path[-1]
        for other in edits
        if isinstance(other, RemoveKey) and (other.document, other.path[:-1]) == (edit.document, edit.path[:-1])
    }
    stay = [number for number, one in enumerate(names) if one not in gone]
    before = [number for number in stay if edit.after in names and number <= names.index(edit.after)]
    if not stay:
        raise YamlEditError(f"{written(edit.path)}: all other keys of its mapping go. Write it by hand")
    number = (before or stay)[-1]
    name, sibling = mapping.pairs[number]
    token, kind = _plain_or_quoted(edit.value)
    place = _slot(expected, names[number]) + 1
    while place < len(expected[1]) and expected[1][place][0][1] not in names:
        place += 1
    expected[1].insert(place, [["str", key], [kind, edit.value]])
    if mapping.flow:
        return [(sibling.end, sibling.end, f", {key}: {token}")]
    if not isinstance(sibling, nodes.Scalar | nodes.Alias):
        raise YamlEditError(f"{written(edit.path)} is not there, and no place to add it. Write it by hand")
    column = name.start - (text.rfind("\n", 0, name.start) + 1)
    line = f"{' ' * column}{key}: {token}"
    newline = "\r\n" if "\r\n" in text else "\n"
    if sibling.end and text[sibling.end - 1] == "\n":  # behind a block scalar
        return [(sibling.end, sibling.end, line + newline)]
    end = _line_end(text, sibling.end)
    return [(end, end, newline + line)]


def _remove(
    text: str, mapping: nodes.Content, node: nodes.Node | None, expected: Any, edit: RemoveKey
) -> list[tuple[int, int, str]]:
    key = edit.path[-1]
    if not isinstance(mapping, nodes.Mapping) or not isinstance(node, nodes.Scalar | nodes.Alias):
        raise YamlEditError(f"there is no {written(edit.path)} to take away")
    number = next(i for i, (_key, item) in enumerate(mapping.pairs) if item is node)
    name = mapping.pairs[number][0]
    if len(mapping.pairs) == 1:
        raise YamlEditError(f"{written(edit.path)} is the only key of its mapping. Take that away by hand")
    if mapping.flow:
        del expected[1][_slot(expected, str(key))]
        if number:
            return [(mapping.pairs[number - 1][1].end, node.end, "")]
        return [(name.start, mapping.pairs[1][0].start, "")]
    begin = text.rfind("\n", 0, name.start) + 1
    end = _line_end(text, node.end)
    alone = not text[begin : name.start].strip(" ") and not text[node.end : end].strip(" \t")
    if alone and not (isinstance(node, nodes.Scalar) and (node.style in ("|", ">") or node.anchor)):
        del expected[1][_slot(expected, str(key))]
        after = _next_line(text, end)
        return [(begin, after, "")] if after > end else [(max(begin - _newline_before(text, begin), 0), end, "")]
    expected[1][_slot(expected, str(key))][1][:] = ["str", ""]
    return [(node.start, node.end, '""' if node.start < node.end else ' ""')]


# -- the text ------------------------------------------------------------------------------------------------------------


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    end = len(text) if end < 0 else end
    return end - 1 if end > position and text[end - 1] == "\r" else end


def _next_line(text: str, line_end: int) -> int:
    for newline in ("\r\n", "\n"):
        if text.startswith(newline, line_end):
            return line_end + len(newline)
    return line_end


def _newline_before(text: str, begin: int) -> int:
    return 2 if text[max(begin - 2, 0) : begin] == "\r\n" else 1


def _comment_range(text: str, root: nodes.Node, node: nodes.Node) -> tuple[int, int]:
    """Return where the comment on the line of a scalar's end begins and ends; an empty range without one."""
    end = _line_end(text, node.end)
    last = max((one.end for one in nodes.scalars(root) if node.start <= one.start and one.end <= end), default=node.end)
    found = _COMMENT.match(text, last, end)
    return (found.start(1), found.end(1)) if found else (end, end)


def _spliced(text: str, splices: list[tuple[int, int, str]]) -> str:
    parts: list[str] = []
    position = 0
    for start, end, new in sorted(splices, key=lambda splice: splice[:2]):
        if start < position:
            raise YamlEditError("two edits are of the same place")
        parts += [text[position:start], new]
        position = end
    return "".join([*parts, text[position:]])


# -- what must come out ----------------------------------------------------------------------------------------------------


def _at(structure: Any, root: nodes.Node, path: Path) -> Any:
    """Return the part of a document's structure that belongs to `path`, which is there."""
    node, part = root, structure
    for step in path:
        holder = nodes.resolve(node)
        inner = find(node, (step,))
        if isinstance(holder, nodes.Mapping):
            part = part[1][_slot(part, str(step))][1]
        elif isinstance(holder, nodes.Sequence):
            part = part[1][next(i for i, item in enumerate(holder.items) if item is inner)]
        node = inner
    return part


def _slot(structure: Any, key: str) -> int:
    """Return where a key stands in the structure of a mapping; other edits may have added and removed keys before it."""
    return next(number for number, (name, _value) in enumerate(structure[1]) if name[1] == key)


def _side_effect(wanted: Any, found: Any) -> str:
    where = _difference(wanted, found, "")
    return (
        f"the edit would change {where or 'something'} as well (an anchor that is used elsewhere?), so it was not made."
        " Write the value out in both places"
    )


def _difference(wanted: Any, found: Any, path: str) -> str:
    """Return the first place where two structures differ."""
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        if wanted[:1] == ["map"] == found[:1] and len(wanted[1]) == len(found[1]):
            for one, other in zip(wanted[1], found[1], strict=True):
                if one != other:
                    return _difference(one[1], other[1], f"{path}.{one[0][1]}")
        if wanted[:1] == ["list"] == found[:1] and len(wanted[1]) == len(found[1]):
            for number, (one, other) in enumerate(zip(wanted[1], found[1], strict=True)):
                if one != other:
                    return _difference(one, other, f"{path}[{number}]")
        if not path and wanted and isinstance(wanted[0], list):
            return next((_difference(a, b, "") for a, b in zip(wanted, found, strict=True) if a != b), "")
    return path.removeprefix(".")
