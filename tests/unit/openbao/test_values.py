# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.values import emptied, same, seconds
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "number"),
    [("20m", 1200), ("1h30m", 5400), ("2d", 172800), ("1200", 1200), (1200, 1200), ("", 0), ("0", 0), ("0s", 0)],
)
def test_times(text: object, number: int) -> None:
    assert seconds(text) == number


@pytest.mark.parametrize("text", ["20 m", "m", "1x", "-5s", -5, True, "1h-", "h1", "1h 30m"])
def test_what_is_no_time(text: object) -> None:
    assert seconds(text) is None


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("20m", 1200),
        (1200, "1200"),
        ("0", "0s"),
        (["b", "a"], ["a", "b"]),
        ("b, a", ["a", "b"]),
        ([], None),
        ("", None),
        (None, []),
        ("-----BEGIN-----\nx,y\n", "-----BEGIN-----\nx,y"),
        ("true", True),
        (0, False),
        ({"team": ["b", "a"]}, {"team": ["a", "b"]}),
        ({}, None),
    ],
)
def test_another_spelling_is_the_same(wanted: object, found: object) -> None:
    assert same(wanted, found)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("20m", 1201),
        (["a"], ["a", "b"]),
        ("a", "b"),
        ("a", None),
        (True, False),
        (True, None),
        ({"a": 1}, {}),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, "a"),
        ("later", 5),
    ],
)
def test_what_differs(wanted: object, found: object) -> None:
    assert not same(wanted, found)


@given(
    st.recursive(
        st.text() | st.integers(0) | st.booleans(),
        lambda inner: st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
def test_everything_is_the_same_as_itself(value: object) -> None:
    assert same(value, value)


@given(st.lists(st.text("abc", min_size=1), min_size=1))
def test_the_order_of_a_list_is_nothing(names: list[str]) -> None:
    assert same(sorted(names), sorted(names, reverse=True))
    assert same(",".join(names), names)
    assert not same([*names, "d"], names)


@pytest.mark.parametrize("value", [5, "text", ["a"], True, {"a": 1}])
def test_what_resets_a_setting_is_of_its_type_and_empty(value: object) -> None:
    assert not emptied(value)
    assert type(emptied(value)) is type(value)
