# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a push brings to a remote: every file, message and path of commits that are not there yet."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.errors import LeakScanError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.search import Text

_NO_COMMIT = frozenset("0")


@dataclass(frozen=True)
class Object:
    """An object of Git that is new: a file (blob) or folder (tree) with its path, a commit or tag with its message."""

    identity: str
    kind: str
    path: str
    data: bytes


def git(root: Path, *arguments: str, data: bytes | None = None, check: bool = True) -> bytes:
    """Return what a git command prints. Raises LeakScanError when it fails."""
    # Git sets these for its hooks; they would win over the directory that is asked about.
    ours = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    environment = {key: value for key, value in os.environ.items() if key not in ours} | {"LC_ALL": "C"}
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), *arguments], input=data, capture_output=True, check=False, env=environment
        )
    except FileNotFoundError:
        raise LeakScanError("wanted the program git, found none. Install it") from None
    if answer.returncode and check:
        raise LeakScanError(f"git {' '.join(arguments[:3])}: {answer.stderr.decode(errors='replace').strip()}")
    return b"" if answer.returncode else answer.stdout


def pushed(root: Path, lines: Iterable[str], remote: str) -> list[str]:
    """Return the arguments of rev-list for what a push brings, from what Git tells its pre-push hook; none for deletions.

    Lines are: local ref, local object, remote ref, remote object. What the remote has is known from its own answer and
    from the remote-tracking branches; where neither says anything, all of the history counts.
    """
    new, old = [], []
    for line in lines:
        parts = line.split()
        if len(parts) != 4:
            continue
        if set(parts[1]) != _NO_COMMIT:
            new.append(parts[1])
        if set(parts[3]) != _NO_COMMIT and git(root, "cat-file", "-t", parts[3], check=False):
            old.append(parts[3])
    if not new:
        return []
    names = git(root, "remote").decode().split()
    tracked = [f"--remotes={remote}"] if remote in names else []
    return [*new, "--not", *old, *tracked]


def unpushed(root: Path, revision: str, everything: bool = False) -> list[str]:
    """Return the arguments of rev-list for a revision or range; a single revision without what any remote has.

    With `everything` that counts, too: in a clone that CI made the remote has all there is.
    """
    if revision.startswith("-"):
        raise LeakScanError(f"wanted a revision or a range of commits, found {revision}")
    return [revision] if everything or ".." in revision else [revision, "--not", "--remotes"]


def objects(root: Path, selection: Sequence[str]) -> Iterator[Object]:
    """Return every new object of commits. A file that only moved is not new, but the folder with its name is."""
    paths: dict[str, str] = {}
    for line in git(root, "rev-list", "--objects", *selection).decode("utf-8", "replace").splitlines():
        identity, _space, path = line.partition(" ")
        paths.setdefault(identity, path)
    # a tag is what is pushed, and rev-list follows it to its commit without a word about itself
    for given in selection:
        if not given.startswith("-") and ".." not in given:
            identity = git(root, "rev-parse", "--verify", "--quiet", given, check=False).decode().strip()
            if identity and git(root, "cat-file", "-t", identity, check=False).strip() == b"tag":
                paths.setdefault(identity, "")
    answer = git(root, "cat-file", "--batch", data="".join(f"{identity}\n" for identity in paths).encode())
    position = 0
    for identity, path in paths.items():
        end = answer.index(b"\n", position)
        _identity, kind, size = answer[position:end].decode().split()
        data = answer[end + 1 : end + 1 + int(size)]
        position = end + 1 + int(size) + 1
        yield Object(identity, kind, path, data)


def texts(found: Iterable[Object]) -> list[Text]:
    """Return what is to be searched: `where` is the object's identity. A folder is the names that stand in it."""
    return [
        Text(one.identity, names(one.data, len(one.identity) // 2) if one.kind == "tree" else one.data) for one in found
    ]


def names(tree: bytes, size: int) -> bytes:
    """Return the names in a folder, all on one line: each stands behind its mode and before an identity of `size` bytes."""
    found = []
    while tree:
        head, _zero, rest = tree.partition(b"\0")
        found.append(head.partition(b" ")[2])
        tree = rest[size:]
    return b" ".join(found)


def commit_of(root: Path, selection: Sequence[str], identity: str) -> str:
    """Return the short name of the first commit that brings an object, "" where none is found."""
    said = git(root, "log", "--reverse", "--format=%h", f"--find-object={identity}", *selection, check=False)
    return said.decode().split("\n", 1)[0].strip()


def paths_of(root: Path, selection: Sequence[str]) -> dict[str, set[str]]:
    """Return all paths at which commits have the files and folders that they bring, by identity."""
    # -m: what only a merge has; showRoot: what the first commit has, also where the user's own settings hide it
    command = ("-c", "log.showRoot=true", "log", "--format=", "--raw", "-r", "-t", "-m", "-z")
    said = git(root, *command, "--no-abbrev", "--no-renames", *selection).decode("utf-8", "replace")
    entries = iter(said.split("\0"))
    found: dict[str, set[str]] = {}
    for entry in entries:
        # :mode mode identity identity status, then the path; between commits there may be nothing
        if entry.startswith(":"):
            found.setdefault(entry.split(" ")[3], set()).add(next(entries))
    return found
