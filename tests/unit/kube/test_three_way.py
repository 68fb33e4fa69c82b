# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three-way merge: ours is set, what we no longer say goes, what is others' stays."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import three_way
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.sampled_from("abcd")
VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(0, 2), st.sampled_from(["x", "y"]), st.lists(st.integers(0, 2), max_size=2)),
    lambda below: st.dictionaries(NAMES, below, max_size=3),
    max_leaves=8,
)
SPECS = st.dictionaries(NAMES, VALUES, max_size=4)


def thing(spec: Any, **annotations: str) -> dict[str, Any]:
    metadata = {"name": "n", **({"annotations": annotations} if annotations else {})}
    return {"apiVersion": "x/v1", "kind": "Thing", "metadata": metadata, "spec": spec}


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386, section 2, as it is written there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def covers(live: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(key in live and covers(live[key], wanted[key]) for key in wanted)
    return bool(live == wanted and isinstance(live, bool) == isinstance(wanted, bool))


@given(SPECS, SPECS, SPECS)
def test_ours_is_set_and_a_second_time_nothing_is_to_do(first: Any, second: Any, others: Any) -> None:
    live = merged(three_way.annotated(thing(first)), {"spec": others})
    after = merged(live, three_way.patch(thing(second), live))
    assert covers(after["spec"], second)
    assert three_way.patch(thing(second), after) == {}


@given(SPECS, SPECS)
def test_what_is_no_longer_said_goes(first: Any, second: Any) -> None:
    live = three_way.annotated(thing(first))
    assert merged(live, three_way.patch(thing(second), live))["spec"].keys() <= second.keys()


def test_what_others_have_set_stays() -> None:
    live = three_way.annotated(thing({"a": {"ours": 1, "gone": 2}}))
    live["spec"]["a"]["theirs"] = 3
    live["metadata"]["annotations"]["theirs"] = "x"
    live["status"] = {"phase": "Ready"}
    patch = three_way.patch(thing({"a": {"ours": 1}}), live)
    after = merged(live, patch)
    assert after["spec"] == {"a": {"ours": 1, "theirs": 3}}
    assert after["metadata"]["annotations"]["theirs"] == "x"
    assert after["status"] == {"phase": "Ready"}


def test_a_null_says_nothing() -> None:
    manifest = thing({"a": None, "b": {"c": None, "d": 1}})
    live = merged({}, three_way.annotated(thing({"a": 1, "b": {"d": 1}})))
    assert merged(live, three_way.patch(manifest, live))["spec"] == {"b": {"d": 1}}
    assert three_way.patch(thing({"z": {"y": None}}), thing({}))["spec"] == {"z": {}}


@pytest.mark.parametrize("left", ["", "{", "[]", "null"])
def test_an_annotation_that_cannot_be_read_removes_nothing(left: str) -> None:
    live = thing({"theirs": 1}, **{three_way.ANNOTATION: left})
    after = merged(copy.deepcopy(live), three_way.patch(thing({"ours": 1}), live))
    assert after["spec"] == {"theirs": 1, "ours": 1}


def test_what_was_applied_last_does_not_carry_itself() -> None:
    once = three_way.annotated(thing({"a": 1}))
    assert three_way.annotated(once) == once
    assert three_way.last_applied(once) == thing({"a": 1})
