# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Overlays by chance: bases, components and overlays that use every feature which the builder does itself."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
IMAGES = ("nginx", "registry.example.com:5000/team/web", "busybox")
NAMES = ("web", "api", "worker")


class Chance:
    """Makes one repository from one seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def some(self, chance: float = 0.5) -> bool:
        return self.random.random() < chance

    def image(self) -> str:
        name = self.random.choice(IMAGES)
        return name + self.random.choice(("", ":1.2", ":1.2@sha256:0a", "@sha256:0a"))

    def container(self, name: str) -> Object:
        found: Object = {"name": name, "image": self.image()}
        if self.some():
            found["env"] = [{"name": key, "value": str(number)} for number, key in enumerate(("A", "B", "C"))]
            found["env"].append({"name": "D", "valueFrom": {"secretKeyRef": {"name": "credentials", "key": "x"}}})
        if self.some():
            found["envFrom"] = [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "credentials"}}]
        if self.some():
            protocol = {"protocol": "TCP"} if self.some(0.3) else {}
            found["ports"] = [{"containerPort": port, **protocol} for port in (80, 81)]
        if self.some():
            found["volumeMounts"] = [{"name": "config", "mountPath": "/etc/a"}, {"name": "tmp", "mountPath": "/tmp"}]
        if self.some():
            found["args"] = ["--one", "--two"]
        return found

    def pod(self, name: str) -> Object:
        spec: Object = {"containers": [self.container(name)]}
        if self.some():
            spec["containers"].append(self.container("side"))
        if self.some(0.3):
            spec["initContainers"] = [self.container("init")]
        if self.some():
            spec["serviceAccountName"] = name
        if self.some():
            spec["volumes"] = [{"name": "config", "configMap": {"name": "settings"}}, {"name": "tmp", "emptyDir": {}}]
            spec["volumes"].append({"name": "keys", "projected": {"sources": [{"secret": {"name": "credentials"}}]}})
        if self.some(0.3):
            term = {"labelSelector": {"matchLabels": {"app": name}}, "topologyKey": "kubernetes.io/hostname"}
            spec["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
        if self.some(0.3):
            spec["tolerations"] = [{"key": "a", "operator": "Exists"}]
        return spec

    def workload(self, kind: str, name: str) -> Object:
        template = {"metadata": {"labels": {"app": name}}, "spec": self.pod(name)}
        spec: Object = {"selector": {"matchLabels": {"app": name}}, "template": template}
        if kind == "StatefulSet":
            spec["serviceName"] = name
            spec["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": {"storageClassName": "fast"}}]
        if kind != "DaemonSet":
            spec["replicas"] = 1
        return {"apiVersion": "apps/v1", "kind": kind, "metadata": self.metadata(name), "spec": spec}

    def metadata(self, name: str) -> Object:
        found: Object = {"name": name}
        if self.some(0.3):
            found["labels"] = {"tier": "front"}
        if self.some(0.2):
            found["annotations"] = {"note": "yes", "number": "1"}
        return found

    def others(self, name: str) -> list[Object]:
        rbac = "rbac.authorization.k8s.io"
        job = {"template": {"spec": {**self.pod(name), "restartPolicy": "Never"}}}
        backend = {"service": {"name": name, "port": {"number": 80}}}
        path = {"path": "/", "pathType": "Prefix", "backend": backend}
        subjects = [{"kind": "ServiceAccount", "name": name}, {"kind": "ServiceAccount", "name": "default"}]
        role = {"apiGroup": rbac, "kind": "Role", "name": name}
        rules = [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["credentials"], "verbs": ["get"]}]
        scale = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        peer = {"podSelector": {"matchLabels": {"app": name}}}
        every: list[Object] = [
            {"apiVersion": "v1", "kind": "Service", "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}},
            {"apiVersion": "v1", "kind": "ServiceAccount", "imagePullSecrets": [{"name": "credentials"}]},
            {"apiVersion": "v1", "kind": "Namespace"},
            {"apiVersion": f"{rbac}/v1", "kind": "Role", "rules": rules},
            {"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "roleRef": role, "subjects": subjects},
            {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "rules": rules},
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "ClusterRoleBinding",
                "roleRef": {**role, "kind": "ClusterRole"},
                "subjects": subjects,
            },
            {"apiVersion": "batch/v1", "kind": "Job", "spec": job},
            {"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"schedule": "@daily", "jobTemplate": {"spec": job}}},
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "Ingress",
                "spec": {
                    "tls": [{"secretName": "credentials", "hosts": ["a.example.com"]}],
                    "rules": [{"host": "a.example.com", "http": {"paths": [path]}}],
                },
            },
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "spec": {**peer, "ingress": [{"from": [peer]}]},
            },
            {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "spec": {"scaleTargetRef": scale, "maxReplicas": 3},
            },
            {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": {"selector": peer["podSelector"]}},
            {
                "apiVersion": "example.com/v1",
                "kind": "Widget",
                "spec": {"items": [{"name": "a"}, {"name": "b"}], "x": {"y": 1}},
            },
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "provisioner": "example.com/disk",
                "parameters": {"secretName": "credentials"},
            },
        ]
        chosen = [one for one in every if self.some(0.4)]
        return [{**one, "metadata": {**self.metadata(name), **one.get("metadata", {})}} for one in chosen]

    def base(self) -> tuple[list[Object], Object]:
        objects: list[Object] = []
        for name in self.random.sample(NAMES, self.random.randint(1, 3)):
            objects.append(self.workload(self.random.choice(("Deployment", "StatefulSet", "DaemonSet")), name))
            objects += self.others(name)
        kustomization: Object = {"resources": ["objects.yaml"]}
        if self.some(0.7):
            kustomization["configMapGenerator"] = [self.generator("settings")]
        if self.some(0.7):
            kustomization["secretGenerator"] = [{**self.generator("credentials"), "type": "Opaque"}]
        if self.some(0.2):
            kustomization["generatorOptions"] = {"labels": {"generated": "yes"}, "disableNameSuffixHash": self.some()}
        return objects, kustomization

    def generator(self, name: str) -> Object:
        found: Object = {
            "name": name,
            "literals": ["A=1", "B='<quoted> & more'", f"C={'x' * self.random.randint(0, 120)}"],
        }
        if self.some():
            found["envs"] = ["values.env"]
        if self.some():
            found["files"] = ["text.txt", "renamed=binary.dat"]
        if self.some(0.2):
            found["options"] = {"annotations": {"a": "b"}, "immutable": True}
        if self.some(0.2):
            found["namespace"] = "fixed"
        return found

    def transformers(self, objects: list[Object], *, generated: bool) -> Object:
        found: Object = {}
        choices: dict[str, Any] = {
            "namespace": "production",
            "namePrefix": "pre-",
            "nameSuffix": "-suf",
            "commonAnnotations": {"owner": "team", "count": "1"},
            "commonLabels": {"environment": "production"},
            "labels": [{"pairs": {"a": "b"}, "includeSelectors": self.some(0.3), "includeTemplates": self.some()}],
            "images": [
                {
                    "name": self.random.choice(IMAGES),
                    **self.random.choice(({"newTag": "2"}, {"digest": "sha256:ff"}, {"newName": "other/name"})),
                }
            ],
            "patches": [self.patch(one) for one in self.random.sample(objects, min(2, len(objects)))],
        }
        for key, value in choices.items():
            if self.some(0.4):
                found[key] = value
        workloads = [one for one in objects if one["kind"] in ("Deployment", "StatefulSet")]
        if workloads and self.some(0.3):
            found["replicas"] = [{"name": workloads[0]["metadata"]["name"], "count": 4}]
        if generated and self.some(0.4):
            behavior = self.random.choice(("merge", "replace"))
            found["configMapGenerator"] = [{"name": "settings", "behavior": behavior, "literals": ["A=2", "Z=3"]}]
        return found

    def patch(self, target: Object) -> Object:
        identity = {
            "apiVersion": target["apiVersion"],
            "kind": target["kind"],
            "metadata": {"name": target["metadata"]["name"]},
        }
        content: Object = {**identity, "metadata": {**identity["metadata"], "labels": {"patched": "yes"}}}
        if "labels" in target["metadata"]:
            content["metadata"]["labels"]["tier"] = None
        spec = target.get("spec") or {}
        if "template" in spec and target["apiVersion"] == "apps/v1":
            content["spec"] = {"template": {"spec": self.pod_patch(spec["template"]["spec"])}}
        elif target["kind"] == "Widget":
            content["spec"] = {"items": [{"name": "c"}], "x": None}
        elif target["kind"] == "Service":
            content["spec"] = {"ports": [{"port": 81, "name": "more"}, {"port": 80, "targetPort": 8080}]}
        selector = {"kind": target["kind"], "name": target["metadata"]["name"]}
        if self.some(0.3):
            operations: list[Object] = [
                {"op": "add", "path": "/metadata/annotations", "value": {"json": "patch"}},
                {"op": "replace", "path": "/metadata/annotations/json", "value": "again"},
                {"op": "copy", "from": "/metadata/annotations/json", "path": "/metadata/annotations/a~1b"},
            ]
            if "template" in spec:
                path = "/spec/template/spec/containers/-"
                operations.append({"op": "add", "path": path, "value": {"name": "json", "image": "busybox"}})
                operations.append({"op": "remove", "path": "/spec/template/spec/containers/0/image"})
            return {"target": selector, "patch": yaml.safe_dump(operations)}
        if self.some(0.1):
            return {"patch": yaml.safe_dump({**identity, "$patch": "delete"})}
        if self.some(0.4):
            content["metadata"] = {
                "name": "ignored",
                **{key: value for key, value in content["metadata"].items() if key != "name"},
            }
            return {
                "target": {**selector, "name": ".*"} if self.some(0.3) else selector,
                "patch": yaml.safe_dump(content),
            }
        return {"patch": yaml.safe_dump(content)}

    def pod_patch(self, pod: Object) -> Object:
        name = pod["containers"][0]["name"]
        container: Object = {"name": name, "env": [{"name": "B", "value": "new"}, {"name": "E", "value": "5"}]}
        if self.some():
            container["args"] = ["--three"]
        if self.some():
            container["resources"] = {"limits": {"memory": "64Mi"}, "requests": None}
        if self.some(0.3):
            container["volumeMounts"] = [
                {"name": "more", "mountPath": "/more"},
                {"mountPath": "/tmp", "readOnly": True},
            ]
        if self.some(0.3):
            container["ports"] = [{"containerPort": 81, "name": "admin"}, {"containerPort": 82}]
        found: Object = {"containers": [container]}
        if self.some(0.3):
            found["containers"].append({"name": "side", "$patch": "delete"})
        if self.some(0.3):
            found["containers"].append({"name": "new", "image": "new:1"})
        if self.some(0.3):
            found["tolerations"] = [{"key": "b"}]
        if self.some(0.3):
            found["volumes"] = [
                {"name": "more", "emptyDir": {"medium": "Memory"}},
                {"name": "config", "$patch": "delete"},
            ]
        if self.some(0.2):
            found["affinity"] = {"$patch": "replace", "nodeAffinity": {}}
        return found

    def write(self, root: Path) -> None:
        """Write base, component and overlays; the overlays are `one` and `two`, which holds `one`."""
        objects, base = self.base()
        self.put(root / "base", base, objects)
        for directory in ("base", "one"):
            (root / directory).mkdir(exist_ok=True)
            (root / directory / "values.env").write_text('# comment\nD=4\n  E="five"\nF=\n')
            (root / directory / "text.txt").write_text("one line\nanother é\n")
            (root / directory / "binary.dat").write_bytes(b"\xff\xfe" + b"binary" * 20)
        generated = "configMapGenerator" in base and "namespace" not in base["configMapGenerator"][0]
        one = {"resources": ["../base"], **self.transformers(objects, generated=generated)}
        if self.some(0.4):
            component = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component"}
            component.update(self.transformers(objects, generated=False))
            self.put(root / "component", component, [])
            one["components"] = ["../component"]
        self.put(root / "one", one, [])
        two: Object = {"resources": ["../one"], "namePrefix": "two-"} if self.some(0.3) else {"resources": ["../one"]}
        two.update({key: value for key, value in self.transformers(objects, generated=False).items() if key in _OUTER})
        self.put(root / "two", two, [])

    def put(self, directory: Path, kustomization: Object, objects: list[Object]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        if objects:
            (directory / "objects.yaml").write_text(yaml.safe_dump_all(objects))


_OUTER = ("namespace", "namePrefix", "nameSuffix", "commonLabels", "commonAnnotations", "labels", "images")
