# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which fields of an object a manager owns, as the API server keeps it in managedFields. Pure.

The server's own bookkeeping tells whether applying a manifest again would change anything: nothing does if the manager
owns exactly the fields of the manifest, and each has the manifest's value. A field that somebody else has changed is
not owned any more. Where this cannot be said for certain (a quantity written in another way, a list known by position)
the answer is no, and the server has to be asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, listed, mapping, text

Fields = Mapping[str, Any]

_SELF = "."


def owned(item: Object, manager: str) -> tuple[str, Fields] | None:
    """Return the apiVersion and the fields that `manager` has applied, or None where it never has."""
    for entry in listed(item, "metadata", "managedFields"):
        if entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource"):
            return text(entry, "apiVersion"), mapping(entry, "fieldsV1")
    return None


def unchanged(manifest: Object, live: Object, manager: str) -> bool:
    """Say whether applying `manifest` to `live` would surely change nothing."""
    found = owned(live, manager)
    if found is None or found[0] != manifest.get("apiVersion"):
        return False
    return _same(_body(manifest), live, found[1])


def project(item: Object, fields: Fields) -> dict[str, Any]:
    """Return only what `fields` name of an object."""
    found = _project(item, fields)
    return found if isinstance(found, dict) else {}


def union(one: Fields, other: Fields) -> dict[str, Any]:
    """Return the fields of both; a field that one owns as a whole is owned as a whole."""
    merged: dict[str, Any] = {}
    for key in {**one, **other}:
        if key in one and key in other:
            merged[key] = union(one[key], other[key]) if one[key] and other[key] else {}
        else:
            merged[key] = one.get(key, other.get(key))
    return merged


def _body(manifest: Object) -> dict[str, Any]:
    """Return a manifest without what names it and without its status: nobody owns these."""
    body = {key: value for key, value in manifest.items() if key not in ("apiVersion", "kind", "metadata", "status")}
    metadata = {
        key: value
        for key, value in mapping(manifest, "metadata").items()
        if key not in ("name", "namespace") and not (key == "creationTimestamp" and value is None)
    }
    return {**body, "metadata": metadata} if metadata else body


def _same(wanted: Any, live: Any, fields: Fields) -> bool:
    keys = [key for key in fields if key != _SELF]
    if not fields:
        return bool(wanted == live and isinstance(wanted, bool) == isinstance(live, bool))
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        return {f"f:{key}" for key in wanted} == set(keys) and all(
            key in live and _same(value, live[key], fields[f"f:{key}"]) for key, value in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(live, list) and len(keys) == len(wanted):
        return all(_same_item(wanted, live, key, fields[key]) for key in keys)
    return False


def _same_item(wanted: list[Any], live: list[Any], key: str, fields: Fields) -> bool:
    kind, _unused, value = key.partition(":")
    if kind == "v":
        return json.loads(value) in wanted and json.loads(value) in live
    if kind != "k":
        return False
    names = json.loads(value)
    ours, theirs = ([i for i in items if _is(i, names)] for items in (wanted, live))
    return len(ours) == 1 and len(theirs) == 1 and _same(ours[0], theirs[0], fields)


def _is(item: Any, names: Mapping[str, Any]) -> bool:
    """Say whether a list's item has these keys; one that a manifest leaves out is the server's default."""
    return isinstance(item, Mapping) and all(item.get(key, value) == value for key, value in names.items())


def _project(item: Any, fields: Fields) -> Any:
    if not any(key != _SELF for key in fields):
        return item
    if isinstance(item, Mapping):
        return {
            key: _project(value, fields[f"f:{key}"])
            for key, value in item.items()
            if fields.get(f"f:{key}") is not None
        }
    if isinstance(item, list):
        return [found for one in item for found in _project_item(one, fields)]
    return item


def _project_item(item: Any, fields: Fields) -> list[Any]:
    for key, below in fields.items():
        kind, _unused, value = key.partition(":")
        if kind == "v" and json.loads(value) == item:
            return [item]
        if kind == "k" and isinstance(item, Mapping) and _is(item, json.loads(value)):
            return [_project(item, below)]
    return []
