# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read manifests: YAML as Kubernetes reads it, into objects that each have a name. Pure."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, Ref, mapping, ref, text

_FIRST = ("CustomResourceDefinition", "Namespace")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML without dates: Kubernetes has only texts for them."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse(manifests: Iterable[str | Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All objects of texts (YAML or JSON) and of parsed documents, lists flattened.

    KubeError names every document that is no object, and every object that is there twice.
    """
    objects: list[dict[str, Any]] = []
    problems: list[str] = []
    for number, manifest in enumerate(manifests, 1):
        try:
            documents = _documents(manifest)
        except yaml.YAMLError as error:
            problems.append(f"manifest {number} is no YAML: {error}")
            continue
        for document in documents:
            items = document["items"] if isinstance(document, dict) and document.get("kind") == "List" else [document]
            for item in items:
                if isinstance(item, dict) and item.get("apiVersion") and item.get("kind") and ref(item).name:
                    objects.append(_plain_secret(item))
                else:
                    problems.append(f"manifest {number} holds a document without apiVersion, kind or metadata.name")
    seen: set[Ref] = set()
    for item in objects:
        if ref(item) in seen:
            problems.append(f"{ref(item)} is there twice: it can only be as one of them says")
        seen.add(ref(item))
    if problems:
        raise KubeError("; ".join(dict.fromkeys(problems)))
    return objects


def _documents(manifest: str | Mapping[str, Any]) -> list[Any]:
    if isinstance(manifest, Mapping):
        return [dict(manifest)]
    if manifest.lstrip().startswith("{"):
        with contextlib.suppress(ValueError):
            return [json.loads(manifest)]
    return [document for document in yaml.load_all(manifest, Loader=_Loader) if document is not None]


def _plain_secret(item: dict[str, Any]) -> dict[str, Any]:
    """Return a Secret as the server keeps it: who applies stringData does not own what becomes of it."""
    if item["kind"] != "Secret" or "stringData" not in item:
        return item
    encoded = {key: base64.b64encode(str(value).encode()).decode() for key, value in (item["stringData"] or {}).items()}
    rest = {key: value for key, value in item.items() if key != "stringData"}
    return {**rest, "data": {**mapping(item, "data"), **encoded}}


def stages(objects: Iterable[Object]) -> tuple[list[Object], list[Object]]:
    """Definitions and namespaces, and everything that may need them."""
    first: list[Object] = []
    rest: list[Object] = []
    for item in objects:
        (first if item["kind"] in _FIRST else rest).append(item)
    return first, rest


def defined(objects: Iterable[Object]) -> set[tuple[str, str]]:
    """Group and kind of every custom resource that the definitions among `objects` bring."""
    return {
        (text(item, "spec", "group"), text(item, "spec", "names", "kind"))
        for item in objects
        if item["kind"] == "CustomResourceDefinition"
    }
