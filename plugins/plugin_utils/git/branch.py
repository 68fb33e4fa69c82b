# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One branch of a remote repository: its files as they are now, and one commit on top of them, pushed or not at all.

The system's git does the work in a bare repository that lives as long as the object: nobody's work tree, index or
configuration of a repository is touched, and a push that is not a fast-forward is refused by the server.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import BranchMovedError, GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.program import Program
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Author, Remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

_ATTEMPTS = 5
_PAGE = 4096


@dataclass(frozen=True)
class Snapshot:
    """The branch at one moment: `commit` is None where it does not exist yet; `blobs` maps paths to object ids."""

    commit: str | None
    blobs: Mapping[str, str] = field(default_factory=dict)


#: What a commit does: path → new content, or None to remove the file.
Changes = dict[str, bytes | None]


@dataclass(frozen=True)
class Published:
    """What `publish` did: the branch's commit now (None: still empty), and the changes that it took, if any."""

    commit: str | None
    changes: Changes


class Branch:
    """A remote branch; use it in a `with` statement."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._home = tempfile.TemporaryDirectory(prefix="stagecraft-git-")
        directory = Path(self._home.name)
        self._program = Program(remote, directory / "repository", directory)
        self._git = self._program.run

    def __enter__(self) -> Self:
        self._git("init", "--quiet", "--bare")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._home.cleanup()

    def fetch(self) -> Snapshot:
        """Read the branch as it is on the server. A repository without any branch is empty; GitError for all else."""
        ref = f"refs/heads/{self._remote.branch}"
        fetch = ("fetch", "--quiet", "--no-tags", "--depth=1", self._remote.url, f"+{ref}:{ref}")
        found = self._git(*fetch, check=False)
        if found.returncode:
            said = found.stderr.decode("utf-8", "replace")
            if "find remote ref" not in said:
                raise self._program.failure(said)
            heads = self._heads()
            if not heads:
                return Snapshot(None)
            if self._remote.branch not in heads:
                raise GitError(
                    f"{self._remote}: the repository has no such branch; it has {', '.join(heads)}. Name one of them,"
                    " or push the new branch yourself."
                )
            self._git(*fetch)  # somebody has made it since
        commit = self._git("rev-parse", ref).stdout.decode().strip()
        listing = self._git("ls-tree", "-r", "-z", "--full-tree", commit).stdout.decode("utf-8", "surrogateescape")
        blobs = {}
        for line in filter(None, listing.split("\0")):
            meta, _unused, path = line.partition("\t")
            mode, kind, identity = meta.split()
            if kind == "blob" and mode != "120000":
                blobs[path] = identity
        return Snapshot(commit, blobs)

    def newer(self, commit: str) -> str | None:
        """Return the branch's newest commit if it is `commit` or comes after it, else None. Raises GitError.

        Fetches the commits since the snapshot only: history before it is left where it is.
        """
        ref = f"refs/heads/{self._remote.branch}"
        found = self._git("fetch", "--quiet", "--no-tags", self._remote.url, f"+{ref}:{ref}", check=False)
        if found.returncode:
            raise self._program.failure(found.stderr.decode("utf-8", "replace"))
        after = self._git("merge-base", "--is-ancestor", commit, ref, check=False)
        return self._git("rev-parse", ref).stdout.decode().strip() if after.returncode == 0 else None

    def read(self, snapshot: Snapshot, paths: Iterable[str]) -> dict[str, bytes]:
        """Return the content of those of `paths` that are files of the branch."""
        wanted = [path for path in dict.fromkeys(paths) if path in snapshot.blobs]
        if not wanted:
            return {}
        question = "".join(f"{snapshot.blobs[path]}\n" for path in wanted).encode()
        answer = self._git("cat-file", "--batch", data=question).stdout
        contents: dict[str, bytes] = {}
        position = 0
        for path in wanted:
            end = answer.index(b"\n", position)
            size = int(answer[position:end].split()[2])
            contents[path] = answer[end + 1 : end + 1 + size]
            position = end + 1 + size + 1
        return contents

    def unpacked(self, snapshot: Snapshot, paths: Iterable[str]) -> int:
        """Return how many bytes those of `paths` that are files of the branch take on a disk, in whole pages."""
        question = "".join(f"{snapshot.blobs[path]}\n" for path in paths if path in snapshot.blobs).encode()
        answer = self._git("cat-file", "--batch-check=%(objectsize)", data=question).stdout
        return sum(-(-int(size) // _PAGE) * _PAGE for size in answer.split())

    def push(self, base: Snapshot, changes: Changes, message: str, author: Author) -> str:
        """Commit `changes` on top of `base` and push; return the commit. Raises BranchMovedError, GitError."""
        ref = f"refs/heads/{self._remote.branch}"
        self._git("fast-import", "--quiet", "--force", data=import_stream(ref, base.commit, changes, message, author))
        commit = self._git("rev-parse", ref).stdout.decode().strip()
        self._program.push(self._remote.url, f"{commit}:{ref}")
        return commit

    def _heads(self) -> list[str]:
        listed = self._git("ls-remote", "--heads", self._remote.url, check=False)
        if listed.returncode:
            raise self._program.failure(listed.stderr.decode("utf-8", "replace"))
        return [line.partition("\trefs/heads/")[2] for line in listed.stdout.decode().splitlines()]


def publish(
    remote: Remote, plan: Callable[[Branch, Snapshot], Changes], message: Callable[[Changes], str], author: Author
) -> Published:
    """Ask `plan` what the branch lacks and push that as one commit; when the branch moves meanwhile, plan anew."""
    with Branch(remote) as branch:
        for attempt in range(1, _ATTEMPTS + 1):
            base = branch.fetch()
            changes = plan(branch, base)
            if not changes:
                return Published(base.commit, {})
            try:
                return Published(branch.push(base, changes, message(changes), author), changes)
            except BranchMovedError:
                if attempt == _ATTEMPTS:
                    raise
                time.sleep(0.2 * attempt)
    raise AssertionError("unreachable")


def import_stream(
    ref: str,
    base: str | None,
    changes: Mapping[str, bytes | None],
    message: str,
    author: Author,
    modes: Mapping[str, str] | None = None,
) -> bytes:
    """Return what git fast-import reads to make one commit. `modes` are those of files that are no plain ones."""
    when = f"{int(time.time())} +0000"
    words = message.encode()
    lines = [f"commit {ref}\ncommitter {author} {when}\ndata {len(words)}\n".encode(), words, b"\n"]
    if base is not None:
        lines.append(f"from {base}\n".encode())
    for path, content in sorted(changes.items()):
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\n" in path:
            raise GitError(f"{path!r} is no path inside of a repository.")
        quoted = '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if content is None:
            lines.append(f"D {quoted}\n".encode())
        else:
            mode = (modes or {}).get(path, "100644")
            lines += [f"M {mode} inline {quoted}\ndata {len(content)}\n".encode(), content, b"\n"]
    return b"".join(lines)
