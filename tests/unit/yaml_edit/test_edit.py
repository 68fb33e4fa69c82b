# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Only the bytes of the chosen scalars change, in YAML as people write it; or nothing does, and it is said why."""

from __future__ import annotations

import textwrap

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit import nodes
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit.edit import (
    Edit,
    Item,
    Path,
    RemoveKey,
    SetComment,
    SetValue,
    apply,
    comment,
    written,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit.errors import YamlEditError

TAG: Path = ("images", Item("name", "app"), "newTag")
DIGEST: Path = ("images", Item("name", "app"), "digest")


def edited(text: str, *edits: Edit) -> str:
    return apply(textwrap.dedent(text).encode(), edits).decode()


def lines_that_differ(before: str, after: str) -> list[str]:
    pairs = zip(textwrap.dedent(before).split("\n"), after.split("\n"), strict=True)
    return [new for old, new in pairs if old != new]


KUSTOMIZATION = """\
    # Kustomization of the team.   Renovate reads the hints.


    apiVersion: kustomize.config.k8s.io/v1beta1
    kind: Kustomization
    resources: [ ../base,
       extra.yaml ]   # joined lines
    images:
        -   name: zebra        # not sorted, and indented oddly
            newTag:   "1.0"    # {"$imagepolicy": "flux-system:zebra:tag"}
        - {name: redis, newTag: "7.0"} # renovate: datasource=docker
        -   newTag: 6.5.4      # {"$imagepolicy": "flux-system:app:tag"}
            name: app
    patches:
      - patch: |-
            newTag: 6.5.4
        target: { kind: Deployment }
    """


def test_only_the_line_of_the_tag_differs() -> None:
    after = edited(KUSTOMIZATION, SetValue(0, TAG, "6.6.0"))
    assert lines_that_differ(KUSTOMIZATION, after) == [
        '    -   newTag: 6.6.0      # {"$imagepolicy": "flux-system:app:tag"}'
    ]


def test_quotes_braces_and_spacing_stay() -> None:
    tag: Path = ("images", Item("name", "redis"), "newTag")
    after = edited(KUSTOMIZATION, SetValue(0, tag, "7.2"), SetValue(0, ("images", 0, "newTag"), "1.10"))
    assert lines_that_differ(KUSTOMIZATION, after) == [
        '        newTag:   "1.10"    # {"$imagepolicy": "flux-system:zebra:tag"}',
        '    - {name: redis, newTag: "7.2"} # renovate: datasource=docker',
    ]


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("v1.2.3", "v1.2.4", "v1.2.4"),
        ("v1.2.3", "1.10", '"1.10"'),
        ("v1.2.3", "12e4567", '"12e4567"'),
        ("v1.2.3", "0x1F", '"0x1F"'),
        ("v1.2.3", "0o17", '"0o17"'),
        ("v1.2.3", "2024-01-02", '"2024-01-02"'),
        ("v1.2.3", "null", '"null"'),
        ("v1.2.3", "on", '"on"'),
        ("v1.2.3", "~1.2", "~1.2"),
        ("v1.2.3", "^1.2", "^1.2"),
        ("v1.2.3", ">=1.0.0 <2.0.0", '">=1.0.0 <2.0.0"'),
        ("v1.2.3", "*", '"*"'),
        ("v1.2.3", "a # b", '"a # b"'),
        ("v1.2.3", "- x", '"- x"'),
        ("v1.2.3", "a: b", '"a: b"'),
        ("v1.2.3", "", '""'),
        ("v1.2.3", "sha256:" + "a" * 64, "sha256:" + "a" * 64),
        ("v1.2.3", 'say "hi"\n', '"say \\"hi\\"\\n"'),
        ("'v1'", "it's", "'it''s'"),
        ("'v1'", "1.0", "'1.0'"),
        ('"v1"', "v2", '"v2"'),
        ("1.0", "1.1", "1.1"),
        ("1.0", "1.1.0", "1.1.0"),
        ("5", "6", "6"),
        ("5", "6.1", '"6.1"'),
        ("&t v1", "v2", "&t v2"),
        ("!!str 1.0", "1.1", '!!str "1.1"'),
        ("&t   !!str   v1", "v2", "&t   !!str   v2"),
        ("~", "v2", "v2"),
        ("|-\n        v1", "v2", "|-\n        v2"),
        (">-   # folded\n        v1\n", "v2", ">-   # folded\n        v2\n"),
    ],
)
def test_the_style_stays_and_text_stays_text(before: str, value: str, after: str) -> None:
    text = f"spec:\n    ref:\n      tag: {before}\nx: 1 # c\n"
    found = apply(text.encode(), [SetValue(0, ("spec", "ref", "tag"), value)]).decode()
    assert found == f"spec:\n    ref:\n      tag: {after}\nx: 1 # c\n"


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ["", "\n", "\n\n# the end"])
def test_line_ends_byte_order_mark_and_letters_stay(newline: str, end: str) -> None:
    text = f"\ufeff# für 🚀 ü\na: 'ä🚀' # ß\nimages:\n- name: app\n  newTag: v1{end}".replace("\n", newline)
    found = apply(text.encode(), [SetValue(0, TAG, "v2"), SetValue(0, DIGEST, "sha256:0", after="newTag")])
    assert found.decode() == text.replace("newTag: v1", f"newTag: v2{newline}  digest: sha256:0")
    back = apply(found, [SetValue(0, TAG, "v1"), RemoveKey(0, DIGEST)])
    assert back == text.encode()


def test_documents_are_told_apart() -> None:
    text = "%YAML 1.1\n---\na: 1\n...\n---\n# only words\n---\na: x # c\n--- {a: z}\n"
    assert len(nodes.parse(text)) == 4
    found = apply(text.encode(), [SetValue(2, ("a",), "y"), SetValue(3, ("a",), "zz")]).decode()
    assert found == text.replace("a: x", "a: y").replace("a: z", "a: zz")


def test_keys_are_added_and_taken_away_again() -> None:
    for text, changed in (
        ("images:\n- name: app # c\n  newTag: v1 # d\n", "images:\n- name: app # c\n  newTag: v1 # d\n  digest: x\n"),
        ("images: [{name: app, newTag: v1}]", "images: [{name: app, newTag: v1, digest: x}]"),
        ("images:\n  - newTag: v1\n    name: app", "images:\n  - newTag: v1\n    digest: x\n    name: app"),
        ("images:\n- newTag: |-\n   v1\n  name: app\n", "images:\n- newTag: |-\n   v1\n  digest: x\n  name: app\n"),
    ):
        after = apply(text.encode(), [SetValue(0, DIGEST, "x", after="newTag")]).decode()
        assert after == changed
        assert apply(after.encode(), [RemoveKey(0, DIGEST)]).decode() == text


def test_what_stands_beside_a_comment_becomes_empty() -> None:
    text = "images:\n- digest: sha256:0\n  name: app\n- name: b\n  digest: sha256:1 # keep me\n"
    after = apply(text.encode(), [RemoveKey(0, DIGEST), RemoveKey(0, ("images", 1, "digest"))]).decode()
    assert after == 'images:\n- digest: ""\n  name: app\n- name: b\n  digest: "" # keep me\n'


def test_an_empty_value_is_filled() -> None:
    assert edited("a:\nb: {c: , d: }\n", SetValue(0, ("a",), "v1"), SetValue(0, ("b", "d"), "v2")) == (
        "a: v1\nb: {c: , d: v2}\n"
    )


def test_an_alias_is_written_out() -> None:
    text = "base: &t v1\nimages:\n- name: app\n  newTag: *t # c\n"
    assert edited(text, SetValue(0, TAG, "v2")) == text.replace("*t", "v2")


def test_an_anchor_that_is_used_elsewhere_is_not_touched() -> None:
    text = "images:\n- name: app\n  newTag: &t v1\nother: {tag: *t}\n"
    with pytest.raises(YamlEditError, match=r"would change other\.tag as well"):
        edited(text, SetValue(0, TAG, "v2"))
    both = edited(text, SetValue(0, TAG, "v2"), SetValue(0, ("other", "tag"), "v2"))
    assert both == text.replace("v1", "v2")


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("a: [", ("a",), r"line 2: it is no YAML"),
        ("a: *b", ("a",), "there is no anchor &b|undefined alias"),
        ("a: {b: 1}", ("a",), "a is no text but a list or mapping"),
        ("a: 1", ("b", "c"), "there is no b"),
        ("a: []", ("a", Item("name", "x"), "newTag"), r"there is no a\[name=x\]"),
        ("a: [{name: x}, {name: x}]", ("a", Item("name", "x"), "newTag"), "2 items of the list have name: x"),
        ("a: 1\na: 2", ("a",), "the key a is there twice"),
        ("a: |\n  one\n  two\n", ("a",), "block scalar"),
        ("a: {}", ("a", "b"), "a is empty"),
    ],
)
def test_what_cannot_be_edited_is_refused(text: str, path: Path, said: str) -> None:
    with pytest.raises(YamlEditError, match=said):
        apply(text.encode(), [SetValue(0, path, "v2")])


def test_no_document_no_edit() -> None:
    with pytest.raises(YamlEditError, match="no document number 2; the file has 1"):
        edited("a: 1", SetValue(1, ("a",), "2"))
    with pytest.raises(YamlEditError, match="line 2: it is not UTF-8"):
        apply(b"a: 1\nb: \xff", [])
    with pytest.raises(YamlEditError, match="only key"):
        edited("a: {b: c}", RemoveKey(0, ("a", "b")))
    with pytest.raises(YamlEditError, match=r"no a\.c to take away"):
        edited("a: {b: c}", RemoveKey(0, ("a", "c")))
    with pytest.raises(YamlEditError, match="two edits are of the same place"):
        edited("a: b", SetValue(0, ("a",), "c"), SetValue(0, ("a",), "c"))


def test_comments_are_read_and_replaced() -> None:
    marker = '# {"$imagepolicy": "flux-system:app:tag"}'
    text = textwrap.dedent(KUSTOMIZATION).encode()
    assert comment(text, 0, TAG) == marker
    assert comment(text, 0, ("images", Item("name", "redis"), "newTag")) == "# renovate: datasource=docker"
    assert comment(b"a: 'x # y'\n", 0, ("a",)) == ""
    held = apply(text, [SetComment(0, TAG, marker, "# gitops-held flux-system:app:tag")])
    assert held == text.replace(marker.encode(), b"# gitops-held flux-system:app:tag")
    with pytest.raises(YamlEditError, match=r"wanted the comment # no, found # \{"):
        apply(text, [SetComment(0, TAG, "# no", "# yes")])


def test_aliases_cannot_multiply_without_an_end() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
    with pytest.raises(YamlEditError, match="multiply"):
        apply(text.encode(), [])


def test_paths_are_named_as_people_do() -> None:
    assert written(TAG) == "images[name=app].newTag"
    assert written(("spec", "inputs", 0, "tag")) == "spec.inputs[0].tag"
