# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the charts and OCI artefacts that a rollback goes back to are still where Flux fetches them from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import ImageReference
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import ArtifactError, MissingArtifact
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.registry import Registry
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.transport import Policy, Transport
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, listed, mapping, text
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.plan import Change
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit import edit, nodes
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit.errors import YamlEditError

_POLICY = Policy(attempts=1, connect_timeout=3.0, read_timeout=10.0)
_SELECTOR = re.compile(r"(HelmRelease|OCIRepository)/(\S*) (?:chart|ref)")
#: Other texts are ranges, of which Flux takes the newest there is.
_EXACT = re.compile(r"v?\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?")
_OCI = "oci://"


@dataclass(frozen=True)
class Wanted:
    """An artefact: `chart` "" for one of an OCIRepository. `url` is where it is fetched from."""

    name: str
    url: str
    chart: str = ""
    version: str = ""
    digest: str = ""


def concerned(changes: Iterable[Change]) -> list[Change]:
    """Return the changes of charts and OCI artefacts to exact versions."""
    found = []
    for change in changes:
        fields = dict(change.after)
        if _SELECTOR.fullmatch(change.selector) and (
            "digest" in fields or "tag" in fields or _EXACT.fullmatch(fields.get("version", ""))
        ):
            found.append(change)
    return found


def documents(content: bytes) -> list[Object]:
    """Return the documents of a file; none of one that cannot be read."""
    try:
        values = [nodes.value(root) for root in nodes.parse(edit.decode(content)[1])]
    except YamlEditError:
        return []
    return [value for value in values if isinstance(value, dict)]


def wanted(change: Change, own: Iterable[Object], everything: Iterable[Object]) -> Wanted | None:
    """Return what a change needs: `own` are the documents of its file. None where its source is not told in Git. Pure."""
    found = _SELECTOR.fullmatch(change.selector)
    if found is None:
        return None
    kind, name = found[1], found[2]
    item = _one(own, kind, name, "")
    if item is None:
        return None
    fields = dict(change.after)
    if kind == "OCIRepository":
        said = f"OCIRepository {name} {fields.get('tag') or fields.get('digest', '')[:19]}"
        return Wanted(said, text(item, "spec", "url"), "", fields.get("tag", ""), fields.get("digest", ""))
    spec = mapping(item, "spec", "chart", "spec")
    if text(spec, "sourceRef", "kind") != "HelmRepository":
        return None
    namespace = text(spec, "sourceRef", "namespace") or text(item, "metadata", "namespace")
    source = _one(everything, "HelmRepository", text(spec, "sourceRef", "name"), namespace)
    if source is None:
        return None
    chart, version = text(spec, "chart"), fields["version"]
    return Wanted(f"chart {chart} {version}", text(source, "spec", "url"), chart, version)


def _one(items: Iterable[Object], kind: str, name: str, namespace: str) -> Object | None:
    """Return the object of a name; where its namespace is not told in the file, all that are called so have to agree."""
    found = [one for one in items if one.get("kind") == kind and text(one, "metadata", "name") == name]
    exact = [one for one in found if namespace and text(one, "metadata", "namespace") == namespace]
    urls = {text(one, "spec", "url") for one in exact or found}
    return (exact or found)[0] if len(urls) == 1 else None


def gone(artefacts: Iterable[Wanted], transport: Transport | None = None) -> tuple[list[str], list[str]]:
    """Say which artefacts are not there any more, and of which nobody tells."""
    transport = transport or Transport(_POLICY)
    registry, indexes = Registry(transport), {}
    missing, silent = [], []

    def index(url: str) -> Mapping[str, Any]:
        if url not in indexes:
            indexes[url] = _index(transport.get(f"{url.rstrip('/')}/index.yaml").body)
        return indexes[url]

    for one in dict.fromkeys(artefacts):
        if not one.url or "${" in one.url:
            continue
        try:
            there = _is_there(one, registry, index)
        except MissingArtifact:
            there = False
        except ArtifactError as error:
            silent.append(f"whether {one.name} can still be fetched is not known: {error}")
            continue
        if not there:
            missing.append(f"{one.name}: {one.url} has it no more")
    return missing, silent


def _is_there(one: Wanted, registry: Registry, index: Callable[[str], Mapping[str, Any]]) -> bool:
    if one.url.startswith(_OCI):
        place = one.url.removeprefix(_OCI).rstrip("/") + (f"/{one.chart}" if one.chart else "")
        # a tag has no plus sign; Helm writes an underscore in its place
        tag = one.version.replace("+", "_") or one.digest.removeprefix("sha256:")
        registry.digest(ImageReference.parse(f"{place}:{tag}"), one.digest)
        return True
    versions = {
        text(entry, "version").removeprefix("v") for entry in listed(index(one.url), "entries", one.chart) if entry
    }
    return one.version.removeprefix("v") in versions


def _index(body: bytes) -> Mapping[str, Any]:
    try:
        found = yaml.load(body, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # a safe loader either way
    except yaml.YAMLError as error:
        raise ArtifactError("its index.yaml is no YAML") from error
    if not isinstance(found, dict):
        raise ArtifactError("its index.yaml is of another shape")
    return found
