# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Strategic merge patches, as kustomize merges them: new list items go first, unknown kinds' lists are replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import BuildError, UnsupportedError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.resources import Object, copied

Keys = dict[tuple[str, ...], tuple[str, ...]]

#: The merge keys of lists; "" is a list of plain values that are merged as a set.
_CONTAINER: dict[str, tuple[str, ...]] = {
    "env": ("name",),
    "ports": ("containerPort", "protocol"),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
}
_POD: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
_POD_SPECS = {
    ("", "Pod"): ("spec",),
    ("", "PodTemplate"): ("template", "spec"),
    ("", "ReplicationController"): ("spec", "template", "spec"),
    ("apps", "Deployment"): ("spec", "template", "spec"),
    ("apps", "DaemonSet"): ("spec", "template", "spec"),
    ("apps", "ReplicaSet"): ("spec", "template", "spec"),
    ("apps", "StatefulSet"): ("spec", "template", "spec"),
    ("batch", "Job"): ("spec", "template", "spec"),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template", "spec"),
}
_LISTS: dict[tuple[str, str], dict[tuple[str, ...], tuple[str, ...]]] = {
    ("", "Service"): {("spec", "ports"): ("port", "protocol")},
    ("", "ServiceAccount"): {("secrets",): ("name",)},
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): {("webhooks",): ("name",)},
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): {("webhooks",): ("name",)},
    ("storage.k8s.io", "CSINode"): {("spec", "drivers"): ("name",)},
}
_METADATA: Keys = {("metadata", "finalizers"): ("",), ("metadata", "ownerReferences"): ("uid",)}
#: Groups of which kustomize knows every kind, so that lists without a merge key here are replaced for certain.
KNOWN_GROUPS = frozenset({
    "", "admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "apps", "autoscaling", "batch",
    "certificates.k8s.io", "coordination.k8s.io", "discovery.k8s.io", "events.k8s.io", "networking.k8s.io", "node.k8s.io",
    "policy", "rbac.authorization.k8s.io", "scheduling.k8s.io", "storage.k8s.io",
})  # fmt: skip
_DIRECTIVE = "$patch"
_REFUSED = ("$setElementOrder/", "$deleteFromPrimitiveList/", "$retainKeys")

_GONE = object()


def merge_keys(group: str, kind: str) -> Keys:
    """Return the merge keys of a kind's lists, by the path of the list without the numbers of items."""
    if group not in KNOWN_GROUPS:
        return {}
    found: Keys = {**_METADATA, **_LISTS.get((group, kind), {})}
    base = _POD_SPECS.get((group, kind))
    if base is not None:
        found.update({(*base, name): keys for name, keys in _POD.items()})
        for holder in ("containers", "initContainers", "ephemeralContainers"):
            found.update({(*base, holder, name): keys for name, keys in _CONTAINER.items()})
    return found


def merge(target: Object, patch: Object, group: str, kind: str) -> Object | None:
    """Return `target` (which is changed) with `patch` merged into it; None when the patch deletes it."""
    merged = _merge(target, copied(patch), (), merge_keys(group, kind))
    return None if merged is _GONE else merged


def _merge(target: Any, patch: Any, path: tuple[str, ...], keys: Keys) -> Any:
    if patch is None:
        return _GONE
    if isinstance(patch, dict):
        if target is None:
            return _added(patch, path, keys)
        if not isinstance(target, dict):
            raise BuildError(f"the patch has a mapping at {'.'.join(path)}, where the object has {_kind(target)}")
        return _merge_map(target, patch, path, keys)
    if isinstance(patch, list):
        if target is None:
            return _added(patch, path, keys)
        if not isinstance(target, list):
            raise BuildError(f"the patch has a list at {'.'.join(path)}, where the object has {_kind(target)}")
        return _merge_list(target, patch, path, keys)
    if isinstance(target, (dict, list)):
        raise BuildError(f"the patch has a plain value at {'.'.join(path)}, where the object has {_kind(target)}")
    return patch


def _kind(value: Any) -> str:
    return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else "a plain value"


def _directive(patch: dict[str, Any], path: tuple[str, ...]) -> str:
    for key in patch:
        if key.startswith(_REFUSED):
            raise UnsupportedError(f"{key} in a patch")
    found = patch.pop(_DIRECTIVE, "merge")
    if found not in ("merge", "replace", "delete"):
        raise BuildError(f"$patch: {found} at {'.'.join(path) or 'the top'} of a patch is not merge, replace or delete")
    return str(found)


def _merge_map(target: dict[str, Any], patch: dict[str, Any], path: tuple[str, ...], keys: Keys) -> Any:
    directive = _directive(patch, path)
    if directive == "delete":
        return _GONE
    if directive == "replace":
        return _added(patch, path, keys)
    for key, value in patch.items():
        if value is None and key not in target and path[:1] == ("metadata",):
            raise UnsupportedError(f"a patch that removes from {'.'.join(path)} what is not there")
        merged = _merge(target.get(key), value, (*path, key), keys)
        if merged is _GONE:
            target.pop(key, None)
        else:
            target[key] = merged
    return target


def _added(patch: Any, path: tuple[str, ...], keys: Keys) -> Any:
    """What becomes of a part of a patch that has no counterpart: nulls and directives do not stay."""
    if isinstance(patch, dict):
        if _directive(patch, path) == "delete":
            return _GONE
        if path[:1] == ("metadata",) and None in patch.values():
            raise UnsupportedError(f"a patch that removes from {'.'.join(path)} what is not there")
        found = {key: _added(value, (*path, key), keys) for key, value in patch.items() if value is not None}
        return {key: value for key, value in found.items() if value is not _GONE}
    if isinstance(patch, list) and path in keys:
        items = [_added(item, path, keys) if isinstance(item, dict) else item for item in patch]
        return [item for item in items if item is not _GONE and item != {}]
    return patch


def _merge_list(target: list[Any], patch: list[Any], path: tuple[str, ...], keys: Keys) -> Any:
    names = keys.get(path)
    if names is None:
        return patch
    whole = [item for item in patch if isinstance(item, dict) and set(item) == {_DIRECTIVE}]
    if whole:
        if whole[0][_DIRECTIVE] == "delete":
            return _GONE
        return [item for item in patch if item not in whole]
    if names == ("",):
        return [*patch, *(item for item in target if item not in patch)]
    return _merge_items(target, patch, path, keys, _usable(names, [*target, *patch], path))


def _usable(names: Sequence[str], items: list[Any], path: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the merge keys that the items have: all of them, or the first alone."""
    having = [tuple(name for name in names if isinstance(item, dict) and item.get(name) is not None) for item in items]
    if len(set(having)) == 1 and having[0][:1] == tuple(names[:1]):
        return having[0]
    raise UnsupportedError(f"a patch of {'.'.join(path)}, whose items do not all have the keys {' and '.join(names)}")


def _merge_items(target: list[Any], patch: list[Any], path: tuple[str, ...], keys: Keys, names: Sequence[str]) -> Any:
    def identity(item: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(str(item[name]) for name in names)

    there = {identity(item): item for item in target}
    if len(there) != len(target):
        raise UnsupportedError(f"a patch of {'.'.join(path)}, which has the same item twice")
    merged: dict[tuple[Any, ...], Any] = {}
    for item in patch:
        key = identity(item)
        merged[key] = _merge_map(there[key], item, path, keys) if key in there else _added(item, path, keys)
    if len(merged) != len(patch):
        raise UnsupportedError(f"a patch of {'.'.join(path)}, which has the same item twice")
    rest = {key: item for key, item in there.items() if key not in merged}
    if len(names) > 1:  # lists with several merge keys keep the object's own order, new items first
        fresh = {key: item for key, item in merged.items() if key not in there}
        everything = {**fresh, **{key: merged.get(key, item) for key, item in there.items()}}
    else:
        everything = {**merged, **rest}
    return [item for item in everything.values() if item is not _GONE]
