# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Properties of edits, on files put together at random from what people write."""

from __future__ import annotations

import json

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.selectors import IMAGE_FIELDS, Occurrence
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit import nodes
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit.edit import (
    Item,
    RemoveKey,
    SetValue,
    apply,
    find,
)
from hypothesis import given, settings
from hypothesis import strategies as st

VERSIONS = st.one_of(
    st.from_regex(r"[a-z0-9.~^+_-]{1,12}", fullmatch=True),
    st.sampled_from(
        ["1.10", "1e3", "12e4567", "0x1f", "yes", "null", ">=1 <2", "a: b", "#x", "", "'", '"', "ü 🚀", "- a"]
    ),
    st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=8),
)
COMMENTS = st.sampled_from(
    ["", " # renovate: x", ' # {"$imagepolicy": "a:b:tag"}', "   #", "\t# ü 🚀 'quoted\" {[", "  "]
)
STYLES = ("plain", "single", "double", "anchor", "tag", "block")


def written(value: str, style: str, number: int, indent: str) -> str:
    if style == "single" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    if style == "anchor" and value.isalnum():
        return f"&a{number} {value}"
    if style == "tag" and value.isalnum():
        return f"!!str {value}"
    if style == "block" and value.isalnum():
        return f"|-\n{indent}    {value}"
    if style == "plain" and value.isalnum():
        return value
    return yaml.safe_dump(value, default_style='"', allow_unicode=True, width=1000).strip()


@st.composite
def files(draw: st.DrawFn) -> tuple[str, int]:
    """A file with some images, and how many."""
    count = draw(st.integers(1, 5))
    pad = " " * draw(st.integers(0, 3))
    lines = [draw(st.sampled_from(["# head", "---", "apiVersion: x", ""])), "images:" + draw(COMMENTS)]
    for number in range(count):
        dash = f"{pad}-{' ' * draw(st.integers(1, 3))}"
        indent = " " * len(dash)
        version, style = draw(VERSIONS), draw(st.sampled_from(STYLES))
        if draw(st.booleans()):
            text = written(version, "single", number, indent)
            lines.append(f"{dash}{{name: i{number}, newTag: {text}}}{draw(COMMENTS)}")
        else:
            tag = written(version, style, number, indent)
            comment = "" if "\n" in tag else draw(COMMENTS)
            keys = [f"name: i{number}{draw(COMMENTS)}", f"newTag: {tag}{comment}"]
            if draw(st.booleans()):
                keys.reverse()
            lines += [
                dash + keys[0],
                *([draw(st.sampled_from(["", "# between"]))] if draw(st.booleans()) else []),
                indent + keys[1],
            ]
    lines += draw(st.sampled_from([[], [""], ["# tail"], ["patches: []", ""]]))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    return newline.join("\n".join(lines).split("\n")), count


def values(text: str) -> list[str]:
    root = nodes.parse(text)[0]
    assert isinstance(root, nodes.Mapping)
    return [item["newTag"] for item in nodes.value(root)["images"]]


@settings(max_examples=300, deadline=None)
@given(files(), st.data())
def test_an_edit_changes_the_bytes_of_its_scalar_and_no_others(file: tuple[str, int], data: st.DataObject) -> None:
    text, count = file
    number, value = data.draw(st.integers(0, count - 1)), data.draw(VERSIONS)
    path = ("images", Item("name", f"i{number}"), "newTag")
    node = find(nodes.parse(text)[0], path)
    if isinstance(node, nodes.Scalar) and node.style == "|" and (not value or value[0] == " "):
        return
    after = apply(text.encode(), [SetValue(0, path, value)]).decode()
    assert after.startswith(text[: node.start])
    assert after.endswith(text[node.end :])
    expected = values(text)
    expected[number] = value
    assert values(after) == expected
    if isinstance(node, nodes.Scalar) and node.kind == "str":
        assert yaml.load(after, yaml.CSafeLoader)["images"][number]["newTag"] == value


@settings(max_examples=200, deadline=None)
@given(files(), st.data())
def test_there_and_back_is_where_it_was(file: tuple[str, int], data: st.DataObject) -> None:
    text, count = file
    number = data.draw(st.integers(0, count - 1))
    path = ("images", Item("name", f"i{number}"), "digest")
    there = apply(text.encode(), [SetValue(0, path, "sha256:" + "0" * 64, after="newTag")])
    assert apply(there, [RemoveKey(0, path)]) == text.encode()
    again = apply(there, [SetValue(0, path, "sha256:" + "1" * 64)])
    assert len(again) == len(there)


FIELD_SETS = st.dictionaries(st.sampled_from(IMAGE_FIELDS), st.sampled_from(["a.b/c", "1.0", "sha256:0"]), min_size=1)


@settings(max_examples=300, deadline=None)
@given(FIELD_SETS, FIELD_SETS, st.permutations(IMAGE_FIELDS), st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_any_fields_of_an_image_become_any_others(
    old: dict[str, str], new: dict[str, str], order: list[str], flow: bool, newline: str
) -> None:
    pairs = ["name: x", *(f"{key}: {json.dumps(old[key])}" for key in order if key in old)]
    entry = (
        [f"  - {{{', '.join(pairs)}}} # kept"] if flow else [f"  - {pairs[0]}", *(f"    {one}" for one in pairs[1:])]
    )
    text = newline.join(["images:", "  - {name: w, newTag: '1'}", *entry, "  - name: y", "    newTag: '2' # other", ""])
    one = Occurrence(
        "images[x]", "x", "image", "k", 0, ("images", Item("name", "x")), IMAGE_FIELDS,
        tuple((key, old[key]) for key in IMAGE_FIELDS if key in old),
    )  # fmt: skip
    edits = one.edits(tuple((key, new[key]) for key in IMAGE_FIELDS if key in new))
    after = apply(text.encode(), edits).decode() if edits else text
    images = yaml.load(after, yaml.CSafeLoader)["images"]
    assert images[1] == {"name": "x", **new}
    assert [images[0], images[2]] == [{"name": "w", "newTag": "1"}, {"name": "y", "newTag": "2"}]
    outside = [line for line in text.split(newline) if "x" not in line and not line.startswith("    ")]
    assert [line for line in after.split(newline) if line in outside] == outside
    assert ("# kept" in after) == flow
