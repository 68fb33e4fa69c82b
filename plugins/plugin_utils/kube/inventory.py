# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remember what was applied, in a ConfigMap, so that what is no longer wanted can be removed. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import three_way
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.fields import owned
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, Ref, mapping, text

_KEY = "objects"
LABEL = "app.kubernetes.io/managed-by"


def config_map(named: Ref, objects: Iterable[Ref], manager: str) -> dict[str, Any]:
    """Return the inventory: an identity a line, `<namespace>_<name>_<group>_<kind>`; names only, never content.

    Unlike Flux's own, a colon stands for itself, so that RBAC names with two underscores are read back as they are.
    """
    lines = sorted(f"{o.namespace}_{o.name}_{o.group}_{o.kind}" for o in objects)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": named.name, "namespace": named.namespace, "labels": {LABEL: manager}},
        "data": {_KEY: "\n".join(lines)},
    }


def read(item: Object | None) -> set[Ref]:
    """Return what an inventory lists. Raises KubeError for a ConfigMap that is none."""
    if item is None:
        return set()
    data = mapping(item, "data")
    if _KEY not in data:
        metadata = mapping(item, "metadata")
        raise KubeError(
            f"ConfigMap {metadata.get('namespace')}/{metadata.get('name')} is no inventory: it has no key {_KEY!r}. Give "
            "the inventory a name of its own."
        )
    return {_entry(line) for line in text(item, "data", _KEY).splitlines() if line}


def _entry(line: str) -> Ref:
    namespace, _unused, rest = line.partition("_")
    rest, _unused, kind = rest.rpartition("_")
    name, _unused, group = rest.rpartition("_")
    return Ref(group, kind, namespace, name)


def kept(item: Object, manager: str, protected: Collection[str]) -> str:
    """Say why an object that is no longer wanted stays, or "" where it goes."""
    if item["kind"] in protected:
        return f"{item['kind']} is never pruned: what it holds would go with it"
    if owned(item, manager) is None and not three_way.last_applied(item):
        return f"{manager} does not own any of its fields any more"
    return ""


def surplus(listed: Mapping[Ref, Object | None], wanted: Collection[Ref]) -> dict[Ref, Object]:
    """Return what the inventory lists, is there, and is not wanted."""
    return {named: item for named, item in listed.items() if item is not None and named not in wanted}
