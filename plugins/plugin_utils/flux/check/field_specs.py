# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where kustomize's transformers write: labels, annotations, images, replicas and namespaces."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import BuildError, UnsupportedError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.resources import (
    Object,
    Resource,
    cluster_scoped,
    group_version,
)


class FieldSpec(NamedTuple):
    """A place in objects of a kind; an empty group, version or kind stands for any. Lists on the way are walked."""

    path: tuple[str, ...]
    create: bool = False
    kind: str = ""
    group: str = ""
    version: str = ""

    def selects(self, content: Object) -> bool:
        """Say whether the object is of the kind."""
        if self.kind and self.kind != content.get("kind"):
            return False
        group, version = group_version(str(content.get("apiVersion") or ""))
        return (not self.group or self.group == group) and (not self.version or self.version == version)


def _spec(path: str, kind: str = "", group: str = "", version: str = "", *, create: bool = True) -> FieldSpec:
    return FieldSpec(tuple(path.split("/")), create, kind, group, version)


_METADATA_LABELS = _spec("metadata/labels")
TEMPLATE_LABELS = (
    _METADATA_LABELS,
    _spec("spec/template/metadata/labels", "ReplicationController", version="v1"),
    _spec("spec/template/metadata/labels", "Deployment"),
    _spec("spec/template/metadata/labels", "ReplicaSet"),
    _spec("spec/template/metadata/labels", "DaemonSet"),
    _spec("spec/template/metadata/labels", "StatefulSet", "apps"),
    _spec("spec/volumeClaimTemplates[]/metadata/labels", "StatefulSet", "apps"),
    _spec("spec/template/metadata/labels", "Job", "batch"),
    _spec("spec/jobTemplate/metadata/labels", "CronJob", "batch"),
    _spec("spec/jobTemplate/spec/template/metadata/labels", "CronJob", "batch"),
)
_AFFINITY = tuple(
    _spec(f"spec/template/spec/{path}/matchLabels", kind, "apps", create=False)
    for kind in ("Deployment", "StatefulSet")
    for path in (
        "affinity/podAffinity/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector",
        "affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/labelSelector",
        "affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/podAffinityTerm/labelSelector",
        "affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/labelSelector",
        "topologySpreadConstraints/labelSelector",
    )
)
SELECTOR_LABELS = (
    _spec("spec/selector", "Service", version="v1"),
    _spec("spec/selector", "ReplicationController", version="v1"),
    _spec("spec/selector/matchLabels", "Deployment"),
    *_AFFINITY,
    _spec("spec/selector/matchLabels", "ReplicaSet"),
    _spec("spec/selector/matchLabels", "DaemonSet"),
    _spec("spec/selector/matchLabels", "StatefulSet", "apps"),
    _spec("spec/selector/matchLabels", "Job", "batch", create=False),
    _spec("spec/jobTemplate/spec/selector/matchLabels", "CronJob", "batch", create=False),
    _spec("spec/selector/matchLabels", "PodDisruptionBudget", "policy", create=False),
    _spec("spec/podSelector/matchLabels", "NetworkPolicy", "networking.k8s.io", create=False),
    _spec("spec/ingress/from/podSelector/matchLabels", "NetworkPolicy", "networking.k8s.io", create=False),
    _spec("spec/egress/to/podSelector/matchLabels", "NetworkPolicy", "networking.k8s.io", create=False),
    *TEMPLATE_LABELS,
)
ANNOTATIONS = (
    _spec("metadata/annotations"),
    _spec("spec/template/metadata/annotations", "ReplicationController", version="v1"),
    _spec("spec/template/metadata/annotations", "Deployment"),
    _spec("spec/template/metadata/annotations", "ReplicaSet"),
    _spec("spec/template/metadata/annotations", "DaemonSet"),
    _spec("spec/template/metadata/annotations", "StatefulSet"),
    _spec("spec/template/metadata/annotations", "Job", "batch"),
    _spec("spec/jobTemplate/metadata/annotations", "CronJob", "batch"),
    _spec("spec/jobTemplate/spec/template/metadata/annotations", "CronJob", "batch"),
)
REPLICAS = ("Deployment", "ReplicationController", "ReplicaSet", "StatefulSet")
_NAMESPACES = (
    _spec("metadata/name", "Namespace"),
    _spec("spec/service/namespace", "APIService", "apiregistration.k8s.io"),
    _spec(
        "spec/conversion/webhook/clientConfig/service/namespace",
        "CustomResourceDefinition",
        "apiextensions.k8s.io",
        create=False,
    ),
)


def visit(content: Object, spec: FieldSpec, leaf: Callable[[Any, str], None], made: Callable[[], Any]) -> None:
    """Call `leaf` with each holder of the last step of a path, and that step; `made` makes the leaf if it is created."""
    if spec.selects(content):
        _visit(content, spec.path, spec.create, leaf, made)


def _visit(
    value: Any, path: Sequence[str], create: bool, leaf: Callable[[Any, str], None], made: Callable[[], Any]
) -> None:
    if isinstance(value, list):
        for item in value:
            _visit(item, path, create, leaf, made)
        return
    if not isinstance(value, dict):
        if value is None:
            return
        raise BuildError(f"there is a plain value where {'/'.join(path)} is looked for")
    step, rest = path[0], path[1:]
    name = step.removesuffix("[]")
    if value.get(name) is None:
        if not create or name != step:
            return
        value[name] = {} if rest else made()
    if rest:
        _visit(value[name], rest, create, leaf, made)
    else:
        leaf(value, name)


def set_pairs(resources: Iterable[Resource], specs: Iterable[FieldSpec], pairs: Mapping[str, Any]) -> None:
    """Add labels or annotations at the places."""

    def leaf(holder: Any, name: str) -> None:
        found = holder[name]
        for item in found if isinstance(found, list) else [found]:
            if not isinstance(item, dict):
                raise BuildError(f"{name} is no mapping")
            item.update(written)

    written = {str(key): _text(value) for key, value in pairs.items()}
    specs = list(specs) if written else []
    for resource in resources:
        for spec in specs:
            visit(resource.content, spec, leaf, dict)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def set_replicas(resources: Iterable[Resource], name: str, count: int) -> bool:
    """Set the number of replicas of all workloads of a name; say whether there was one."""
    found = False
    for resource in resources:
        if any(one.name == name and one.kind in REPLICAS for one in resource.ids):
            found = True
            if resource.kind in REPLICAS:
                resource.content.setdefault("spec", {})["replicas"] = count
    return found


def set_namespace(resources: Iterable[Resource], namespace: str) -> None:
    """Move the objects to a namespace, as kustomize's field `namespace` does."""

    def leaf(holder: Any, name: str) -> None:
        holder[name] = namespace

    for resource in resources:
        resource.remember()
        content = resource.content
        group, version = group_version(str(content.get("apiVersion") or ""))
        if not cluster_scoped(group, version, resource.kind):
            content.setdefault("metadata", {})["namespace"] = namespace
        if resource.kind in ("RoleBinding", "ClusterRoleBinding"):
            for subject in content.get("subjects") or ():
                if isinstance(subject, dict) and subject.get("name") == "default":
                    subject["namespace"] = namespace
        for spec in _NAMESPACES:
            if spec.path != ("metadata", "name") or content.get("apiVersion") == "v1":
                visit(content, spec, leaf, str)


# -- images ------------------------------------------------------------------------------------------------------------

_IMAGE_VOLUMES = tuple(
    _spec(f"{pod}/volumes[]/image/reference", create=False) for pod in ("spec", "spec/template/spec")
)


def split_image(reference: str) -> tuple[str, str, str]:
    """Return an image's name, tag and digest."""
    slash = max(reference.find("/"), 0)
    at, colon = reference.find("@", slash), reference.find(":", slash)
    if at >= 0 and (colon < 0 or at < colon):
        return reference[:at], "", reference[at + 1 :]
    if at >= 0:
        return reference[:colon], reference[colon + 1 : at], reference[at + 1 :]
    return (reference[:colon], reference[colon + 1 :], "") if colon >= 0 else (reference, "", "")


def set_image(resources: Iterable[Resource], image: Mapping[str, Any]) -> None:
    """Replace an image's name, tag or digest in all pods."""
    wanted = {key: _text(value) for key, value in image.items()}
    try:
        # The name is part of a regular expression in kustomize, too.
        pattern = re.compile(rf"{wanted.get('name', '')}(:[a-zA-Z0-9_.{{}}-]*)?(@sha256:[a-zA-Z0-9_.{{}}-]*)?\Z")
    except re.error:
        raise UnsupportedError(f"the image name {wanted.get('name')}") from None

    def leaf(holder: Any, name: str) -> None:
        if isinstance(holder.get(name), str) and pattern.match(holder[name]):
            holder[name] = _new_image(holder[name], wanted)

    for resource in resources:
        if resource.kind != "CustomResourceDefinition":
            for container in _containers(resource.content):
                leaf(container, "image")
            for spec in _IMAGE_VOLUMES:
                visit(resource.content, spec, leaf, str)


def _new_image(reference: str, wanted: Mapping[str, str]) -> str:
    name, tag, digest = split_image(reference)
    name = wanted.get("newName") or name
    if wanted.get("newTag") or wanted.get("digest"):
        tag, digest = wanted.get("newTag", ""), wanted.get("digest", "")
    elif wanted.get("tagSuffix"):
        tag, digest = tag + wanted["tagSuffix"], ""
    return name + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")


def _containers(value: Any) -> Iterator[dict[str, Any]]:
    """Return what stands in lists called containers or initContainers, wherever they are."""
    if isinstance(value, list):
        for item in value:
            yield from _containers(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _containers(item)
            if key in ("containers", "initContainers") and isinstance(item, list):
                yield from (container for container in item if isinstance(container, dict))
