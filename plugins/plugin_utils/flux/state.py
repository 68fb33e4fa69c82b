# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a cluster says of its Flux: who installed it, what it follows, and whether we may touch it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._addresses import without_credentials
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.deploy_key import KeySecret, read
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.client import ApiClient

Object = dict[str, Any]
State = Literal["absent", "unfinished", "plain", "bootstrapped", "foreign", "helm", "flux-operator"]

FIELD_MANAGER = "stagecraft.gitops"
#: As whom the flux command line applies what it bootstraps; what it only patches afterwards is no bootstrap.
CLI_MANAGER = "flux"
OLDEST_KUBERNETES = (1, 33)
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SOURCE_CRD = "gitrepositories.source.toolkit.fluxcd.io"
_PART_OF = "app.kubernetes.io/part-of"
_MANAGED_BY = "app.kubernetes.io/managed-by"


@dataclass(frozen=True)
class Sync:
    """What an environment's Flux follows. `path` has no leading "./"."""

    url: str
    branch: str
    path: str

    def __str__(self) -> str:
        """`ADDRESS, branch NAME, path PATH`, without credentials that somebody else put there."""
        return f"{without_credentials(self.url)}, branch {self.branch}, path {self.path}"


@dataclass(frozen=True)
class Observed:
    """Everything that the plan asks about; objects are as the API server returned them, None where there are none.

    `generated_by_cli` says whether the flux command line wrote Flux's manifests in the repository; None where there are
    none, or nobody has looked.
    """

    kubernetes: str = ""
    crd: Object | None = None
    deployments: tuple[Object, ...] = ()
    source: Object | None = None
    sync: Object | None = None
    key: KeySecret | None = None
    operator: bool = False
    namespace_phase: str = ""
    namespace_of_flux: bool = False
    generated_by_cli: bool | None = None

    @property
    def applied_by_cli(self) -> bool:
        """Whether the flux command line made the root objects."""
        return any(_applied_by(item, CLI_MANAGER) for item in (self.source, self.sync))

    @property
    def by_cli(self) -> bool:
        """Whether the flux command line bootstrapped this: what its own repository says goes before the cluster."""
        return self.applied_by_cli if self.generated_by_cli is None else self.generated_by_cli

    @property
    def version(self) -> str:
        """The Flux release that the definitions are of, "" for none."""
        return str(_labels(self.crd).get("app.kubernetes.io/version") or "")

    @property
    def follows(self) -> Sync | None:
        """What the root Kustomization follows."""
        if self.source is None or self.sync is None:
            return None
        spec = self.source.get("spec") or {}
        path = str((self.sync.get("spec") or {}).get("path") or "")
        return Sync(str(spec.get("url") or ""), str((spec.get("ref") or {}).get("branch") or ""), clean_path(path))


def clean_path(path: str) -> str:
    """Return a path inside of the repository without "./" and slashes around it."""
    return re.sub(r"/+", "/", path.strip()).removeprefix("./").strip("/")


def observe(api: ApiClient, namespace: str) -> Observed:
    """Read all of it in a handful of requests. Raises ApiError."""

    def get(path: str) -> Object | None:
        try:
            found: Object = api.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return found

    home = get(f"/api/v1/namespaces/{namespace}")
    crd = get(f"{CRDS}/{SOURCE_CRD}")
    selector = {"labelSelector": "app.kubernetes.io/part-of=flux"}
    listed = api.items(f"/apis/apps/v1/namespaces/{namespace}/deployments", **selector) if home else []
    instances = get("/apis/fluxcd.controlplane.io/v1/fluxinstances")
    return Observed(
        kubernetes=str(api.get("/version").get("gitVersion") or ""),
        crd=crd,
        deployments=tuple(listed),
        source=get(source_path(namespace)) if crd else None,
        sync=get(sync_path(namespace)) if crd else None,
        key=read(get(f"/api/v1/namespaces/{namespace}/secrets/{namespace}")) if home else None,
        operator=bool(instances and instances.get("items")),
        namespace_phase=str(((home or {}).get("status") or {}).get("phase") or ""),
        namespace_of_flux=_labels(home).get(_PART_OF) == "flux",
    )


def source_path(namespace: str) -> str:
    """Path of the root GitRepository."""
    return f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{namespace}/gitrepositories/{namespace}"


def sync_path(namespace: str) -> str:
    """Path of the root Kustomization."""
    return f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{namespace}/kustomizations/{namespace}"


def classify(seen: Observed, wanted: Sync) -> State:
    """Tell whose Flux this is."""
    manager = str(_labels(seen.crd).get(_MANAGED_BY) or "")
    if seen.operator or manager == "flux-operator":
        return "flux-operator"
    if manager == "Helm":
        return "helm"
    if going(seen.crd):
        return "unfinished"
    if seen.follows is not None:
        return "bootstrapped" if seen.follows == wanted and not seen.by_cli else "foreign"
    if seen.crd is None and not seen.deployments:
        return "absent"
    return "unfinished" if seen.crd is None or ours(seen.crd) else "plain"


def ours(item: Mapping[str, Any]) -> bool:
    """Whether we applied an object and still own fields of it."""
    fields = (item.get("metadata") or {}).get("managedFields") or []
    return any(entry.get("manager") == FIELD_MANAGER for entry in fields)


def refusals(seen: Observed, state: State, wanted: Sync, *, takeover: bool) -> list[str]:
    """Return why this cluster's Flux must not be touched, each a whole sentence; empty when it may be."""
    found: list[str] = []
    numbers = re.match(r"v?(\d+)\.(\d+)", seen.kubernetes)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST_KUBERNETES:
        oldest = ".".join(map(str, OLDEST_KUBERNETES))
        found.append(f"Flux wants Kubernetes {oldest} or newer, the cluster runs {seen.kubernetes}. Upgrade it first.")
    if seen.namespace_phase == "Terminating" or going(seen.crd):
        found.append("Flux is being removed here. Finish the removal (flux_state: absent), or wait until it is gone.")
    if state == "foreign" and seen.follows is not None and seen.follows != wanted:
        if seen.follows.path != wanted.path:
            found.append(
                f"this cluster is another environment's: it follows {seen.follows}; wanted {wanted}. Check the inventory"
                " and the kubeconfig's context. To move the cluster on purpose, first remove Flux (flux_state: absent) with"
                " the settings of the environment that it follows."
            )
        elif not takeover:
            found.append(
                f"somebody bootstrapped Flux here from another repository or branch: it follows {seen.follows}; wanted {wanted}."
                " Set flux_takeover: true to make it follow the new one."
            )
    same = seen.follows is None or seen.follows == wanted
    if seen.by_cli and same and not takeover and state not in ("helm", "flux-operator", "plain"):
        found.append(
            f"the flux command line (or Terraform's flux provider) bootstrapped this environment, which follows {wanted}:"
            f" {_sign_of_cli(seen)}. Bootstrap it with that as before; or set flux_takeover: true to adopt it, which writes"
            " gotk-components.yaml and gotk-sync.yaml anew by a commit and keeps what it applied and its deploy key."
        )
    by_helm = any(_labels(item).get(_MANAGED_BY) == "Helm" for item in seen.deployments)
    if state == "helm" and (by_helm or not takeover):
        found.append(
            "Flux was installed by Helm here, and the release would undo what we change. Uninstall it (`helm uninstall`,"
            " keeping the definitions), then run this again with flux_takeover: true."
        )
    if state == "flux-operator":
        found.append(
            "Flux is managed by Flux Operator here, which would undo what we change. Describe it in its FluxInstance, or"
            " remove the operator first."
        )
    if state == "plain" and not takeover:
        found.append(
            f"Flux {seen.version or 'of an unknown version'} is installed here and follows no repository that we know."
            " Set flux_takeover: true to take it over as it is."
        )
    return found


def left(seen: Observed, definitions: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what there is of Flux, by parts, also what a removal that was cut short has left; `definitions` are Flux's."""
    parts = {
        "definitions": seen.crd is not None or bool(list(definitions)),
        "controllers": bool(seen.deployments),
        "the deploy key": seen.key is not None,
        "the namespace": seen.namespace_of_flux or seen.namespace_phase == "Terminating",
    }
    return [name for name, there in parts.items() if there]


def removal_refusals(seen: Observed, state: State, wanted: Sync, *, takeover: bool) -> list[str]:
    """Return why this cluster's Flux must not be taken away, each a whole sentence; empty when it may be."""
    if state == "flux-operator":
        return ["Flux is managed by Flux Operator here, which would bring it back. Delete its FluxInstance instead."]
    if state == "foreign" and seen.follows is not None and seen.follows.path != wanted.path:
        return [
            f"this cluster is another environment's: it follows {seen.follows}; wanted {wanted}. Check the inventory and"
            " the kubeconfig's context. To remove that environment's Flux on purpose, run this with its settings."
        ]
    if state == "foreign" and seen.follows == wanted and not takeover:
        return [
            f"the flux command line bootstrapped this cluster: {_sign_of_cli(seen)}. Remove it with that (`flux uninstall`), or"
            " set flux_takeover: true to remove it all the same."
        ]
    said = {
        "foreign": f"somebody bootstrapped Flux here from another repository or branch: it follows {seen.follows}; wanted {wanted}."
        " Correct stagecraft_repository, or set flux_takeover: true to remove it all the same.",
        "helm": "Flux was installed by Helm here, and is to be removed by it: `helm uninstall`. Set flux_takeover: true"
        " to take away what the release leaves behind.",
        "plain": f"Flux {seen.version or 'of an unknown version'} is installed here and follows no repository that we"
        " know, so it may be somebody else's. Set flux_takeover: true to remove it all the same.",
    }
    return [said[state]] if state in said and not takeover else []


def _sign_of_cli(seen: Observed) -> str:
    """Say by what one sees that the flux command line was here."""
    if seen.generated_by_cli:
        return 'gotk-components.yaml in the repository says "generated by flux"'
    return "it has applied the GitRepository and the Kustomization that Flux follows"


def _applied_by(item: Mapping[str, Any] | None, manager: str) -> bool:
    """Whether a field manager has applied an object, and not only changed it."""
    fields = ((item or {}).get("metadata") or {}).get("managedFields") or []
    return any(entry.get("manager") == manager and entry.get("operation") == "Apply" for entry in fields)


def going(item: Mapping[str, Any] | None) -> bool:
    """Whether an object is being deleted."""
    return bool(((item or {}).get("metadata") or {}).get("deletionTimestamp"))


def _labels(item: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return ((item or {}).get("metadata") or {}).get("labels") or {}
