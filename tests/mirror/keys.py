# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The key of a step: a digest of everything that its result is made from."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tests.mirror.recipes import (
    AptRepository,
    Archive,
    DebianPackages,
    DebianTree,
    FluxManifests,
    GoPrograms,
    Image,
    ImageBundle,
    LocalProgram,
    ModuleFiles,
    PauseProgram,
    PlainFile,
    Recipe,
    SelfExtracting,
    TreeArchive,
    WheelProgram,
    needs,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).resolve().parent
MODULE_SETS = HERE / "go"
CHECKOUT = HERE.parents[1]

SOURCES: Mapping[type, tuple[str, ...]] = {
    GoPrograms: ("gobuild.py",),
    PauseProgram: ("pause.py",),
    DebianPackages: ("debian.py",),
    DebianTree: ("debian.py",),
    AptRepository: ("debian.py",),
    ModuleFiles: ("modules.py",),
    FluxManifests: ("modules.py", "flux_manifests.py"),
    PlainFile: (),
    Archive: ("oci.py",),
    TreeArchive: ("oci.py", "modules.py"),
    Image: ("oci.py", "images.py"),
    LocalProgram: ("localprogram.py",),
    WheelProgram: ("wheel.py",),
    SelfExtracting: ("oci.py", "selfextracting.py"),
    ImageBundle: ("oci.py", "images.py", "zstandard.py"),
}
"""The builder's own source files that decide the bytes of each kind. Editing others rebuilds nothing."""


def step_keys(recipes: Sequence[Recipe], go_version: str, *, here: Path = HERE) -> dict[str, str]:
    """Return the key of every recipe by name. A part must stand before what is made from it."""
    keys: dict[str, str] = {}

    @cache
    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    for recipe in recipes:
        inputs = [repr(recipe), *(f"{path} {digest(here / path)}" for path in SOURCES[type(recipe)])]
        if isinstance(recipe, GoPrograms | LocalProgram | PauseProgram | ModuleFiles | FluxManifests):
            module_set = here / "go" / recipe.module_set
            inputs += [f"{name} {digest(module_set / name)}" for name in ("go.mod", "go.sum")]
        if isinstance(recipe, GoPrograms | LocalProgram):
            inputs.append(go_version)
        if isinstance(recipe, LocalProgram):
            inputs += [f"{path.name} {digest(path)}" for path in local_sources(recipe)]
        if isinstance(recipe, WheelProgram):
            inputs.append(digest(CHECKOUT / recipe.requirements))
        inputs += [f"{name} {keys[name]}" for name in needs(recipe)]
        keys[recipe.name] = hashlib.sha256("\0".join(inputs).encode()).hexdigest()
    return keys


def local_sources(recipe: LocalProgram) -> list[Path]:
    """Return the files of this checkout that a program is made from, without documentation."""
    own = sorted(path for path in (CHECKOUT / recipe.source).iterdir() if path.is_file() and path.suffix != ".md")
    return [*own, *(CHECKOUT / name for name in recipe.more)]


def overall_key(keys: Mapping[str, str]) -> str:
    """One digest of all keys: changes when anything in the mirror would."""
    return hashlib.sha256("\n".join(f"{name} {key}" for name, key in sorted(keys.items())).encode()).hexdigest()
