# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A remote repository with its history, in a bare clone that the controller keeps between runs.

Nothing is ever checked out: files are read from the object database, and a commit is made from the files that change.
The clone is a cache: one that a killed run left broken is made anew, and losing it loses nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.branch import Changes, import_stream
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import BranchMovedError, GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.program import Program
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Author, Remote

if TYPE_CHECKING:
    from types import TracebackType

NOTES = "refs/notes/gitops"
_HEADS = "refs/stagecraft/heads/"
_NEW = "refs/stagecraft/new"
#: What git says of a clone that a killed run left unfinished.
_BROKEN = (
    ".lock': File exists", "not a git repository", "bad object", "missing blob", "missing tree", "unable to read tree",
    "did not send all necessary objects", "is corrupt", "is empty", "invalid sha1 pointer", "bad signature",
)  # fmt: skip
_LOCK_SECONDS = 120.0
_NOTE_ATTEMPTS = 10
_MOST_LEARNT = 200_000
_FIELDS = "%x01%H%x02%P%x02%ct%x02%an <%ae>%x02%B%x03"


class File(NamedTuple):
    """A file of a commit: its mode as git writes it, and the id of its content."""

    mode: str
    blob: str


@dataclass(frozen=True)
class Commit:
    """A commit: `time` is in seconds since the epoch; `blobs` maps the paths asked for that it changed to contents.

    A content is None where the commit removed the file.
    """

    id: str
    time: int
    author: str
    message: str
    blobs: Mapping[str, str | None] = field(default_factory=dict)
    parents: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        return self.message.partition("\n")[0]


def cache_directory() -> Path:
    """Return where clones are kept: STAGECRAFT_CACHE, or the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("STAGECRAFT_CACHE") or Path(cache, "stagecraft")).expanduser() / "git"


class Repository:
    """A remote repository; use it in a `with` statement, which keeps other runs on this machine waiting meanwhile.

    Its clone lies below `cache`; where another run does not let go of that, a clone of its own is made.
    """

    def __init__(self, remote: Remote, cache: Path | None = None) -> None:
        self._remote = remote
        name = hashlib.sha256(remote.url.encode()).hexdigest()[:20]
        self._place = (cache or cache_directory()) / name
        self._stack = contextlib.ExitStack()
        self._trusted = False
        self._program: Program
        self.directory: Path

    def __enter__(self) -> Self:
        home = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="stagecraft-git-")))
        try:
            locked = self._lock()
        except OSError as error:
            self._stack.close()
            raise GitError(f"the clones of repositories cannot be kept in {self._place.parent}: {error}.") from error
        self.directory = self._place.with_suffix(".git") if locked else home / "repository"
        self._program = Program(self._remote, self.directory, home, self._place.parent)
        if not (self.directory / "HEAD").is_file():
            self._make()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _lock(self) -> bool:
        self._place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        stream = self._stack.enter_context(open(self._place.with_suffix(".lock"), "a", encoding="ascii"))  # noqa: SIM115
        ends = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() > ends:
                    return False
                time.sleep(0.02)

    def _make(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        self._program.run("init", "--quiet", "--bare")
        self.directory.chmod(0o700)

    # -- reading -------------------------------------------------------------------------------------------------------

    def known(self, branch: str) -> str | None:
        """Return the commit that a branch had when this machine last fetched or pushed it, or None."""
        return self.commit_of(f"{_HEADS}{branch}")

    @contextlib.contextmanager
    def trusted(self) -> Iterator[None]:
        """Let `fetch` be content with what is `known` within the block: a push tells whether that was right."""
        self._trusted = True
        try:
            yield
        finally:
            self._trusted = False

    def fetch(self, branches: Iterable[str], *, tags: bool = False) -> dict[str, str]:
        """Bring the clone up to date; return the commit of each branch. Raises GitError, also for one that is missing."""
        wanted = list(dict.fromkeys(branches))
        if self._trusted:
            tips = {branch: self.known(branch) for branch in wanted}
            there = {branch: tip for branch, tip in tips.items() if tip is not None}
            if len(there) == len(wanted):
                return there
        specs = [f"+refs/heads/{branch}:{_HEADS}{branch}" for branch in wanted]
        # A pattern, unlike a name, may match nothing.
        specs += ["+refs/notes/gitop*:refs/notes/gitop*", *(["+refs/tags/*:refs/tags/*"] if tags else [])]
        done = self._program.run("fetch", "--quiet", "--no-tags", "--no-auto-gc", self._remote.url, *specs, check=False)
        said = done.stderr.decode("utf-8", "replace")
        if done.returncode and any(sign in said for sign in _BROKEN):
            self._make()
            done = self._program.run("fetch", "--quiet", "--no-tags", self._remote.url, *specs, check=False)
            said = done.stderr.decode("utf-8", "replace")
        if done.returncode:
            if "find remote ref" in said:
                raise GitError(
                    f"{self._remote}: the repository lacks a branch of {', '.join(wanted)}; it has"
                    f" {', '.join(self.heads()) or 'none'}. Name one of these, or push the branch yourself."
                )
            raise self._program.failure(said)
        refs = [f"{_HEADS}{branch}" for branch in wanted]
        found = self._program.run("rev-parse", *refs).stdout.decode().split()
        return dict(zip(wanted, found, strict=True))

    def heads(self, pattern: str = "") -> dict[str, str]:
        """Ask the server for its branches: name → commit."""
        listed = self._program.run("ls-remote", "--heads", self._remote.url, *([pattern] if pattern else []))
        pairs = (line.split("\t") for line in listed.stdout.decode().splitlines())
        return {ref.removeprefix("refs/heads/"): commit for commit, ref in pairs}

    def fetch_commit(self, branch: str) -> str | None:
        """Fetch one branch that need not be there; return its commit, or None."""
        if branch not in self.heads(f"refs/heads/{branch}"):
            return None
        return self.fetch([branch])[branch]

    def files(self, commit: str) -> dict[str, File]:
        """Return all files of a commit by path; symbolic links and submodules are left out."""
        listing = self._program.run("ls-tree", "-r", "-z", "--full-tree", commit).stdout
        lines = listing.decode("utf-8", "surrogateescape").split("\0")
        # MODE TYPE ID<tab>PATH; the id's length depends on the repository's hash
        return {
            path: File(meta[:6], meta[12:])
            for meta, _tab, path in (one.partition("\t") for one in lines)
            if meta[:3] == "100"
        }

    def read(self, blobs: Iterable[str]) -> dict[str, bytes]:
        """Return contents by their ids."""
        wanted = list(dict.fromkeys(blobs))
        if not wanted:
            return {}
        answer = self._program.run(
            "cat-file", "--batch", "--buffer", data="".join(f"{one}\n" for one in wanted).encode()
        )
        contents: dict[str, bytes] = {}
        stream, position = answer.stdout, 0
        for blob in wanted:
            end = stream.index(b"\n", position)
            size = int(stream[position:end].split()[2])
            contents[blob] = stream[end + 1 : end + 1 + size]
            position = end + size + 2
        return contents

    def learnt(self, what: str) -> set[str]:
        """Return the ids of contents of which `learn` has noted something, on this machine."""
        try:
            text = (self.directory / f"stagecraft-{what}").read_text(encoding="ascii")
        except FileNotFoundError:
            return set()
        found = set(text.split("\n"))
        return found if len(found) < _MOST_LEARNT else set()

    def learn(self, what: str, blobs: Iterable[str], *, afresh: bool = False) -> None:
        """Note something of contents by their ids. A note that a killed run cut off is of no content, and does no harm."""
        with (self.directory / f"stagecraft-{what}").open("w" if afresh else "a", encoding="ascii") as stream:
            stream.write("".join(f"{blob}\n" for blob in blobs))

    def commit_of(self, name: str) -> str | None:
        """Return the commit that a commit's (abbreviated) id or a tag means, or None."""
        found = self._program.run(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", check=False
        )
        return found.stdout.decode().strip() or None

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Say whether `newer` comes after `older`, or is it."""
        return self._program.run("merge-base", "--is-ancestor", older, newer, check=False).returncode == 0

    def log(
        self, tip: str, paths: Sequence[str] = (), *, limit: int = 0, grep: str = "", merged: bool = False
    ) -> list[Commit]:
        """Return the commits of the first-parent history of `tip` that touch `paths` (all without), newest first.

        Paths may be git's glob patterns. With `grep` only those whose message has that text, and with `merged` also those
        that merges brought.
        """
        options = ["--diff-merges=first-parent", "--raw", "--no-abbrev", "--no-renames", "-z"]
        options += [] if merged else ["--first-parent"]
        options += [f"--max-count={limit}"] if limit else []
        options += ["--fixed-strings", f"--grep={grep}"] if grep else []
        specs = ["--", *(f":(glob){path}" for path in paths)] if paths else ["--"]
        out = self._program.run("log", *options, f"--format={_FIELDS}", tip, *specs).stdout
        return list(_commits(out.decode("utf-8", "surrogateescape")))

    def brought_by(self, merge: Commit) -> list[Commit]:
        """Return the commits that came into the first-parent history by a merge, newest first; none where it is no merge."""
        if len(merge.parents) < 2:
            return []
        first, *others = merge.parents
        out = self._program.run("log", f"--format={_FIELDS}", *others, f"^{first}", "--").stdout
        return list(_commits(out.decode("utf-8", "surrogateescape")))

    def bringing(self, commits: Iterable[str], tip: str) -> list[str]:
        """Return the commits of the first-parent history of `tip` that others came by, newest first: themselves, or merges."""
        line = self._program.run("rev-list", "--first-parent", tip).stdout.decode().split()
        found, oldest_first = set[str](), line[::-1]
        known = set(line)
        for commit in commits:
            if commit in known:
                found.add(commit)
            else:
                path = self._program.run("rev-list", "--ancestry-path", f"{commit}..{tip}").stdout.decode().split()
                after = set(path)
                found |= set([one for one in oldest_first if one in after][:1])
        return [one for one in line if one in found]

    def at_time(self, tip: str, moment: int) -> str | None:
        """Return the newest commit of the first-parent history that is not younger than `moment` (epoch seconds)."""
        found = self._program.run("rev-list", "--first-parent", "--max-count=1", f"--before={moment}", tip)
        return found.stdout.decode().strip() or None

    def moment(self, text: str) -> int | None:
        """Read a time as git does (``2026-12-24 18:00``, ``2 hours ago``): seconds since the epoch, or None."""
        done = self._program.run("rev-parse", f"--since={text}", check=False).stdout.decode().strip()
        found = done.removeprefix("--max-age=")
        return int(found) if found.isdigit() else None

    def changed(self, old: str, new: str) -> dict[str, tuple[str | None, str | None]]:
        """Return path → (content before, after) of all files that differ between two commits."""
        out = self._program.run("diff-tree", "-r", "--raw", "--no-abbrev", "--no-renames", "-z", old, new).stdout
        return dict(_raw(out.decode("utf-8", "surrogateescape")))

    def parent(self, commit: str) -> str | None:
        """Return the first parent of a commit, or None."""
        return self.commit_of(f"{commit}^1")

    def merge_file(self, ours: bytes, base: bytes, theirs: bytes) -> bytes | None:
        """Merge two changes of a text; None where they are of the same lines."""
        with tempfile.TemporaryDirectory(prefix="stagecraft-git-") as work:
            names = [Path(work, name) for name in ("ours", "base", "theirs")]
            for name, content in zip(names, (ours, base, theirs), strict=True):
                name.write_bytes(content)
            done = self._program.run("merge-file", "-p", "--quiet", *(str(name) for name in names), check=False)
            return done.stdout if done.returncode == 0 else None

    # -- writing -------------------------------------------------------------------------------------------------------

    def commit(
        self, base: str, changes: Changes, message: str, author: Author, modes: Mapping[str, str], *, sign: str = ""
    ) -> str:
        """Make a commit on top of `base`; nobody sees it before it is pushed.

        `modes` are those of the base's files. `sign` is "" for no signature, `default` for git's own choice of a key,
        else the key's name.
        """
        stream = import_stream(_NEW, base, changes, message, author, modes)
        self._program.run("fast-import", "--quiet", "--force", data=stream)
        made = self._program.run("rev-parse", _NEW).stdout.decode().strip()
        if not sign:
            return made
        key = "-S" if sign == "default" else f"-S{sign}"
        who = {"NAME": author.name, "EMAIL": author.email}
        environment = {f"GIT_{role}_{part}": text for role in ("AUTHOR", "COMMITTER") for part, text in who.items()}
        tree = f"{made}^{{tree}}"
        signed = self._program.run(
            "commit-tree", key, "-p", base, "-F", "-", tree, data=message.encode(), environment=environment
        )
        return signed.stdout.decode().strip()

    def push(self, commit: str, branch: str, expected: str | None) -> None:
        """Let `branch` point to `commit` if it still points to `expected` (None: is not there).

        Raises BranchMovedError where it does not, GitError for all else.
        """
        ref = f"refs/heads/{branch}"
        self._program.push(f"--force-with-lease={ref}:{expected or ''}", self._remote.url, f"{commit}:{ref}")
        self._program.run("update-ref", f"{_HEADS}{branch}", commit)

    # -- notes -----------------------------------------------------------------------------------------------------------

    def notes(self) -> dict[str, str]:
        """Return the id of the note of each commit that has one."""
        listed = self._program.run("notes", f"--ref={NOTES}", "list", check=False).stdout.decode().splitlines()
        return {commit: note for note, _space, commit in (line.partition(" ") for line in listed)}

    def note(self, commit: str) -> str:
        """Return the note of a commit, or ""."""
        done = self._program.run("notes", f"--ref={NOTES}", "show", commit, check=False)
        return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""

    def add_note(self, commit: str, text: str, author: Author) -> None:
        """Append lines to the note of a commit and push it. The branch stays as it is. Raises GitError."""
        who = {"NAME": author.name, "EMAIL": author.email}
        environment = {f"GIT_{role}_{part}": said for role in ("AUTHOR", "COMMITTER") for part, said in who.items()}
        for attempt in range(1, _NOTE_ATTEMPTS + 1):
            self._program.run("fetch", "--quiet", "--no-tags", self._remote.url, "+refs/notes/gitop*:refs/notes/gitop*")
            listed = self._program.run("rev-parse", "--verify", "--quiet", NOTES, check=False).stdout.decode().strip()
            content = self.note(commit) + text.rstrip("\n") + "\n"
            self._program.run(
                "notes",
                f"--ref={NOTES}",
                "add",
                "-f",
                "-F",
                "-",
                commit,
                data=content.encode(),
                environment=environment,
            )
            try:
                self._program.push(f"--force-with-lease={NOTES}:{listed}", self._remote.url, f"{NOTES}:{NOTES}")
                return
            except BranchMovedError:
                if attempt == _NOTE_ATTEMPTS:
                    raise
                time.sleep(0.1 * attempt)


def _commits(out: str) -> Iterator[Commit]:
    """Read what ``git log --raw -z`` prints with the format of `Repository.log`."""
    for entry in out.split("\x01")[1:]:
        head, _mark, raw = entry.partition("\x03")
        identity, parents, moment, author, message = head.split("\x02", 4)
        blobs = {path: after for path, (_before, after) in _raw(raw.lstrip("\0\n"))}
        yield Commit(identity, int(moment), author, message.strip("\n"), blobs, tuple(parents.split()))


def _raw(out: str) -> Iterator[tuple[str, tuple[str | None, str | None]]]:
    """Read git's raw difference: path, and the contents before and after."""
    parts = iter(out.split("\0"))
    for meta in parts:
        if not meta.lstrip("\n").startswith(":"):
            continue
        before, after = meta.split()[2:4]
        path = next(parts, None)
        if path is None:
            return
        yield path, (_content(before), _content(after))


def _content(blob: str) -> str | None:
    return None if not blob.strip("0") else blob
