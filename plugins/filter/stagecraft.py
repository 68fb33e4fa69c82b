# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for roles: what the artefact catalogue says, external secrets, TOML, and the first subnet of a range."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import plain
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import missing
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import load_catalogue
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import ArtifactError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.source import Settings
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.transport import Transport
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.external_secrets.render import DeclarationError, render

try:
    import tomli_w
except ImportError as error:
    tomli_w = missing("tomli_w", error)

#: The images that only a control plane runs; every other one may be scheduled anywhere.
CONTROL_PLANE_IMAGES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd-image")


def external_secrets(
    stores: list[dict[str, Any]], secrets: list[dict[str, Any]], environment: str
) -> list[dict[str, Any]]:
    """SecretStores and ExternalSecrets of what was declared, stores first."""
    try:
        return render(plain(environment), plain(stores), plain(secrets))
    except DeclarationError as error:
        raise AnsibleFilterError(str(error)) from error


def default_version(name: str, kubernetes_version: str | None = None) -> str:
    """The version of an artefact where the admin named none: our default, or what a Kubernetes version needs."""
    try:
        return load_catalogue().default_version(plain(name), plain(kubernetes_version))
    except ArtifactError as error:
        raise AnsibleFilterError(str(error)) from error


def kubernetes_images(version: str, role: str) -> list[dict[str, str]]:
    """The images of a Kubernetes version as ``host_state`` artefacts; ``role`` is ``control_plane`` or ``worker``."""
    try:
        entries = load_catalogue().kubernetes_images(plain(version))
    except ArtifactError as error:
        raise AnsibleFilterError(str(error)) from error
    return [
        {"name": entry.name, "version": entry.version, "install": "image"}
        for entry in entries
        if role == "control_plane" or entry.name not in CONTROL_PLANE_IMAGES
    ]


def flux_images(version: str, components: list[str]) -> list[dict[str, str]]:
    """The images of those components of a Flux release, as ``host_state`` artefacts."""
    try:
        entries = load_catalogue().flux_images(plain(version))
    except ArtifactError as error:
        raise AnsibleFilterError(str(error)) from error
    wanted = {f"flux-{component}" for component in plain(components)}
    return [
        {"name": entry.name, "version": entry.version, "install": "image"} for entry in entries if entry.name in wanted
    ]


def catalogue_image(name: str) -> dict[str, str]:
    """An image of the catalogue in its default version, as a ``host_state`` artefact."""
    return {"name": plain(name), "version": default_version(name), "install": "image"}


def image_reference(name: str, version: str | None = None) -> str:
    """The full reference of an image in the catalogue, such as ``registry.k8s.io/pause:3.10.2``."""
    try:
        return load_catalogue().resolve(plain(name), plain(version), "amd64").reference
    except ArtifactError as error:
        raise AnsibleFilterError(str(error)) from error


def artifact_available(name: str, version: str, artifact_source: Mapping[str, Any]) -> bool:
    """Whether an artefact is to be had: a mirror or bundle with a lock file must name it; upstream has everything."""
    try:
        source = Settings.from_options(plain(artifact_source)).source
        lock = source.lock(Transport())
        entries = [load_catalogue().resolve(plain(name), plain(version), arch) for arch in ("amd64", "arm64")]
    except ArtifactError as error:
        raise AnsibleFilterError(str(error)) from error
    return lock is None or any(lock.get(entry.path) is not None for entry in entries)


def to_toml(value: Mapping[str, Any]) -> str:
    """A mapping as TOML. None has no form in TOML: such keys are refused by name."""
    try:
        return tomli_w.dumps(plain(value))
    except TypeError as error:
        raise AnsibleFilterError(f"cannot be written as TOML: {error}") from error


def first_subnet(cidr: str, prefix: int) -> str:
    """The first subnet of ``cidr`` with that prefix length; ``cidr`` itself where it is no larger."""
    try:
        network = ipaddress.ip_network(plain(cidr))
    except ValueError as error:
        raise AnsibleFilterError(f"{cidr!r} is no network: {error}") from error
    return str(next(network.subnets(new_prefix=prefix))) if network.prefixlen < prefix else str(network)


def first_address(cidr: str) -> str:
    """The first address of ``cidr`` that a host can have: Kubernetes gives it to the API's own service."""
    try:
        network = ipaddress.ip_network(plain(cidr))
    except ValueError as error:
        raise AnsibleFilterError(f"{cidr!r} is no network: {error}") from error
    return str(network[1])


class FilterModule:
    """The filters by name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Name → function."""
        return {
            "artifact_available": artifact_available,
            "catalogue_image": catalogue_image,
            "default_version": default_version,
            "external_secrets": external_secrets,
            "first_address": first_address,
            "first_subnet": first_subnet,
            "flux_images": flux_images,
            "image_reference": image_reference,
            "kubernetes_images": kubernetes_images,
            "to_toml": to_toml,
        }
