# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Git's commits hold, whatever the files of the work tree are."""

from __future__ import annotations

import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import CheckError

_NO_COMMIT = frozenset("0")


def git(root: Path, *arguments: str) -> bytes:
    """Return what a git command prints; raise CheckError when it fails."""
    # Git sets these for its hooks; they would win over the directory that is asked about.
    environment = {
        key: value for key, value in os.environ.items() if key not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    }
    try:
        answer = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=False, env=environment)
    except FileNotFoundError:
        raise CheckError("wanted the program git, found none. Install it") from None
    if answer.returncode:
        raise CheckError(f"git {' '.join(arguments)}: {answer.stderr.decode(errors='replace').strip()}")
    return answer.stdout


def top(directory: Path) -> Path:
    """Return the top of the work tree that a directory is in; the directory itself when it is in none."""
    try:
        return Path(git(directory, "rev-parse", "--show-toplevel").decode().strip())
    except CheckError:
        return directory


@contextmanager
def tree_of(root: Path, commit: str) -> Iterator[Path]:
    """Put the files of a commit in a temporary directory, which has the repository's name."""
    if commit.startswith("-"):
        raise CheckError(f"wanted a commit, found {commit}")
    with tempfile.TemporaryDirectory(prefix="gitops-check-") as work:
        tree = Path(work, root.resolve().name)
        tree.mkdir()
        with tarfile.open(fileobj=BytesIO(git(root, "archive", "--format=tar", commit))) as archive:
            archive.extractall(tree, filter="data")
        yield tree


def pushed(lines: Iterable[str]) -> list[tuple[str, str]]:
    """Return (remote ref, commit) of what is pushed, each commit once; deletions push nothing.

    Lines are those that Git gives its pre-push hook: local ref, local object, remote ref, remote object.
    """
    found: dict[str, str] = {}
    for line in lines:
        parts = line.split()
        if len(parts) == 4 and set(parts[1]) != _NO_COMMIT:
            found[parts[1]] = parts[2]
    return [(ref, commit) for commit, ref in found.items()]
