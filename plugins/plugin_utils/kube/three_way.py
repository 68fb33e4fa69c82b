# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three-way merge on the client, for the kinds whose API server takes no server-side apply. Pure.

What was applied last lies in an annotation of the object, as ``kubectl apply`` does it; it is one of our own, so that it
also says whose the object is. A patch (JSON merge patch, RFC 7386) sets what the
manifest says, removes what it said last and says no more, and leaves what others have set. Lists are one value each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, mapping, text

ANNOTATION = "stagecraft.gitops/last-applied-configuration"


def annotated(manifest: Object) -> dict[str, Any]:
    """Return a manifest that carries itself, as it is to be created."""
    bare = _bare(manifest)
    metadata = mapping(bare, "metadata")
    carried = json.dumps(bare, sort_keys=True, separators=(",", ":"))
    return {**bare, "metadata": {**metadata, "annotations": {**mapping(metadata, "annotations"), ANNOTATION: carried}}}


def last_applied(live: Object) -> Mapping[str, Any]:
    """Return the manifest that was applied last; an empty one where nobody applied, or left something unreadable."""
    try:
        found = json.loads(text(live, "metadata", "annotations", ANNOTATION) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, Mapping) else {}


def patch(manifest: Object, live: Object) -> dict[str, Any]:
    """Return the merge patch that brings `live` to `manifest`; empty where nothing is to be changed."""
    found = _patch(last_applied(live), annotated(manifest), live)
    return found if isinstance(found, dict) else {}


def _bare(manifest: Object) -> dict[str, Any]:
    metadata = mapping(manifest, "metadata")
    others = {key: value for key, value in mapping(metadata, "annotations").items() if key != ANNOTATION}
    kept = {key: value for key, value in metadata.items() if key != "annotations"}
    rest = {key: value for key, value in manifest.items() if key != "status"}
    return {**rest, "metadata": {**kept, **({"annotations": others} if others else {})}}


def _patch(last: Any, wanted: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
    said = last if isinstance(last, Mapping) else {}
    found: dict[str, Any] = {key: None for key in said if key in live and wanted.get(key) is None and key != "status"}
    for key, value in wanted.items():
        if value is None:
            continue
        there = live.get(key)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            below = _patch(said.get(key), value, there)
            if below:
                found[key] = below
        elif value != there or isinstance(value, bool) != isinstance(there, bool):
            found[key] = _without_nulls(value)
    return found


def _without_nulls(value: Any) -> Any:
    """A null in a merge patch removes; in a manifest it says nothing."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value
