# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""References to objects by name, which follow when a build changes the names: prefixes, suffixes, hashes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import BuildError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.field_specs import FieldSpec
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.resources import (
    Id,
    Resource,
    cluster_scoped,
)

_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"
_POD_SPECS = {
    "Pod": "spec",
    "PodTemplate": "template/spec",
    "Deployment": "spec/template/spec",
    "ReplicaSet": "spec/template/spec",
    "DaemonSet": "spec/template/spec",
    "StatefulSet": "spec/template/spec",
    "Job": "spec/template/spec",
    "CronJob": "spec/jobTemplate/spec/template/spec",
    "ReplicationController": "spec/template/spec",
}
_WITH_DATA = ("Pod", "PodTemplate", "Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "Job", "CronJob")
_WITH_ACCOUNT = ("Pod", "StatefulSet", "Deployment", "ReplicationController", "CronJob", "Job", "DaemonSet")


def _spec(path: str, kind: str, group: str = "", version: str = "") -> FieldSpec:
    return FieldSpec(tuple(path.split("/")), False, kind, group, version)


def _annotation(name: str) -> FieldSpec:
    return FieldSpec(("metadata", "annotations", name), False, "Ingress")


def _pods(kinds: Iterable[str], *paths: str) -> list[FieldSpec]:
    return [
        _spec(f"{_POD_SPECS[kind]}/{path}", kind, version="v1" if kind == "Pod" else "")
        for kind in kinds
        for path in paths
    ]


#: What may be referred to: (group, kind), and from where.
REFERENCES: tuple[tuple[str, str, tuple[FieldSpec, ...]], ...] = (
    *(
        ("", kind, (_spec("spec/scaleTargetRef/name", "HorizontalPodAutoscaler"),))
        for kind in ("Deployment", "ReplicationController", "ReplicaSet", "StatefulSet")
    ),
    (
        "",
        "ConfigMap",
        (
            *_pods(
                _WITH_DATA,
                "volumes/configMap/name",
                "containers/env/valueFrom/configMapKeyRef/name",
                "initContainers/env/valueFrom/configMapKeyRef/name",
                "containers/envFrom/configMapRef/name",
                "initContainers/envFrom/configMapRef/name",
                "volumes/projected/sources/configMap/name",
            ),
            _spec("spec/configSource/configMap", "Node"),
            _spec("rules/resourceNames", "Role"),
            _spec("rules/resourceNames", "ClusterRole"),
            _annotation("nginx.ingress.kubernetes.io/fastcgi-params-configmap"),
        ),
    ),
    (
        "",
        "Secret",
        (
            *_pods(
                _WITH_DATA,
                "volumes/secret/secretName",
                "containers/env/valueFrom/secretKeyRef/name",
                "initContainers/env/valueFrom/secretKeyRef/name",
                "containers/envFrom/secretRef/name",
                "initContainers/envFrom/secretRef/name",
                "imagePullSecrets/name",
                "volumes/projected/sources/secret/name",
            ),
            _spec("spec/tls/secretName", "Ingress"),
            _annotation("ingress.kubernetes.io/auth-secret"),
            _annotation("nginx.ingress.kubernetes.io/auth-secret"),
            _annotation("nginx.ingress.kubernetes.io/auth-tls-secret"),
            _spec("imagePullSecrets/name", "ServiceAccount"),
            *(
                _spec(f"parameters/{name}", "StorageClass")
                for name in ("secretName", "adminSecretName", "userSecretName", "secretRef")
            ),
            _spec("rules/resourceNames", "Role"),
            _spec("rules/resourceNames", "ClusterRole"),
            _spec(
                "spec/template/spec/containers/env/valueFrom/secretKeyRef/name", "Service", "serving.knative.dev", "v1"
            ),
            _spec("spec/azureFile/secretName", "PersistentVolume"),
        ),
    ),
    (
        "",
        "Service",
        (
            _spec("spec/serviceName", "StatefulSet", "apps"),
            _spec("spec/rules/http/paths/backend/serviceName", "Ingress"),
            _spec("spec/backend/serviceName", "Ingress"),
            _spec("spec/rules/http/paths/backend/service/name", "Ingress"),
            _spec("spec/defaultBackend/service/name", "Ingress"),
            _spec("spec/service/name", "APIService", "apiregistration.k8s.io"),
            _spec("webhooks/clientConfig/service", "ValidatingWebhookConfiguration", _ADMISSION),
            _spec("webhooks/clientConfig/service", "MutatingWebhookConfiguration", _ADMISSION),
        ),
    ),
    (_RBAC, "Role", (_spec("roleRef/name", "RoleBinding", _RBAC),)),
    (
        _RBAC,
        "ClusterRole",
        (_spec("roleRef/name", "RoleBinding", _RBAC), _spec("roleRef/name", "ClusterRoleBinding", _RBAC)),
    ),
    (
        "",
        "ServiceAccount",
        (
            _spec("subjects", "RoleBinding", _RBAC),
            _spec("subjects", "ClusterRoleBinding", _RBAC),
            *(_spec(f"{_POD_SPECS[kind]}/serviceAccountName", kind) for kind in _WITH_ACCOUNT),
        ),
    ),
    (
        "",
        "PersistentVolumeClaim",
        tuple(_spec(f"{_POD_SPECS[kind]}/volumes/persistentVolumeClaim/claimName", kind) for kind in _WITH_ACCOUNT),
    ),
    (
        "",
        "PersistentVolume",
        (_spec("spec/volumeName", "PersistentVolumeClaim"), _spec("rules/resourceNames", "ClusterRole")),
    ),
    (
        "storage.k8s.io",
        "StorageClass",
        (
            _spec("spec/storageClassName", "PersistentVolume"),
            _spec("spec/storageClassName", "PersistentVolumeClaim"),
            _spec("spec/volumeClaimTemplates/spec/storageClassName", "StatefulSet"),
        ),
    ),
    (
        "scheduling.k8s.io",
        "PriorityClass",
        tuple(_spec(f"{_POD_SPECS[kind]}/priorityClassName", kind) for kind in _WITH_ACCOUNT),
    ),
    (
        _ADMISSION,
        "ValidatingAdmissionPolicy",
        (_spec("spec/policyName", "ValidatingAdmissionPolicyBinding", _ADMISSION),),
    ),
)
#: Kinds whose version must be v1 to be referred to.
_V1_ONLY = {"ConfigMap", "Secret", "Service", "ServiceAccount", "PersistentVolumeClaim", "PersistentVolume"}


def follow(resources: list[Resource]) -> None:
    """Write the new names into every reference to an object whose name or namespace was changed."""
    changed = [resource for resource in resources if resource.previous]
    if not changed:
        return
    renamed = {resource.kind for resource in changed if any(past[2] != resource.name for past in resource.previous)}
    moved = {resource.kind for resource in changed}
    for group, kind, specs in REFERENCES:
        if kind not in moved:
            continue
        targets = [resource for resource in changed if _selected(resource, group, kind)]
        for spec in specs:
            # A reference by name alone has nothing to follow where only namespaces were changed.
            if kind in renamed or spec.path[-1] in ("subjects", "service"):
                _update(resources, targets, spec)


def _selected(resource: Resource, group: str, kind: str) -> bool:
    found_group, version, _unused = resource.gvk
    if (group and group != found_group) or (kind in _V1_ONLY and version != "v1"):
        return False
    return any(past[0] == kind for past in resource.previous)


def _update(resources: list[Resource], targets: list[Resource], spec: FieldSpec) -> None:
    for referrer in resources:
        if spec.selects(referrer.content):
            original = referrer.previous[0][0] if referrer.previous else referrer.kind
            if original == spec.kind:
                _walk(referrer.content, spec.path, partial(_new, referrer, spec, targets))


def _walk(value: Any, path: tuple[str, ...], new: Callable[[str, Any], Resource | None]) -> None:
    if isinstance(value, list):
        for item in value:
            _walk(item, path, new)
        return
    if not isinstance(value, dict):
        return
    found = value.get(path[0])
    if found is None:
        return
    if len(path) > 1:
        _walk(found, path[1:], new)
    elif isinstance(found, str):
        target = new(found, None)
        value[path[0]] = target.name if target else found
    elif isinstance(found, list):
        for number, item in enumerate(found):
            if isinstance(item, str):
                target = new(item, None)
                found[number] = target.name if target else item
            else:
                _mapping(item, new)
    else:
        _mapping(found, new)


def _mapping(node: Any, new: Callable[[str, Any], Resource | None]) -> None:
    if not isinstance(node, dict) or not isinstance(node.get("name"), str):
        return
    target = new(node["name"], node)
    if target is not None:
        node["name"] = target.name
        if target.namespace:
            node["namespace"] = target.namespace


def _new(referrer: Resource, spec: FieldSpec, targets: list[Resource], old: str, node: Any) -> Resource | None:
    """Return the object that a reference means, if its name was changed."""
    found = [resource for resource in targets if any(past[2] == old for past in resource.previous)]
    if isinstance(node, dict) and node.get("namespace"):
        found = _in_namespace(found, str(node["namespace"]))
    if spec.path[-2:] == ("roleRef", "name"):
        found = [resource for resource in found if _is_role(resource, referrer.content.get("roleRef"))]
    found = [resource for resource in found if _reaches(referrer, resource)]
    if len(found) > 1:
        found = [resource for resource in found if _same_affixes(referrer, resource, empty=True)]
    if len(found) > 1:
        found = [resource for resource in found if _same_affixes(referrer, resource, empty=False)]
    if len({(resource.name, resource.namespace if isinstance(node, dict) else "") for resource in found}) > 1:
        raise BuildError(f"{referrer.kind} {referrer.name} refers to {old}, which several objects were called")
    return found[0] if found else None


def _in_namespace(found: list[Resource], namespace: str) -> list[Resource]:
    originally = [resource for resource in found if resource.previous[0][1] == namespace]
    return originally or [resource for resource in found if resource.namespace == namespace]


def _is_role(resource: Resource, reference: Any) -> bool:
    if not isinstance(reference, dict) or not reference.get("apiGroup") or not reference.get("kind"):
        return True
    return resource.gvk[0] == reference["apiGroup"] and any(past[0] == reference["kind"] for past in resource.previous)


def _reaches(referrer: Resource, target: Resource) -> bool:
    mine, other = referrer.id, target.id
    if _without_namespace(mine) or _without_namespace(other) or mine.namespace == other.namespace:
        return True
    if referrer.kind != "RoleBinding" or target.kind != "ServiceAccount":
        return False
    subjects = referrer.content.get("subjects") or ()
    return any(isinstance(subject, dict) and subject.get("namespace") == target.namespace for subject in subjects)


def _without_namespace(one: Id) -> bool:
    return cluster_scoped(one.group, one.version, one.kind)


def _same_affixes(referrer: Resource, target: Resource, *, empty: bool) -> bool:
    return all(
        (empty and not (mine and other)) or mine[-len(other) :] == other or other[-len(mine) :] == mine
        for mine, other in ((referrer.prefixes, target.prefixes), (referrer.suffixes, target.suffixes))
        if mine or other
    ) and (
        empty or ((not referrer.prefixes) == (not target.prefixes) and (not referrer.suffixes) == (not target.suffixes))
    )
