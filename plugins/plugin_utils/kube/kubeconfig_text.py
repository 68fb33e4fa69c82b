# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Edit single entries of a kubeconfig text; every other byte stays.

Understands block style as kubectl writes it, flow style and JSON. A text that no one could edit safely (two documents,
a name twice, a list that is none) is refused with its line.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeconfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

SECTIONS = ("clusters", "contexts", "users")
_SKELETON = (
    'apiVersion: v1\nclusters: []\ncontexts: []\ncurrent-context: ""\nkind: Config\npreferences: {}\nusers: []\n'
)
_ADVICE = (
    "It was left as it is. Repair that line, or restore the file from a backup; "
    "`kubectl config view --kubeconfig FILE` checks it."
)


@dataclass(frozen=True)
class Document:
    """A kubeconfig that has been checked: its text, the node tree with positions, and the plain data."""

    text: str
    root: yaml.nodes.MappingNode | None
    data: dict[str, Any]

    @property
    def mapping(self) -> yaml.nodes.MappingNode:
        """The root of a document that is not empty."""
        if self.root is None:
            raise ValueError("an empty document has no root")
        return self.root

    @property
    def has_comments(self) -> bool:
        """Say whether the text holds a comment (a line of its own, or behind a value)."""
        return any(line.lstrip().startswith("#") or " #" in line for line in self.text.splitlines())


def load(text: str, where: str) -> Document:
    """Parse and check `text`; raise KubeconfigError naming the line of `where` that is damaged.

    An empty text, or one of comments only, gives a document without a root and without data.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None or (isinstance(root, yaml.nodes.ScalarNode) and root.tag == "tag:yaml.org,2002:null"):
            return Document(text, None, {})
        if not isinstance(root, yaml.nodes.MappingNode):
            raise _damaged(where, root, f"wanted a mapping at the top, found {_kind(root)}")
        data = yaml.SafeLoader("").construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise KubeconfigError(f"{where}{line}: not valid YAML: {error.problem or error.context}. {_ADVICE}") from error
    except yaml.reader.ReaderError as error:
        number = text.count("\n", 0, error.position) + 1
        raise KubeconfigError(
            f"{where}:{number}: not valid YAML: {error.reason} (U+{error.character:04X}). {_ADVICE}"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise KubeconfigError(f"{where}: not valid YAML: {error}. {_ADVICE}") from error
    _check(root, where)
    return Document(text, root, data)


def put(text: str, where: str, section: str, entry: dict[str, Any]) -> str:
    """Return `text` with `entry` (it has a `name`) in `section`: in place of the first of that name, else appended.

    More entries of the same name are removed.
    """
    document = _editable(text, where)
    nodes = _items(document, section)
    same = [index for index, node in enumerate(nodes) if _name_of(node) == entry["name"]]
    for index in reversed(same[1:]):
        document = load(_cut(document, section, index), where)
    if same:
        return _replace(document, section, same[0], entry)
    return _append(document, section, entry)


def remove(text: str, where: str, section: str, name: str) -> str:
    """Return `text` without the entries called `name` in `section`."""
    document = _editable(text, where)
    for index in reversed([i for i, node in enumerate(_items(document, section)) if _name_of(node) == name]):
        document = load(_cut(document, section, index), where)
    return document.text


def put_current_context(text: str, where: str, name: str) -> str:
    """Return `text` with `current-context` set to `name`; an empty name leaves kubectl's form of none."""
    document = _editable(text, where)
    value = json.dumps(name, ensure_ascii=False) if not name or document.mapping.flow_style else _scalar(name)
    pair = _pair(document.mapping, "current-context")
    if pair is None:
        return _add_key(
            document, f'"current-context": {value}' if document.mapping.flow_style else f"current-context: {value}"
        )
    key, node = pair
    if isinstance(node, yaml.nodes.ScalarNode) and node.start_mark.index == node.end_mark.index:
        colon = document.text.index(":", key.end_mark.index) + 1
        return f"{document.text[:colon]} {value}{document.text[colon:]}"
    return document.text[: node.start_mark.index] + value + document.text[_end(document.text, node) :]


def _editable(text: str, where: str) -> Document:
    """Return the document with a non-empty root mapping, and refuse what cannot be edited in place."""
    document = load(text, where)
    if document.root is None or not document.root.value:
        empty = yaml.compose(text, Loader=yaml.SafeLoader)
        head, tail = (text, "") if empty is None else (text[: empty.start_mark.index], text[empty.end_mark.index :])
        head += "" if not head or head.endswith("\n") else "\n"
        document = load(head + _SKELETON + tail.lstrip(), where)
    for token in yaml.scan(document.text, Loader=yaml.SafeLoader):
        if isinstance(token, yaml.tokens.AliasToken):
            raise KubeconfigError(
                f"{where}:{token.start_mark.line + 1}: the alias *{token.value} ties entries together, so that one "
                "cannot be edited alone. Nothing was changed. Write the value out, or let kubectl do it: "
                "`kubectl config view --raw`."
            )
    return document


def _check(root: yaml.nodes.MappingNode, where: str) -> None:
    """Raise KubeconfigError for the first thing kubectl would refuse, or that would make an edit ambiguous."""
    seen: set[str] = set()
    for key, value in root.value:
        if not isinstance(key, yaml.nodes.ScalarNode):
            raise _damaged(where, key, "a key at the top is not a word")
        if key.value in seen:
            raise _damaged(where, key, f"the key {key.value!r} appears twice")
        seen.add(key.value)
        if key.value == "kind" and getattr(value, "value", None) not in ("Config", ""):
            raise _damaged(
                where, value, f"kind is {getattr(value, 'value', None)!r}: this is not a kubeconfig (kind: Config)"
            )
        if key.value == "current-context" and not isinstance(value, yaml.nodes.ScalarNode):
            raise _damaged(where, value, f"current-context must be a name, found {_kind(value)}")
        if key.value in SECTIONS:
            _check_section(key.value, value, where)


def _check_section(section: str, value: yaml.nodes.Node, where: str) -> None:
    if isinstance(value, yaml.nodes.ScalarNode) and value.tag == "tag:yaml.org,2002:null":
        return
    if not isinstance(value, yaml.nodes.SequenceNode):
        raise _damaged(where, value, f"{section!r} must be a list, found {_kind(value)}")
    for item in value.value:
        if not isinstance(item, yaml.nodes.MappingNode):
            raise _damaged(where, item, f"an entry of {section!r} must be a mapping with a name, found {_kind(item)}")
        name = _pair(item, "name")
        if name is None:
            raise _damaged(where, item, f"an entry of {section!r} has no name")
        if name[1].tag != "tag:yaml.org,2002:str" or not name[1].value:
            raise _damaged(where, name[1], f"the name of an entry of {section!r} must be text; put it in quotes")


def _damaged(where: str, node: yaml.nodes.Node, problem: str) -> KubeconfigError:
    return KubeconfigError(f"{where}:{node.start_mark.line + 1}:{node.start_mark.column + 1}: {problem}. {_ADVICE}")


def _kind(node: yaml.nodes.Node) -> str:
    if isinstance(node, yaml.nodes.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.nodes.SequenceNode):
        return "a list"
    return f"the text {node.value[:40]!r}"


def _pair(mapping: yaml.nodes.MappingNode, key: str) -> tuple[yaml.nodes.Node, yaml.nodes.Node] | None:
    for key_node, value_node in mapping.value:
        if key_node.value == key:
            return key_node, value_node
    return None


def _section(document: Document, section: str) -> tuple[yaml.nodes.Node, yaml.nodes.SequenceNode]:
    """Return the key and the list of a section that is known to be there."""
    return next((key, value) for key, value in document.mapping.value if key.value == section)


def _name_of(item: yaml.nodes.Node) -> str:
    return next(str(value.value) for key, value in item.value if key.value == "name")


def _items(document: Document, section: str) -> list[yaml.nodes.Node]:
    pair = _pair(document.root, section) if document.root is not None else None
    if pair is None or not isinstance(pair[1], yaml.nodes.SequenceNode):
        return []
    return list(pair[1].value)


def _end(text: str, node: yaml.nodes.Node) -> int:
    """Return the index behind the last character that belongs to `node`, without comments and blank lines after it."""
    if isinstance(node, yaml.nodes.ScalarNode):
        if node.style in ("|", ">"):
            return len(text[: node.end_mark.index].rstrip())
        return int(node.end_mark.index)
    if not isinstance(node, yaml.nodes.CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(text, last[1] if isinstance(last, tuple) else last)


def _next_line(text: str, index: int) -> int:
    """Return the index of the first character of the line after the one that holds `index`."""
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1


def _dashes(text: str, sequence: yaml.nodes.SequenceNode) -> Iterator[int]:
    """Yield, for each item of a block sequence, the index where the line with its dash begins."""
    starts = [
        token.start_mark.index
        for token in yaml.scan(text, Loader=yaml.SafeLoader)
        if isinstance(token, yaml.tokens.BlockEntryToken) and token.start_mark.column == sequence.start_mark.column
    ]
    for item in sequence.value:
        dash = max(start for start in starts if start <= item.start_mark.index)
        yield text.rfind("\n", 0, dash) + 1


def _block(entry: dict[str, Any], indent: int) -> str:
    """Render `entry` as an item of a block sequence, in kubectl's order of keys."""
    lines = yaml.safe_dump([entry], default_flow_style=False, sort_keys=True, width=10**9, allow_unicode=True)
    return "".join(f"{' ' * indent}{line}" for line in lines.splitlines(keepends=True))


def _scalar(value: str) -> str:
    return yaml.safe_dump(value, width=10**9, allow_unicode=True).removesuffix("...\n").rstrip("\n")


def _replace(document: Document, section: str, index: int, entry: dict[str, Any]) -> str:
    start, end, sequence = _span(document, section, index)
    new = (
        json.dumps(entry, default=str, ensure_ascii=False)
        if sequence.flow_style
        else _block(entry, sequence.start_mark.column)
    )
    return document.text[:start] + new + document.text[end:]


def _span(document: Document, section: str, index: int) -> tuple[int, int, yaml.nodes.SequenceNode]:
    """Return where item `index` stands: whole lines in block style, the bare value in flow style."""
    _key, sequence = _section(document, section)
    item = sequence.value[index]
    if sequence.flow_style:
        return item.start_mark.index, _end(document.text, item), sequence
    return list(_dashes(document.text, sequence))[index], _next_line(document.text, _end(document.text, item)), sequence


def _cut(document: Document, section: str, index: int) -> str:
    text = document.text
    start, end, sequence = _span(document, section, index)
    if sequence.flow_style:
        if index + 1 < len(sequence.value):
            end = sequence.value[index + 1].start_mark.index
        elif index > 0:
            start = _end(text, sequence.value[index - 1])
        return text[:start] + text[end:]
    if len(sequence.value) > 1:
        return text[:start] + text[end:]
    key, _sequence = _section(document, section)
    colon = text.index(":", key.end_mark.index) + 1
    return f"{text[:colon]} []{text[colon:start]}{text[end:]}"


def _append(document: Document, section: str, entry: dict[str, Any]) -> str:
    text = document.text
    root = document.mapping
    compact = json.dumps(entry, default=str, ensure_ascii=False)
    pair = _pair(root, section)
    if pair is None:
        indent = root.start_mark.column
        addition = (
            f'"{section}": [{compact}]' if root.flow_style else f"{section}:\n{_block(entry, indent)}".rstrip("\n")
        )
        return _add_key(document, addition)
    key, value = pair
    if isinstance(value, yaml.nodes.SequenceNode) and value.value:
        last = _end(text, value.value[-1])
        if value.flow_style:
            return f"{text[:last]}, {compact}{text[last:]}"
        return _insert_lines(text, _next_line(text, last), _block(entry, value.start_mark.column))
    if root.flow_style:
        return f"{text[: value.start_mark.index]}[{compact}]{text[value.end_mark.index :]}"
    colon = text.index(":", key.end_mark.index) + 1
    rest = text[max(colon, value.end_mark.index) :]
    return _insert_lines(
        text[:colon] + rest, _next_line(text[:colon] + rest, colon), _block(entry, key.start_mark.column)
    )


def _add_key(document: Document, addition: str) -> str:
    """Put a new key behind the last one of the root mapping."""
    text = document.text
    root = document.mapping
    last = _end(text, root.value[-1][1])
    if root.flow_style:
        return f"{text[:last]}, {addition}{text[last:]}"
    lines = f"{' ' * root.start_mark.column}{addition}\n"
    return _insert_lines(text, _next_line(text, last), lines)


def _insert_lines(text: str, at: int, lines: str) -> str:
    head = text[:at]
    return head + ("" if not head or head.endswith("\n") else "\n") + lines + text[at:]
