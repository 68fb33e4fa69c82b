# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of Flux, their groups, and how one names their objects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, Ref, mapping, ref, text

SOURCE = "source.toolkit.fluxcd.io"
KUSTOMIZE = "kustomize.toolkit.fluxcd.io"
HELM = "helm.toolkit.fluxcd.io"
NOTIFICATION = "notification.toolkit.fluxcd.io"
IMAGE = "image.toolkit.fluxcd.io"
OPERATOR = "fluxcd.controlplane.io"

DEFAULT_NAMESPACE = "flux-system"


@dataclass(frozen=True)
class Kind:
    """A kind of Flux. `follows` says that it takes its content from a source; `status` that it reports any."""

    group: str
    name: str
    short: str
    source: bool = False
    follows: bool = False
    status: bool = True


KINDS = (
    Kind(SOURCE, "GitRepository", "git", source=True),
    Kind(SOURCE, "OCIRepository", "oci", source=True),
    Kind(SOURCE, "Bucket", "bucket", source=True),
    Kind(SOURCE, "ExternalArtifact", "artifact", source=True),
    Kind(SOURCE, "HelmRepository", "helm-repository"),
    Kind(SOURCE, "HelmChart", "chart"),
    Kind(KUSTOMIZE, "Kustomization", "ks", follows=True),
    Kind(HELM, "HelmRelease", "hr", follows=True),
    Kind(NOTIFICATION, "Receiver", "receiver"),
    Kind(NOTIFICATION, "Alert", "alert", status=False),
    Kind(NOTIFICATION, "Provider", "provider", status=False),
    Kind(IMAGE, "ImageRepository", "image-repository"),
    Kind(IMAGE, "ImagePolicy", "image-policy"),
    Kind(IMAGE, "ImageUpdateAutomation", "image-update"),
)
BY_NAME = {kind.name: kind for kind in KINDS}
SOURCES = tuple(kind.name for kind in KINDS if kind.source)


def is_flux(named: Ref) -> bool:
    """Say whether an object is one of Flux's own."""
    kind = BY_NAME.get(named.kind)
    return kind is not None and kind.group == named.group


def parse(written: str, namespace: str = DEFAULT_NAMESPACE) -> Ref:
    """Read `Kind/name` or `Kind/namespace/name`. Raises FluxError."""
    parts = written.split("/")
    kind = next((k for k in KINDS if parts[0].lower() in (k.name.lower(), k.short)), None)
    if kind is None or len(parts) not in (2, 3) or not all(parts):
        raise FluxError(
            f"{written!r} names no object of Flux; wanted KIND/NAME or KIND/NAMESPACE/NAME with a kind out of "
            f"{', '.join(k.name for k in KINDS)}."
        )
    return Ref(kind.group, kind.name, parts[1] if len(parts) == 3 else namespace, parts[-1])


def parse_all(written: Iterable[str], namespace: str = DEFAULT_NAMESPACE) -> list[Ref]:
    """Read many; FluxError names every one that cannot be read."""
    found: list[Ref] = []
    problems: list[str] = []
    for one in written:
        try:
            found.append(parse(one, namespace))
        except FluxError as error:
            problems.append(str(error))
    if problems:
        raise FluxError("\n".join(problems))
    return found


def source_of(item: Object) -> Ref | None:
    """Return the source that a Kustomization or a HelmRelease takes its content from, or None."""
    spec = mapping(item, "spec")
    found = (
        mapping(spec, "sourceRef") or mapping(spec, "chartRef") or mapping(spec, "chart", "spec", "sourceRef") or None
    )
    if found is None:
        return None
    return Ref(SOURCE, text(found, "kind"), text(found, "namespace") or ref(item).namespace, text(found, "name"))


def inventory(item: Object) -> list[Ref]:
    """Return the objects that a Kustomization or HelmRelease has applied, as its status lists them."""
    return [entry(str(e.get("id"))) for e in mapping(item, "status", "inventory").get("entries") or []]


def entry(identity: str) -> Ref:
    """Read `<namespace>_<name>_<group>_<kind>`; colons of RBAC names stand in it as two underscores."""
    namespace, _unused, rest = identity.partition("_")
    rest, _unused, kind = rest.rpartition("_")
    name, _unused, group = rest.rpartition("_")
    return Ref(group, kind, namespace, name.replace("__", ":"))
