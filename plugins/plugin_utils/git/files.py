# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a repository, changed alike in a directory and on a remote branch.

In a directory somebody else commits; on a branch all changes are one pushed commit, planned anew when it moves meanwhile.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.branch import (
    Branch,
    Changes,
    Snapshot,
    publish,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Author, Remote

K = TypeVar("K")


def innermost(file: str, followed: Mapping[K, Iterable[str]]) -> list[K]:
    """Return who follows the innermost directory that a file lies in, or the file itself; "." is all of the repository. Pure."""
    depths: dict[K, int] = {}
    for follower, paths in followed.items():
        above = [path for path in paths if path in (".", file) or file.startswith(f"{path}/")]
        if above:
            depths[follower] = max(0 if path == "." else path.count("/") + 1 for path in above)
    return [follower for follower, depth in depths.items() if depth == max(depths.values())]


@dataclass(frozen=True)
class View:
    """Files as they are at one moment: all paths, and a way to read some of them. Paths are relative, with slashes."""

    paths: tuple[str, ...]
    read: Callable[[Iterable[str]], dict[str, bytes]]

    def below(self, folder: str, suffixes: tuple[str, ...]) -> list[str]:
        """Return the paths below a folder ("" for all) that end in one of `suffixes`."""
        start = folder.strip("/") + "/" if folder.strip("/") else ""
        return [path for path in self.paths if path.startswith(start) and path.endswith(suffixes)]


@dataclass(frozen=True)
class Done:
    """What was changed, or would be; `commit` is the branch's, "" in a directory."""

    changes: Changes
    commit: str


def look(place: Path | Remote) -> tuple[View, str]:
    """Return the files as they are now with the branch's commit. What is needed of a branch is read at once."""
    if isinstance(place, Path):
        return _in_directory(place), ""
    with Branch(place) as branch:
        base = branch.fetch()
        contents = branch.read(base, base.blobs)
    return View(
        tuple(sorted(base.blobs)), lambda paths: {p: contents[p] for p in paths if p in contents}
    ), base.commit or ""


def change(
    place: Path | Remote,
    plan: Callable[[View], Changes],
    message: Callable[[Changes], str],
    author: Author,
    *,
    dry: bool,
) -> Done:
    """Ask `plan` what is to be changed, and unless `dry` do it. Raises GitError."""
    if isinstance(place, Path):
        changes = plan(_in_directory(place))
        if not dry:
            _write(place, changes)
        return Done(changes, "")

    def planned(branch: Branch, base: Snapshot) -> Changes:
        return plan(View(tuple(sorted(base.blobs)), lambda paths: branch.read(base, paths)))

    if dry:
        with Branch(place) as branch:
            base = branch.fetch()
            return Done(planned(branch, base), base.commit or "")
    done = publish(place, planned, message, author)
    return Done(done.changes, done.commit or "")


def _in_directory(root: Path) -> View:
    if not root.is_dir():
        raise GitError(f"wanted a directory with a repository's files, found none at {root}.")
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name != ".git")
        found += [Path(folder, name).relative_to(root).as_posix() for name in files]

    def read(paths: Iterable[str]) -> dict[str, bytes]:
        return {path: (root / path).read_bytes() for path in paths if (root / path).is_file()}

    return View(tuple(sorted(found)), read)


def _write(root: Path, changes: Changes) -> None:
    """Write each file as a whole; one that was there keeps its mode."""
    top = root.resolve()
    for path, content in sorted(changes.items()):
        parts = PurePosixPath(path)
        target = (root / path).parent.resolve() / parts.name
        if parts.is_absolute() or ".." in parts.parts or not target.is_relative_to(top) or ".git" in parts.parts:
            raise GitError(f"{path!r} is no path inside of {root}.")
        if content is None:
            target.unlink(missing_ok=True)
            continue
        try:
            mode = target.stat().st_mode & 0o7777
        except FileNotFoundError:
            mode = 0o644
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{parts.name}.", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
            Path(name).chmod(mode)
            Path(name).replace(target)
        finally:
            with suppress(FileNotFoundError):
                Path(name).unlink()
