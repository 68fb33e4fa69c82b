# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A GitOps repository of any size: each application is one Flux Kustomization, one overlay, ten files."""

from __future__ import annotations

from pathlib import Path

FILES_PER_APPLICATION = 10
CLUSTER = "clusters/production"

_SYNC = """\
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata:
  name: flux-system
  namespace: flux-system
spec:
  interval: 1m0s
  url: ssh://git@git.example.com/infra.git
  ref:
    branch: main
  secretRef:
    name: flux-system
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: flux-system
  namespace: flux-system
spec:
  interval: 10m0s
  path: ./clusters/production
  prune: true
  sourceRef:
    kind: GitRepository
    name: flux-system
"""
_APPLICATION = {
    "clusters/production/applications/{name}.yaml": """\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: {name}
  namespace: flux-system
spec:
  interval: 60m0s
  retryInterval: 2m0s
  timeout: 3m0s
  path: ./applications/{name}
  prune: true
  wait: true
  sourceRef:
    kind: GitRepository
    name: flux-system
  postBuild:
    substitute:
      domain: example.com
    substituteFrom:
      - kind: ConfigMap
        name: cluster
{depends_on}""",
    "applications/{name}/kustomization.yaml": """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: {name}
labels:
  - pairs:
      app.kubernetes.io/part-of: {name}
resources:
  - namespace.yaml
  - deployment.yaml
  - service.yaml
  - ingress.yaml
  - autoscaler.yaml
  - serviceaccount.yaml
  - networkpolicy.yaml
images:
  - name: registry.example.com/{name}
    newTag: 1.4.2
configMapGenerator:
  - name: settings
    envs:
      - settings.env
patches:
  - target:
      kind: Deployment
      name: web
    patch: |-
      apiVersion: apps/v1
      kind: Deployment
      metadata:
        name: web
      spec:
        template:
          spec:
            containers:
              - name: web
                resources:
                  limits:
                    memory: 256Mi
""",
    "applications/{name}/namespace.yaml": "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n",
    "applications/{name}/deployment.yaml": """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels:
    app: web
spec:
  replicas: 2
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
    spec:
      serviceAccountName: web
      securityContext:
        runAsNonRoot: true
      containers:
        - name: web
          image: registry.example.com/{name}:1.0.0
          envFrom:
            - configMapRef:
                name: settings
          ports:
            - name: http
              containerPort: 8080
          readinessProbe:
            httpGet:
              path: /ready
              port: http
          resources:
            requests:
              cpu: 50m
              memory: 64Mi
            limits:
              memory: 128Mi
""",
    "applications/{name}/service.yaml": """\
apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector:
    app: web
  ports:
    - name: http
      port: 80
      targetPort: http
""",
    "applications/{name}/ingress.yaml": """\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
spec:
  rules:
    - host: {name}.${{domain}}
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: web
                port:
                  name: http
""",
    "applications/{name}/autoscaler.yaml": """\
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: web
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: web
  minReplicas: 2
  maxReplicas: ${{replicas_most}}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: 80
""",
    "applications/{name}/serviceaccount.yaml": "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: web\n",
    "applications/{name}/networkpolicy.yaml": """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web
spec:
  podSelector:
    matchLabels:
      app: web
  policyTypes:
    - Ingress
  ingress:
    - ports:
        - port: 8080
""",
    "applications/{name}/settings.env": "LOG_LEVEL=info\nGREETING=hello from {name}\n",
}


def application(number: int) -> str:
    """Return the name of the application of a number."""
    return f"app-{number:04}"


def write(root: Path, applications: int) -> list[str]:
    """Write the repository; return the overlays' directories, which `kustomize build` takes one by one."""
    flux = root / CLUSTER / "flux-system"
    flux.mkdir(parents=True)
    (flux / "gotk-sync.yaml").write_text(_SYNC)
    (flux / "kustomization.yaml").write_text("resources:\n  - gotk-sync.yaml\n")
    (root / CLUSTER / "cluster.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: cluster\n  namespace: flux-system\n"
        'data:\n  region: eu\n  replicas_most: "5"\n'
    )
    (root / CLUSTER / "applications").mkdir()
    overlays = []
    for number in range(applications):
        name = application(number)
        depends_on = f"  dependsOn:\n    - name: {application(number - 1)}\n" if number % 10 else ""
        (root / "applications" / name).mkdir(parents=True)
        for path, text in _APPLICATION.items():
            (root / path.format(name=name)).write_text(text.format(name=name, depends_on=depends_on))
        overlays.append(f"applications/{name}")
    return overlays


def change(root: Path, applications: int, share: float, turn: int) -> None:
    """Change one file of a share of the applications, another text each turn."""
    for number in range(0, applications, round(1 / share)):
        path = root / "applications" / application(number) / "settings.env"
        path.write_text(f"LOG_LEVEL=info\nGREETING=hello number {turn}\n")
