# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kustomize program, for overlays that use what the builder does not do."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.documents import parse
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import BuildError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.kustomize import FILE_NAMES, Kustomization
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.resources import Object

_SECONDS = 120


@lru_cache(maxsize=1)
def command() -> tuple[str, ...] | None:
    """Return how to call kustomize on this machine, or None when it is not there."""
    if shutil.which("kustomize"):
        return ("kustomize", "build")
    return ("kubectl", "kustomize") if shutil.which("kubectl") else None


def build(root: str, directory: str, content: Kustomization, reason: str) -> list[Object]:
    """Return what the program builds in a directory with `content` in place of its kustomization file.

    The repository is not written to: the directory is stood in for by one with links to all else that is there.
    """
    program = command()
    if program is None:
        raise BuildError(
            f"it uses {reason}, which needs the program kustomize (or kubectl), and neither is on this machine."
            " Install kustomize, or write the overlay without it"
        )
    with tempfile.TemporaryDirectory(prefix="gitops-check-") as work:
        place = _stand_in(Path(work), root, directory, content)
        argv = [*program, "--load-restrictor=LoadRestrictionsNone", str(place)]
        try:
            answer = subprocess.run(argv, capture_output=True, check=False, timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            raise BuildError(f"{program[0]} did not come to an end within {_SECONDS} s") from None
        if answer.returncode:
            said = answer.stderr.decode(errors="replace").replace(work, "").strip()
            raise BuildError(f"{' '.join(program)} refuses it: {said[-2000:]}")
    return [document.value for document in parse(answer.stdout)[0]]


def _stand_in(work: Path, root: str, directory: str, content: Kustomization) -> Path:
    """Make directories down to the overlay's, each with links to its other entries; return the overlay's."""
    place, real = work / "repository", Path(root)
    place.mkdir()
    for step in [part for part in Path(directory).parts if part != "."]:
        _link_entries(real, place, {step})
        place, real = place / step, real / step
        place.mkdir()
    _link_entries(real, place, set(FILE_NAMES))
    (place / FILE_NAMES[0]).write_text(yaml.safe_dump(content), encoding="utf-8")
    return place


def _link_entries(real: Path, place: Path, but: set[str]) -> None:
    for name in os.listdir(real):
        if name not in but and name != ".git":
            (place / name).symlink_to(real / name)
