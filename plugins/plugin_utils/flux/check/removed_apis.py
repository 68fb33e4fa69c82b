# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""API versions and fields that are gone, each with what to write instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.resources import Object, group_version


class Removed(NamedTuple):
    """A version of a group that is not served any more; no kinds stands for all. `since` is a Kubernetes minor or empty."""

    api_version: str
    kinds: tuple[str, ...]
    since: str
    instead: str


_INGRESS = "networking.k8s.io/v1 (backend becomes service.name and service.port, and pathType is required)"
REMOVED = (
    Removed("extensions/v1beta1", ("Ingress",), "1.22", _INGRESS),
    Removed("extensions/v1beta1", ("NetworkPolicy",), "1.16", "networking.k8s.io/v1"),
    Removed("extensions/v1beta1", ("PodSecurityPolicy",), "1.16", "the labels pod-security.kubernetes.io/enforce of namespaces"),
    Removed("extensions/v1beta1", (), "1.16", "apps/v1"),
    Removed("apps/v1beta1", (), "1.16", "apps/v1"),
    Removed("apps/v1beta2", (), "1.16", "apps/v1"),
    Removed("networking.k8s.io/v1beta1", ("Ingress",), "1.22", _INGRESS),
    Removed("networking.k8s.io/v1beta1", ("IngressClass",), "1.22", "networking.k8s.io/v1"),
    Removed("policy/v1beta1", ("PodDisruptionBudget",), "1.25", "policy/v1"),
    Removed("policy/v1beta1", ("PodSecurityPolicy",), "1.25", "the labels pod-security.kubernetes.io/enforce of namespaces"),
    Removed("batch/v1beta1", (), "1.25", "batch/v1"),
    Removed("batch/v2alpha1", (), "1.21", "batch/v1"),
    Removed("autoscaling/v2beta1", (), "1.25", "autoscaling/v2"),
    Removed("autoscaling/v2beta2", (), "1.26", "autoscaling/v2"),
    Removed("rbac.authorization.k8s.io/v1alpha1", (), "1.22", "rbac.authorization.k8s.io/v1"),
    Removed("rbac.authorization.k8s.io/v1beta1", (), "1.22", "rbac.authorization.k8s.io/v1"),
    Removed(
        "admissionregistration.k8s.io/v1beta1",
        ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"),
        "1.22",
        "admissionregistration.k8s.io/v1 (sideEffects and admissionReviewVersions are required)",
    ),
    Removed("apiextensions.k8s.io/v1beta1", (), "1.22", "apiextensions.k8s.io/v1 (with a schema for each version)"),
    Removed("apiregistration.k8s.io/v1beta1", (), "1.22", "apiregistration.k8s.io/v1"),
    Removed("certificates.k8s.io/v1beta1", ("CertificateSigningRequest",), "1.22", "certificates.k8s.io/v1"),
    Removed("coordination.k8s.io/v1beta1", ("Lease",), "1.22", "coordination.k8s.io/v1"),
    Removed("scheduling.k8s.io/v1beta1", (), "1.22", "scheduling.k8s.io/v1"),
    Removed("storage.k8s.io/v1beta1", ("CSIStorageCapacity",), "1.27", "storage.k8s.io/v1"),
    Removed("storage.k8s.io/v1beta1", ("CSIDriver", "CSINode", "StorageClass", "VolumeAttachment"), "1.22", "storage.k8s.io/v1"),
    Removed("discovery.k8s.io/v1beta1", (), "1.25", "discovery.k8s.io/v1"),
    Removed("events.k8s.io/v1beta1", (), "1.25", "events.k8s.io/v1"),
    Removed("node.k8s.io/v1beta1", (), "1.25", "node.k8s.io/v1"),
    Removed("flowcontrol.apiserver.k8s.io/v1beta1", (), "1.26", "flowcontrol.apiserver.k8s.io/v1"),
    Removed("flowcontrol.apiserver.k8s.io/v1beta2", (), "1.29", "flowcontrol.apiserver.k8s.io/v1"),
    Removed("flowcontrol.apiserver.k8s.io/v1beta3", (), "1.32", "flowcontrol.apiserver.k8s.io/v1"),
    *(
        Removed(f"{group}/{version}", kinds, "", f"{group}/{instead}")
        for group, versions, kinds, instead in (
            ("source.toolkit.fluxcd.io", ("v1alpha1", "v1beta1", "v1beta2"), (), "v1"),
            ("kustomize.toolkit.fluxcd.io", ("v1alpha1", "v1beta1", "v1beta2"), (), "v1"),
            ("helm.toolkit.fluxcd.io", ("v2alpha1", "v2beta1", "v2beta2"), (), "v2"),
            ("image.toolkit.fluxcd.io", ("v1alpha1", "v1alpha2", "v1beta1", "v1beta2"), (), "v1"),
            ("notification.toolkit.fluxcd.io", ("v1beta1", "v1beta2"), ("Alert", "Provider"), "v1beta3"),
            ("notification.toolkit.fluxcd.io", ("v1beta1", "v1beta2", "v1beta3"), ("Receiver",), "v1"),
            ("notification.toolkit.fluxcd.io", ("v1",), ("Alert", "Provider"), "v1beta3"),
            ("external-secrets.io", ("v1alpha1", "v1beta1"), (), "v1"),
            ("cert-manager.io", ("v1alpha2", "v1alpha3", "v1beta1"), (), "v1"),
        )
        for version in versions
    ),
)  # fmt: skip
_BY_VERSION: dict[str, list[Removed]] = {}
for _removed in REMOVED:
    _BY_VERSION.setdefault(_removed.api_version, []).append(_removed)

#: Fields of kustomization files that kustomize still reads and will drop.
DEPRECATED_FIELDS = {
    "bases": "resources",
    "commonLabels": "labels (with includeSelectors: true, if the selectors shall have them)",
    "imageTags": "images",
    "patchesJson6902": "patches (the same entries)",
    "patchesStrategicMerge": "patches (an entry - path: FILE for each)",
    "vars": "replacements",
}
#: Fields that are gone, by kind: (group, kind), path, what to write instead.
REMOVED_FIELDS: dict[tuple[str, str], tuple[tuple[tuple[str, ...], str], ...]] = {
    ("kustomize.toolkit.fluxcd.io", "Kustomization"): (
        (("spec", "patchesStrategicMerge"), "spec.patches (an entry with patch: | for each)"),
        (("spec", "patchesJson6902"), "spec.patches (with the same target, and patch as text)"),
        (("spec", "validation"), "nothing: every apply is checked by the API server"),
    ),
    ("fluxcd.controlplane.io", "ResourceSetInputProvider"): (
        (("spec", "filter", "pattern"), "spec.filter.includeTag or includeBranch (a regular expression), and limit: 1"),
    ),
    ("helm.toolkit.fluxcd.io", "HelmRelease"): (
        (("spec", "chart", "spec", "valuesFile"), "spec.chart.spec.valuesFiles (a list)"),
    ),
}


def removed(content: Object, kubernetes: str) -> Removed | None:
    """Return why an object's API version is not served by a Kubernetes minor version and today's controllers, if so."""
    kind = str(content.get("kind"))
    for one in _BY_VERSION.get(str(content.get("apiVersion")), ()):
        if (not one.kinds or kind in one.kinds) and (not one.since or _number(one.since) <= _number(kubernetes)):
            return one
    return None


def removed_fields(content: Object) -> Iterator[tuple[tuple[str, ...], str]]:
    """Return the fields of an object that are gone, and what to write instead."""
    group, _unused = group_version(str(content.get("apiVersion") or ""))
    for path, instead in REMOVED_FIELDS.get((group, str(content.get("kind"))), ()):
        value: Any = content
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None:
            yield path, instead


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
