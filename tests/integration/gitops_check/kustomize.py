# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real kustomize, of the version that kustomize-controller pins, built from its Go module once."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.programs import go_program

VERSION = "v5.8.1"


def program() -> Path | None:
    """Return the program, built if need be; None where there is neither it nor Go."""
    return go_program("sigs.k8s.io/kustomize/kustomize/v5", VERSION)


def build(kustomize: Path, directory: Path) -> subprocess.CompletedProcess[bytes]:
    """Run `kustomize build` as kustomize-controller does: files from anywhere, objects in their own order."""
    argv = [str(kustomize), "build", "--load-restrictor=LoadRestrictionsNone", "--reorder=none", str(directory)]
    return subprocess.run(argv, capture_output=True, check=False)
