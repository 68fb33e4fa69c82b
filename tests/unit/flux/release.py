# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests of a release, cut down to what is changed on the way to an installation."""

from __future__ import annotations

IMAGES = {
    "source-controller": "v1.9.4",
    "kustomize-controller": "v1.9.4",
    "helm-controller": "v1.6.3",
    "notification-controller": "v1.9.3",
}
DEFINITIONS = {
    "source-controller": ("gitrepositories", "GitRepository", "source.toolkit.fluxcd.io", "v1"),
    "kustomize-controller": ("kustomizations", "Kustomization", "kustomize.toolkit.fluxcd.io", "v1"),
    "helm-controller": ("helmreleases", "HelmRelease", "helm.toolkit.fluxcd.io", "v2"),
    "notification-controller": ("receivers", "Receiver", "notification.toolkit.fluxcd.io", "v1"),
}

_COMPONENT = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: {plural}.{group}
  labels: {{app.kubernetes.io/component: {name}}}
spec:
  group: {group}
  names: {{kind: {kind}, plural: {plural}}}
  versions: [{{name: {version}, served: true, storage: true}}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}}}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
        - name: manager
          image: fluxcd/{name}:{tag}
          args: [--watch-all-namespaces, {events}--log-level=info, --enable-leader-election]
      volumes: [{{name: temp, emptyDir: {{}}}}]
"""
_ROLES = """\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: crd-controller}
rules: []
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: crd-controller}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: crd-controller}
subjects:
  - {kind: ServiceAccount, name: kustomize-controller, namespace: flux-system}
  - {kind: ServiceAccount, name: helm-controller, namespace: flux-system}
  - {kind: ServiceAccount, name: source-controller, namespace: flux-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: cluster-reconciler}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: kustomize-controller, namespace: flux-system}]
"""
_POLICIES = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow-egress}
spec: {podSelector: {}, policyTypes: [Ingress]}
"""


def _events(name: str) -> str:
    address = "http://notification-controller.flux-system.svc.cluster.local./"
    return "" if name == "notification-controller" else f"--events-addr={address}, "


RELEASE: dict[str, str] = {
    **{
        f"{name}.yaml": _COMPONENT.format(
            name=name, tag=tag, plural=plural, kind=kind, group=group, version=version, events=_events(name)
        )
        for (name, tag), (plural, kind, group, version) in zip(IMAGES.items(), DEFINITIONS.values(), strict=True)
    },
    "rbac.yaml": _ROLES,
    "policies.yaml": _POLICIES,
}
