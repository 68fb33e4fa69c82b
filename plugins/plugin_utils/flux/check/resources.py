# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects on their way through a build, with where they came from and what they were called."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Object = dict[str, Any]

DEFAULT_NAMESPACE = "default"
#: Kinds that kustomize knows to have no namespace; it takes every other kind for namespaced.
_CLUSTER_SCOPED = {
    "admissionregistration.k8s.io": ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"),
    "apiextensions.k8s.io": ("CustomResourceDefinition",),
    "apiregistration.k8s.io": ("APIService",),
    "certificates.k8s.io": ("CertificateSigningRequest",),
    "networking.k8s.io": ("IngressClass",),
    "node.k8s.io": ("RuntimeClass",),
    "rbac.authorization.k8s.io": ("ClusterRole", "ClusterRoleBinding"),
    "scheduling.k8s.io": ("PriorityClass",),
    "storage.k8s.io": ("CSIDriver", "CSINode", "StorageClass", "VolumeAttachment"),
    "": ("ComponentStatus", "Namespace", "Node", "NodeProxyOptions", "PersistentVolume"),
}
#: Known in one beta version only.
_CLUSTER_SCOPED_BETA = {
    ("flowcontrol.apiserver.k8s.io", "v1beta1", "FlowSchema"),
    ("flowcontrol.apiserver.k8s.io", "v1beta1", "PriorityLevelConfiguration"),
    ("policy", "v1beta1", "PodSecurityPolicy"),
}
#: Which of the versions of a group kustomize knows.
_VERSIONS = {"v1", "v1beta1"}


def group_version(api_version: str) -> tuple[str, str]:
    """Return group and version; the core group is empty."""
    group, slash, version = api_version.partition("/")
    return (group, version) if slash else ("", group)


def cluster_scoped(group: str, version: str, kind: str) -> bool:
    """Say whether kustomize knows that objects of this kind have no namespace."""
    if version in _VERSIONS and kind in _CLUSTER_SCOPED.get(group, ()):
        return group != "" or version == "v1"
    return (group, version, kind) in _CLUSTER_SCOPED_BETA


class Id(NamedTuple):
    """What kustomize tells objects apart by. `namespace` is `default` when none is set, empty without a scope."""

    group: str
    version: str
    kind: str
    namespace: str
    name: str


@dataclass(slots=True)
class Resource:
    """An object, and what the build has to remember of it."""

    content: Object
    #: The file it was written in, the document's number there, and that document's first line.
    file: str
    index: int = 0
    line: int = 1
    #: What it was called before each change of name, namespace or kind: (kind, namespace, name).
    previous: list[tuple[str, str, str]] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    suffixes: list[str] = field(default_factory=list)
    hashed: bool = False
    behavior: str = "create"
    #: Where patches of it came from, for what the object's own file does not hold: file, line, and the text of those
    #: that are written into a kustomization (empty: the patch is the file).
    patched_by: list[tuple[str, int, str]] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return str(self.content.get("kind") or "")

    @property
    def name(self) -> str:
        return str(self.metadata.get("name") or "")

    @property
    def namespace(self) -> str:
        return str(self.metadata.get("namespace") or "")

    @property
    def metadata(self) -> Object:
        found = self.content.get("metadata")
        return found if isinstance(found, dict) else {}

    @property
    def gvk(self) -> tuple[str, str, str]:
        group, version = group_version(str(self.content.get("apiVersion") or ""))
        return group, version, self.kind

    @property
    def id(self) -> Id:
        group, version, kind = self.gvk
        namespace = "" if cluster_scoped(group, version, kind) else self.namespace or DEFAULT_NAMESPACE
        return Id(group, version, kind, namespace, self.name)

    @property
    def ids(self) -> list[Id]:
        """The current id and all earlier ones, the original first."""
        group, version, _unused = self.gvk
        return [*(Id(group, version, *past) for past in self.previous), self.id]

    def remember(self) -> None:
        """Store what it is called before that changes."""
        current = self.id
        self.previous.append((current.kind, current.namespace, current.name))

    def copy(self) -> Resource:
        """Return a copy that shares nothing that a build changes."""
        return Resource(
            copied(self.content),
            self.file,
            self.index,
            self.line,
            list(self.previous),
            list(self.prefixes),
            list(self.suffixes),
            self.hashed,
            self.behavior,
            list(self.patched_by),
        )


def copied(value: Any) -> Any:
    """Return a deep copy of plain values."""
    if isinstance(value, dict):
        return {key: copied(item) if type(item) in (dict, list) else item for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) if type(item) in (dict, list) else item for item in value]
    return value


def named(resources: Iterable[Resource], wanted: Id) -> list[Resource]:
    """Return the resources that are, or were before a change, called `wanted`."""
    return [resource for resource in resources if wanted in resource.ids]


def label(content: Object) -> str:
    """Return an object as messages name it: kind namespace/name."""
    metadata = content.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    namespace = metadata.get("namespace")
    name = metadata.get("name") or metadata.get("generateName") or "?"
    return f"{content.get('kind') or '?'} {namespace}/{name}" if namespace else f"{content.get('kind') or '?'} {name}"
