# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Build Flux's install manifests from its Go modules, as upstream builds the release asset ``manifests.tar.gz``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.mirror.errors import BuildError
from tests.mirror.keys import MODULE_SETS
from tests.mirror.modules import copy_files, module_checksum

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.mirror.gobuild import GoBuilder
    from tests.mirror.recipes import FluxManifests
    from tests.mirror.run import Runner

FLUX_MODULE = "github.com/fluxcd/flux2/v2"
_RELEASE_FILE = re.compile(r"^- https://\S+/(\S+)\.(crds|deployment)\.yaml$", re.MULTILINE)
_CONFIG = {"crds": "crd", "deployment": "manager"}


def local_resources(kustomization: str, component: str) -> str:
    """Put a component's own ``config`` directories, copied below ``config/``, in place of its released files.

    Raises BuildError unless both files, and no others, are named by their address.
    """
    found = _RELEASE_FILE.findall(kustomization)
    if sorted(found) != [(component, "crds"), (component, "deployment")] or kustomization.count("https://") != 2:
        raise BuildError(
            f"manifests/bases/{component}: wanted the released files {component}.crds.yaml and"
            f" {component}.deployment.yaml among its resources and no others, found:\n{kustomization}"
        )
    return _RELEASE_FILE.sub(lambda match: f"- config/{_CONFIG[match[2]]}", kustomization)


def build(
    recipe: FluxManifests,
    parts: Mapping[str, Path],
    output: Path,
    *,
    scratch: Path,
    go: GoBuilder,
    runner: Runner,
    log: Path,
) -> None:
    """Write the manifests into ``output``."""
    part, member = recipe.kubectl
    kubectl = str(parts[part] / member)
    version = f"v{recipe.version}"
    tree = go.module_directory(f"{FLUX_MODULE}@{version}", scratch, log)
    checksum = module_checksum(tree, FLUX_MODULE, version)
    if checksum != recipe.h1:
        raise BuildError(f"{FLUX_MODULE}@{version}: wanted checksum {recipe.h1}, found {checksum}")
    work = scratch / "flux2"
    copy_files(tree, ("manifests",), work)
    directories = {name: work / "manifests" / name for name in ("policies", "rbac")}
    for component, module in recipe.components:
        base = work / "manifests" / "bases" / component
        copy_files(
            go.module_directory(module, MODULE_SETS / recipe.module_set, log), ("config/crd", "config/manager"), base
        )
        kustomization = base / "kustomization.yaml"
        kustomization.write_text(local_resources(kustomization.read_text(), component))
        directories[component] = base
    for name, directory in directories.items():
        built = runner.run([kubectl, "kustomize", str(directory)], log=log).stdout
        (output / f"{name}.yaml").write_text(built)
