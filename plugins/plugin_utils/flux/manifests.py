# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the manifests of a Flux release to the objects of one installation: a pure function of both.

Arguments of the controllers are found by their names, never by their place.
"""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Object = dict[str, Any]

REQUIRED = ("source-controller", "kustomize-controller")
COMPONENTS = (*REQUIRED, "helm-controller", "notification-controller")
_COMMON = ("rbac.yaml", "policies.yaml")
_NAMESPACED = ("Deployment", "NetworkPolicy", "ResourceQuota", "Service", "ServiceAccount")
_ORDER = (
    "Namespace",
    "ResourceQuota",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "ServiceAccount",
    "NetworkPolicy",
    "Service",
    "Deployment",
)
_MEBI = 1 << 20
_SMALLEST_SCRATCH = 256
#: What `gotk-components.yaml` and the packed repository beside the unpacked one take, in bytes, generously.
_OWN_FILES = 2 * _MEBI
_QUANTITY = re.compile(r"([0-9]+)([MG])i")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass(frozen=True)
class Installation:
    """How Flux is to be installed. `version` is with its "v"; `scratch` is the size of kustomize-controller's memory-backed /tmp.

    `concurrency` is how many Kustomizations are worked on at the same time.
    """

    version: str
    components: tuple[str, ...] = COMPONENTS
    namespace: str = "flux-system"
    registry: str = "ghcr.io/fluxcd"
    cluster_domain: str = "cluster.local"
    network_policy: bool = True
    image_pull_secret: str = ""
    tolerations: tuple[str, ...] = ()
    log_level: str = "info"
    concurrency: int = 4
    scratch: str = "256Mi"

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        problems = [
            f"component {name} is missing, nothing works without it" for name in REQUIRED if name not in self.components
        ]
        unknown = [name for name in self.components if name not in COMPONENTS]
        if unknown:
            problems.append(f"unknown components {', '.join(unknown)}: there are {', '.join(COMPONENTS)}")
        if self.concurrency < 1:
            problems.append(f"concurrency is {self.concurrency}, wanted at least 1")
        if problems:
            raise FluxError("Flux cannot be installed like this: " + "; ".join(problems) + ".")


def concurrency_for(kustomizations: int) -> int:
    """Workers of kustomize-controller for a repository with so many Flux Kustomizations.

    Each costs 0.1 s of processor time in a new revision, and waits for its health checks while it holds a worker.
    """
    if kustomizations <= 20:
        return 4
    return 8 if kustomizations <= 100 else 20


def scratch_for(concurrency: int, unpacked: int) -> str:
    """Size of kustomize-controller's scratch space for a repository of so many bytes unpacked, as a quantity.

    Each worker unpacks the repository for itself. A power of two, so that not every push changes it.
    """
    mebibytes = concurrency * (unpacked + _OWN_FILES) / _MEBI
    size = _SMALLEST_SCRATCH
    while size < mebibytes:
        size *= 2
    return f"{size}Mi"


def read_release(archive: Path) -> dict[str, str]:
    """Read the release asset ``manifests.tar.gz``: its YAML files by name."""
    try:
        with tarfile.open(archive, "r:gz") as opened:
            members = [member for member in opened if member.isfile()]
            read = {member.name.removeprefix("./"): opened.extractfile(member) for member in members}
            return {name: file.read().decode() for name, file in read.items() if file is not None}
    except (OSError, tarfile.TarError, UnicodeDecodeError) as error:
        raise FluxError(f"{archive}: wanted Flux's manifests.tar.gz, found something else: {error}") from error


def build(release: Mapping[str, str], wanted: Installation) -> list[Object]:
    """Return the objects of an installation, in the order in which they can be applied."""
    files = [f"{name}.yaml" for name in wanted.components] + [
        name for name in _COMMON if wanted.network_policy or name != "policies.yaml"
    ]
    missing = [name for name in files if name not in release]
    if missing:
        raise FluxError(
            f"the manifests of Flux {wanted.version} lack {', '.join(missing)}; they have {', '.join(sorted(release))}."
            " Take a component out, or use a mirror that has upstream's own file."
        )
    objects = [_namespace(wanted)]
    for name in files:
        documents = yaml.load_all(release[name], Loader=_LOADER)
        objects += [_adapted(item, wanted) for item in documents if item is not None]
    unknown = sorted({item["kind"] for item in objects} - set(_ORDER))
    if unknown:
        raise FluxError(
            f"the manifests of Flux {wanted.version} hold kinds that are not known here: {', '.join(unknown)}."
        )
    return sorted(objects, key=lambda item: _ORDER.index(item["kind"]))


def to_yaml(objects: Iterable[Mapping[str, Any]], comment: str = "") -> str:
    """Write objects as one YAML text, the same bytes for the same objects."""
    texts = [yaml.dump(item, Dumper=_DUMPER, sort_keys=True, width=4096) for item in objects]
    return (f"# {comment}\n" if comment else "") + "".join(f"---\n{text}" for text in texts)


def _namespace(wanted: Installation) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": wanted.namespace,
            "labels": {
                **_labels(wanted),
                "pod-security.kubernetes.io/warn": "restricted",
                "pod-security.kubernetes.io/warn-version": "latest",
            },
        },
    }


def _labels(wanted: Installation) -> dict[str, str]:
    return {
        "app.kubernetes.io/instance": wanted.namespace,
        "app.kubernetes.io/part-of": "flux",
        "app.kubernetes.io/version": wanted.version,
    }


def _adapted(item: Object, wanted: Installation) -> Object:
    metadata = item["metadata"]
    metadata["labels"] = {**metadata.get("labels", {}), **_labels(wanted)}
    if item["kind"] in _NAMESPACED:
        metadata["namespace"] = wanted.namespace
    if item["kind"] in ("ClusterRole", "ClusterRoleBinding"):
        metadata["name"] += f"-{wanted.namespace}"
    if item["kind"] == "ClusterRoleBinding":
        _bind(item, wanted)
    if item["kind"] == "Deployment":
        _deploy(item, wanted)
    return item


def _bind(item: Object, wanted: Installation) -> None:
    # cluster-admin is Kubernetes' own; every other role is one of these manifests, and was renamed with them
    if item["roleRef"]["name"] != "cluster-admin":
        item["roleRef"]["name"] += f"-{wanted.namespace}"
    item["subjects"] = [
        {**subject, "namespace": wanted.namespace}
        for subject in item["subjects"]
        if subject["name"] in wanted.components
    ]


def _deploy(item: Object, wanted: Installation) -> None:
    name = item["metadata"]["name"]
    template = item["spec"]["template"]
    template["metadata"]["labels"] = {**template["metadata"].get("labels", {}), **_labels(wanted)}
    spec = template["spec"]
    spec["nodeSelector"] = {"kubernetes.io/os": "linux"}
    if wanted.image_pull_secret:
        spec["imagePullSecrets"] = [{"name": wanted.image_pull_secret}]
    if wanted.tolerations:
        spec["tolerations"] = [{"key": key, "operator": "Exists"} for key in wanted.tolerations]
    for container in spec["containers"]:
        container["image"] = f"{wanted.registry}/{container['image'].removeprefix('fluxcd/')}"
        arguments = _arguments(name, wanted)
        kept = [a for a in container["args"] if a.partition("=")[0] not in arguments]
        container["args"] = [*(f"{flag}={value}" for flag, value in arguments.items()), *kept]
    if name == "kustomize-controller":
        for volume in spec["volumes"]:
            if "emptyDir" in volume:
                volume["emptyDir"] = {"medium": "Memory", "sizeLimit": wanted.scratch}
        for container in spec["containers"]:
            _make_room(container, wanted.scratch)


def _make_room(container: Object, scratch: str) -> None:
    """Raise a memory limit by what the scratch space has beyond the usual: what is in it counts as the container's."""
    limits = container.get("resources", {}).get("limits", {})
    limit, wanted = (_QUANTITY.fullmatch(str(text)) for text in (limits.get("memory"), scratch))
    if limit and wanted:
        had, more = (int(found[1]) * (1024 if found[2] == "G" else 1) for found in (limit, wanted))
        if more > _SMALLEST_SCRATCH:
            limits["memory"] = f"{had + more - _SMALLEST_SCRATCH}Mi"


def _arguments(name: str, wanted: Installation) -> dict[str, str]:
    """Return the arguments of a controller that differ from its manifest, by flag."""
    services = f"$(RUNTIME_NAMESPACE).svc.{wanted.cluster_domain}."
    arguments = {"--watch-all-namespaces": "true", "--log-level": wanted.log_level}
    if name != "notification-controller":
        heard = "notification-controller" in wanted.components
        arguments["--events-addr"] = f"http://notification-controller.{services}/" if heard else ""
    if name == "source-controller":
        arguments["--storage-adv-addr"] = f"{name}.{services}"
    if name == "kustomize-controller":
        arguments["--concurrent"] = str(wanted.concurrency)
        arguments["--requeue-dependency"] = "5s"
    if name in ("kustomize-controller", "helm-controller"):
        # a new revision ends the wait for the health of the one before
        arguments["--feature-gates"] = "CancelHealthCheckOnNewRevision=true"
    return arguments
