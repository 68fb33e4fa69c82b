# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real kustomize, of the version that kustomize-controller pins, built from its Go module once."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.cache import default_directory

VERSION = "v5.8.1"


def program() -> Path | None:
    """Return the program, built if need be; None where there is neither it nor Go."""
    place = default_directory().parent / "tools" / f"kustomize-{VERSION}"
    if not (place / "kustomize").exists():
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
        if go is None:
            return None
        package = f"sigs.k8s.io/kustomize/kustomize/v5@{VERSION}"
        subprocess.run(
            [go, "install", package], env={**os.environ, "GOBIN": str(place)}, check=True, capture_output=True
        )
    return place / "kustomize"


def build(kustomize: Path, directory: Path) -> subprocess.CompletedProcess[bytes]:
    """Run `kustomize build` as kustomize-controller does: files from anywhere, objects in their own order."""
    argv = [str(kustomize), "build", "--load-restrictor=LoadRestrictionsNone", "--reorder=none", str(directory)]
    return subprocess.run(argv, capture_output=True, check=False)
