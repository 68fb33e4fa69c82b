# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One branch of a remote repository: its files as they are now, and one commit on top of them, pushed or not at all.

The system's git does the work in a bare repository that lives as long as the object: nobody's work tree, index or
configuration of a repository is touched, and a push that is not a fast-forward is refused by the server.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import BranchMovedError, GitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

_ATTEMPTS = 5
_URL = re.compile(r"(?:ssh|https?|file)://\S+|[\w.-]+@[\w.-]+:\S+")
_PASSWORD = re.compile(r"(?<=://)([^/@\s:]+):[^/@\s]*@")
_BRANCH = re.compile(r"(?!.*(?:\.\.|//|@\{|\.lock(?:/|$)))[^\s~^:?*\[\\/.-][^\s~^:?*\[\\]*(?<![/.])")
_REASONS = (
    (
        "Host key verification failed",
        "its host key is not the one in the pinned known_hosts. Ask its admin for the key"
        " before you change what is pinned: this is what an attack looks like, too",
    ),
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "its host key is another one than the pinned one. Ask its admin"),
    (
        "Permission denied",
        "it does not accept the key. Allow the key's public half to write there, or name another private key",
    ),
    ("Authentication failed", "it does not accept the credentials"),
    ("could not read Username", "it wants credentials and there are none. Use an ssh:// address with a key"),
    ("Connection refused", "nothing answers at its address and port. Check the address, and that the Git server runs"),
    ("timed out", "nothing answers at its address in time. Check the address, and the firewalls between"),
    ("Could not resolve host", "its name is not known to DNS. Check the address"),
    ("Name or service not known", "its name is not known to DNS. Check the address"),
    ("No route to host", "there is no way to its address. Check the address and the network"),
    ("protected branch", "the server protects the branch. Allow this key to push to it, or use another branch"),
    ("not appear to be", "the server knows no such repository, or does not show it to this key"),
    ("not exist", "the server knows no such repository, or does not show it to this key"),
    ("not found", "the server knows no such repository, or does not show it to this key"),
)


@dataclass(frozen=True)
class Remote:
    """Where a branch is and how to get there.

    `key_file` is a private key on the controller ("" leaves the choice to ssh: its agent and configuration).
    `known_hosts` are the lines that pin the server's host keys ("" leaves it to the user's own known_hosts; an unknown
    host is refused either way). `timeout` is in seconds, for each contact with the server.
    """

    url: str
    branch: str
    key_file: str = ""
    known_hosts: str = ""
    timeout: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what git would misunderstand."""
        problems = []
        if not _URL.fullmatch(self.url):
            problems.append(f"the address {without_password(self.url)!r} is none: write ssh://git@HOST/PATH.git")
        if not _BRANCH.fullmatch(self.branch):
            problems.append(f"{self.branch!r} is no name of a branch")
        if self.key_file and not Path(self.key_file).expanduser().is_file():
            problems.append(f"there is no private key {self.key_file}")
        if problems:
            raise GitError("; ".join(problems) + ".")

    def __str__(self) -> str:
        """`ADDRESS, branch NAME`, without a password."""
        return f"{without_password(self.url)}, branch {self.branch}"


@dataclass(frozen=True)
class Author:
    """Who a commit is by."""

    name: str
    email: str

    def __str__(self) -> str:
        """As git writes it."""
        return "{} <{}>".format(*(re.sub(r"[<>\n]", "", part) for part in (self.name, self.email)))


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
        self._directory = Path(self._home.name)
        self._environment = self._make_environment()

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
        found = self._git("fetch", "--quiet", "--no-tags", "--depth=1", self._remote.url, f"+{ref}:{ref}", check=False)
        if found.returncode:
            said = found.stderr.decode("utf-8", "replace")
            if "find remote ref" not in said:
                raise self._failure(said)
            heads = self._heads()
            if heads:
                raise GitError(
                    f"{self._remote}: the repository has no such branch; it has {', '.join(heads)}. Name one of them,"
                    " or push the new branch yourself."
                )
            return Snapshot(None)
        commit = self._git("rev-parse", ref).stdout.decode().strip()
        listing = self._git("ls-tree", "-r", "-z", "--full-tree", commit).stdout.decode("utf-8", "surrogateescape")
        blobs = {}
        for line in filter(None, listing.split("\0")):
            meta, _unused, path = line.partition("\t")
            mode, kind, identity = meta.split()
            if kind == "blob" and mode != "120000":
                blobs[path] = identity
        return Snapshot(commit, blobs)

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

    def push(self, base: Snapshot, changes: Changes, message: str, author: Author) -> str:
        """Commit `changes` on top of `base` and push; return the commit. Raises BranchMovedError, GitError."""
        ref = f"refs/heads/{self._remote.branch}"
        self._git("fast-import", "--quiet", "--force", data=_import_stream(ref, base.commit, changes, message, author))
        commit = self._git("rev-parse", ref).stdout.decode().strip()
        done = self._git("push", "--porcelain", self._remote.url, f"{commit}:{ref}", check=False)
        if done.returncode:
            said = (done.stdout + done.stderr).decode("utf-8", "replace")
            if any(word in said for word in ("fetch first", "non-fast-forward", "cannot lock ref", "stale info")):
                raise BranchMovedError(f"{self._remote}: somebody else pushed to it at the same time.")
            raise self._failure(said)
        return commit

    def _heads(self) -> list[str]:
        listed = self._git("ls-remote", "--heads", self._remote.url, check=False)
        if listed.returncode:
            raise self._failure(listed.stderr.decode("utf-8", "replace"))
        return [line.partition("\trefs/heads/")[2] for line in listed.stdout.decode().splitlines()]

    def _make_environment(self) -> dict[str, str]:
        ssh = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, int(self._remote.timeout / 4))}"]
        ssh += ["-o", "StrictHostKeyChecking=yes"]
        if self._remote.known_hosts:
            file = self._directory / "known_hosts"
            file.write_text(self._remote.known_hosts.rstrip("\n") + "\n", encoding="utf-8")
            ssh += ["-o", f"UserKnownHostsFile={file}", "-o", "GlobalKnownHostsFile=/dev/null"]
        if self._remote.key_file:
            ssh += ["-o", "IdentitiesOnly=yes", "-i", str(Path(self._remote.key_file).expanduser())]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        return {
            **kept,
            "LC_ALL": "C",
            "GIT_DIR": str(self._directory / "repository"),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": shlex.join(ssh),
            "GIT_SSH_VARIANT": "ssh",
        }

    def _git(
        self, *arguments: str, data: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", *arguments]
        try:
            done = subprocess.run(
                command,
                cwd=self._directory,
                env=self._environment,
                input=data,
                stdin=subprocess.DEVNULL if data is None else None,
                capture_output=True,
                timeout=self._remote.timeout,
                check=False,
            )
        except FileNotFoundError as error:
            raise GitError("wanted git on the controller, found none: install the package git.") from error
        except subprocess.TimeoutExpired as error:
            raise GitError(
                f"{self._remote}: git {arguments[0]} did not end within {self._remote.timeout:g} s. Check the network"
                " between this machine and the Git server."
            ) from error
        if check and done.returncode:
            raise self._failure(done.stderr.decode("utf-8", "replace"))
        return done

    def _failure(self, said: str) -> GitError:
        words = " ".join(without_password(said).split())[-600:]
        for sign, reason in _REASONS:
            if sign in said:
                if "host key" in reason:
                    # what ssh says there is how to trust the other key, which is no advice to give
                    offered = re.search(r"SHA256:\S+?(?=[.\s]|$)", said)
                    words = f"it offers {offered[0]}" if offered else "it offers a key of another kind"
                    return GitError(f"{self._remote}: {reason}. ({words})")
                return GitError(f"{self._remote}: {reason}. (git: {words})")
        return GitError(f"{self._remote}: git failed: {words}")


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


def without_password(text: str) -> str:
    """Return `text` with the passwords of addresses taken out."""
    return _PASSWORD.sub(r"\1@", text)


def _import_stream(ref: str, base: str | None, changes: Changes, message: str, author: Author) -> bytes:
    """What git fast-import reads to make one commit."""
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
            lines += [f"M 100644 inline {quoted}\ndata {len(content)}\n".encode(), content, b"\n"]
    return b"".join(lines)
