# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the programs that were built: tests run them as plain processes, the mirror has most of them in images only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.mirror.errors import RefusedError
from tests.mirror.recipes import GoPrograms, recipes
from tests.mirror.store import Store, default_layout

if TYPE_CHECKING:
    from pathlib import Path


def find_program(name: str) -> Path:
    """Return the file of a program, named by its part and itself: ``flux-2.9.4/source-controller``, ``etcd-3.6.8/etcd``.

    Raises RefusedError when there is no such program, or when it was not built yet.
    """
    parts: dict[str, str] = {}
    for recipe in recipes():
        if isinstance(recipe, GoPrograms):
            own = recipe.name.removeprefix("part/")
            for program, _ in recipe.packages:
                parts[own if own.endswith(f"/{program}") else f"{own}/{program}"] = recipe.name
    if name not in parts:
        raise RefusedError(f"wanted a program, found the unknown name {name!r}: use one of {', '.join(parts)}")
    found = Store(default_layout()).kept(parts[name], name.rpartition("/")[2])
    if found is None:
        raise RefusedError(
            f"wanted the program {name}, found that it is not built: run `python3 -m tests.mirror build`"
            f" (with `--rebuild {parts[name].removeprefix('part/')}` where it says that all is up to date)"
        )
    return found
