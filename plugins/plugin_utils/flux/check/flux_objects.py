# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Flux objects that the gate understands, as they stand in the repository."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.resources import Object, group_version

KUSTOMIZE_GROUP = "kustomize.toolkit.fluxcd.io"
HELM_GROUP = "helm.toolkit.fluxcd.io"
SOURCE_GROUPS = ("source.toolkit.fluxcd.io", "source.extensions.fluxcd.io")


@dataclass(frozen=True)
class Unit:
    """A Flux Kustomization to build, and where it is written; `name` is empty for the cluster path itself."""

    namespace: str
    name: str
    path: str
    spec: Object
    file: str
    line: int
    index: int
    is_root: bool = False

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def label(self) -> str:
        return f"Kustomization {self.namespace}/{self.name}" if self.name else f"the cluster path {self.path}"

    @property
    def cluster(self) -> str:
        """The remote cluster that it applies to, or nothing."""
        config = self.spec.get("kubeConfig")
        reference = config.get("secretRef") or config.get("configMapRef") if isinstance(config, dict) else None
        return str(reference.get("name")) if isinstance(reference, dict) else ""

    @property
    def source(self) -> tuple[str, str, str]:
        """Kind, namespace and name of the source."""
        return source_of(self.spec.get("sourceRef"), self.namespace)

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)


def source_of(reference: Any, namespace: str) -> tuple[str, str, str]:
    """Return kind, namespace and name of a sourceRef."""
    reference = reference if isinstance(reference, dict) else {}
    return (
        str(reference.get("kind") or ""),
        str(reference.get("namespace") or namespace),
        str(reference.get("name") or ""),
    )


def home_of(units: Iterable[Unit], path: str) -> tuple[str, str, str] | None:
    """Return the source that is this repository: that of the Kustomization that syncs the cluster path `path`."""
    units = list(units)
    for unit in units:
        if unit.path == path and unit.source[2]:
            return unit.source
    named = sorted({unit.source for unit in units if unit.source[2]})
    for source in named:
        if source == ("GitRepository", "flux-system", "flux-system"):
            return source
    repositories = [source for source in named if source[0] == "GitRepository"]
    return repositories[0] if len(repositories) == 1 else None


def group_of(content: Mapping[str, Any]) -> str:
    """Return the API group of an object."""
    return group_version(str(content.get("apiVersion") or ""))[0]


def is_kustomization(content: Object) -> bool:
    """Say whether it is Flux's Kustomization, not kustomize's."""
    return content.get("kind") == "Kustomization" and group_of(content) == KUSTOMIZE_GROUP


def is_release(content: Object) -> bool:
    """Say whether it is a HelmRelease."""
    return content.get("kind") == "HelmRelease" and group_of(content) == HELM_GROUP
