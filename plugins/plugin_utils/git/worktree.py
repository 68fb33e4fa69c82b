# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which remote a directory stands for. Reads its configuration and nothing else: the user's clone is never written to."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError


def origin_of(directory: Path) -> str:
    """Return the address of a bare repository, or of the origin of a clone. Raises GitError."""
    if _ask(directory, "rev-parse", "--is-bare-repository") == "true":
        return f"file://{directory}"
    origin = _ask(directory, "config", "--get", "remote.origin.url")
    if not origin:
        raise GitError(
            f"{directory} is neither a bare repository nor a clone with an origin. Name the address that Flux follows."
        )
    if "://" in origin or ":" in origin.partition("/")[0]:
        return origin
    return origin_of((directory / origin).resolve())


def _ask(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(directory), *arguments], capture_output=True, text=True, check=False, timeout=20
    )
    return done.stdout.strip() if done.returncode == 0 else ""
