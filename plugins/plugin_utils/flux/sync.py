# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects by which Flux follows a repository, and the files by which it manages itself from there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.manifests import to_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.state import Sync

Object = dict[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MARK = "Written by stagecraft.gitops (role flux). Put your own changes into kustomization.yaml, as patches."
_FLUX_KUSTOMIZATION = re.compile(rb"^apiVersion:\s*[\"']?kustomize\.toolkit\.fluxcd\.io/", re.MULTILINE)


@dataclass(frozen=True)
class Intervals:
    """How often the repository is looked at, and how often the cluster is compared with it."""

    source: str = "1m0s"
    sync: str = "10m0s"


def objects(namespace: str, wanted: Sync, intervals: Intervals, *, secret: bool) -> list[Object]:
    """Return the root GitRepository and Kustomization, both named like the namespace."""
    metadata = {"name": namespace, "namespace": namespace}
    source: Object = {"interval": intervals.source, "ref": {"branch": wanted.branch}, "url": wanted.url}
    if secret:
        source["secretRef"] = {"name": namespace}
    return [
        {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": dict(metadata),
            "spec": source,
        },
        {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": dict(metadata),
            "spec": {
                "interval": intervals.sync,
                "retryInterval": "1m0s",
                "timeout": "3m0s",
                "path": f"./{wanted.path}",
                "prune": True,
                "sourceRef": {"kind": "GitRepository", "name": namespace},
            },
        },
    ]


def own_files(
    path: str, namespace: str, components: Iterable[Mapping[str, Any]], sync: Iterable[Mapping[str, Any]]
) -> dict[str, bytes]:
    """Return the files by which Flux manages itself, by their path in the repository."""
    home = f"{path}/{namespace}"
    return {
        f"{home}/gotk-components.yaml": to_yaml(components, _MARK).encode(),
        f"{home}/gotk-sync.yaml": to_yaml(sync, _MARK).encode(),
    }


def changes(
    path: str,
    namespace: str,
    wanted: Mapping[str, bytes],
    present: Mapping[str, bytes],
) -> dict[str, bytes | None]:
    """Compare with what the repository has. A kustomization.yaml of the admin stays; a missing one is written.

    The environment's own kustomization.yaml, where there is one, has to name the directory: without that Flux would
    prune itself.
    """
    changed: dict[str, bytes | None] = {name: text for name, text in wanted.items() if present.get(name) != text}
    own = f"{path}/{namespace}/kustomization.yaml"
    if own not in present:
        changed[own] = to_yaml([_kustomization(["gotk-components.yaml", "gotk-sync.yaml"])]).encode()
    parent = f"{path}/kustomization.yaml"
    if parent in present:
        with_flux = with_resource(present[parent].decode(), namespace, parent)
        if with_flux is not None:
            changed[parent] = with_flux.encode()
    return changed


def files_to_read(path: str, namespace: str, wanted: Iterable[str]) -> list[str]:
    """Return the paths that `changes` compares with."""
    return [*wanted, f"{path}/{namespace}/kustomization.yaml", f"{path}/kustomization.yaml"]


def with_resource(text: str, name: str, where: str) -> str | None:
    """Add `name` to the resources of a kustomization.yaml, all else byte for byte as it is; None where it is there."""
    try:
        parsed = yaml.load(text, Loader=_LOADER)  # noqa: S506  # a safe loader either way
    except yaml.YAMLError as error:
        raise FluxError(f"{where} is no YAML, so Flux could not apply it: {error}") from error
    resources = parsed.get("resources") if isinstance(parsed, dict) else None
    if any(str(item).strip("./") == name for item in resources or []):
        return None
    found = re.search(r"^resources:[ \t]*(?:#.*)?\n((?:[ \t]*#.*\n|[ \t]*\n)*)([ \t]*)- ", text, re.MULTILINE)
    if not isinstance(resources, list) or found is None:
        raise FluxError(f"{where} has to name {name} among its resources, and has no list of them. Add it there.")
    at = found.start(2)
    return f"{text[:at]}{found[2]}- {name}\n{text[at:]}"


def kustomizations(texts: Iterable[bytes]) -> int:
    """Count the Flux Kustomizations in YAML texts."""
    return sum(len(_FLUX_KUSTOMIZATION.findall(text)) for text in texts)


def _kustomization(resources: list[str]) -> Object:
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources}
