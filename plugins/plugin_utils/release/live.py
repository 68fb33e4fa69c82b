# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in the cluster of an environment: the images of a component's pods. Reads only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import kinds
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.client import ApiAccess
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import (
    Object,
    condition,
    is_true,
    listed,
    mapping,
    text,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.model import Environment
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.selectors import Occurrence, Version
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.target import SshTarget

_IMAGE = re.compile(r"\bimages\[([^\]]+)\]")
_FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Image:
    """A reference to an image taken apart; `name` is in full (``docker.io/library/busybox``)."""

    name: str
    tag: str = ""
    digest: str = ""

    @property
    def registry(self) -> str:
        """Return the host that it is pulled from."""
        return self.name.partition("/")[0]


@dataclass(frozen=True)
class Container:
    """A container that runs: what its pod asks for, and the digest of what was pulled."""

    pod: str
    wanted: Image
    digest: str
    ready: bool
    restarts: int
    #: When its pod became ready, as the API server tells it ("" where it is not).
    since: str


def parse_image(reference: str) -> Image:
    """Take a reference apart, as container runtimes do."""
    rest, _at, digest = reference.partition("@")
    head, slash, last = rest.rpartition("/")
    last, _colon, tag = last.partition(":")
    return Image(full_name(f"{head}{slash}{last}"), tag, digest)


def full_name(name: str) -> str:
    """Return the name of an image with its registry."""
    first, slash, _rest = name.partition("/")
    if not slash:
        return f"docker.io/library/{name}"
    if "." in first or ":" in first or first == "localhost":
        return name
    return f"docker.io/{name}"


def image_of(one: Occurrence) -> Image | None:
    """Return the image that an occurrence makes a pod ask for."""
    return image(one.selector, one.version) if one.kind == "image" else None


def image(selector: str, version: Version) -> Image | None:
    """Return the image that a selector of images and a version mean; None for another selector."""
    found = _IMAGE.search(selector)
    if found is None:
        return None
    fields = dict(version)
    return Image(full_name(fields.get("newName") or found[1]), fields.get("newTag", ""), fields.get("digest", ""))


def images(occurrences: Iterable[Occurrence]) -> list[Image]:
    """Return all images of occurrences."""
    return list(dict.fromkeys(image for one in occurrences if (image := image_of(one)) is not None))


class Cluster:
    """The cluster of an environment. Pods and objects of Flux are read once, unless pods are asked for anew."""

    def __init__(self, environment: Environment, ssh: SshTarget | None = None, timeout: float = 10.0) -> None:
        """Name a cluster; `ssh` is the host to go through where its API server is reached by SSH only."""
        kubeconfig = Path(environment.kubeconfig or "~/.kube/config").expanduser()
        self.environment = environment
        self.session = Session(
            ApiAccess(kubeconfig, environment.context or None, "direct" if ssh is None else "ssh", ssh, timeout)
        )
        self._pods: list[dict[str, Any]] | None = None
        self._flux: dict[str, list[dict[str, Any]]] = {}

    def close(self) -> None:
        """Close the connections."""
        self.session.close()

    def silence(self) -> str:
        """Say why the API server cannot be asked, or ""."""
        try:
            self.session.get("/version")
        except KubeError as error:
            return str(error)
        return ""

    def pods(self, *, fresh: bool = False) -> list[dict[str, Any]]:
        """Return all pods. Raises KubeError."""
        if self._pods is None or fresh:
            self._pods = self.session.items("/api/v1/pods")
        return self._pods

    def flux(self, kind: str) -> list[dict[str, Any]]:
        """Return all objects of a kind of Flux; none where the cluster does not know it. Raises KubeError."""
        if kind not in self._flux:
            served = self.session.preferred(kinds.BY_NAME[kind].group, kind)
            self._flux[kind] = [] if served is None else self.session.items(served.collection())
        return self._flux[kind]

    def running(self, names: Iterable[str], namespaces: Sequence[str] = (), *, fresh: bool = False) -> list[Container]:
        """Return the containers of images called `names` in pods that have not ended. Raises KubeError."""
        return containers(self.pods(fresh=fresh), set(names), namespaces)


def containers(pods: Iterable[Object], names: set[str], namespaces: Sequence[str]) -> list[Container]:
    """Return the containers of images called `names`. Pure."""
    found = []
    for pod in pods:
        namespace = text(pod, "metadata", "namespace")
        if (namespaces and namespace not in namespaces) or text(pod, "metadata", "deletionTimestamp"):
            continue
        if text(pod, "status", "phase") in _FINISHED:
            continue
        states = {
            text(state, "name"): state
            for key in ("containerStatuses", "initContainerStatuses")
            for state in listed(pod, "status", key)
        }
        for container in [*listed(pod, "spec", "containers"), *listed(pod, "spec", "initContainers")]:
            wanted = parse_image(text(container, "image"))
            if wanted.name not in names:
                continue
            state: Mapping[str, Any] = states.get(text(container, "name"), {})
            ready = condition(pod, "Ready")
            found.append(
                Container(
                    f"{namespace}/{text(pod, 'metadata', 'name')}",
                    wanted,
                    text(state, "imageID").rpartition("@")[2] if "@" in text(state, "imageID") else "",
                    is_true(ready),
                    int(mapping(state).get("restartCount") or 0),
                    text(ready, "lastTransitionTime") if is_true(ready) else "",
                )
            )
    return found


def running_digests(found: Iterable[Container], image: Image) -> list[str]:
    """Return the digests that ready containers of an image run at its tag."""
    return sorted(
        {
            one.digest
            for one in found
            if one.ready and one.digest and one.wanted.name == image.name and image.tag in ("", one.wanted.tag)
        }
    )
