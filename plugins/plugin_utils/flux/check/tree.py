# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository's files, read once each, with a note of what was asked for."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.documents import Document, Problem, parse
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import CheckError

#: Never part of what Flux applies.
SKIPPED = frozenset({".git"})
ABSENT = ""


def digest(data: bytes) -> str:
    """Return what tells one content from another."""
    return hashlib.sha256(data).hexdigest()


def normal(path: str) -> str:
    """Return a path relative to the root in one spelling; the root itself is `.`."""
    return posixpath.normpath(path).lstrip("/") or "."


def listing_key(directory: str) -> str:
    """Return the name under which the listing of a directory is noted."""
    return f"{directory}/"


def listing_digest(names: list[str]) -> str:
    """Return the digest of a directory's sorted names."""
    return digest("\n".join(names).encode())


class Tree:
    """A repository's work tree. Nothing outside of `root` is read."""

    def __init__(self, root: Path) -> None:
        """Take the directory that paths are relative to."""
        self.root = os.path.realpath(root)
        self._data: dict[str, bytes | None] = {}
        self._documents: dict[str, tuple[list[Document], list[Problem]]] = {}
        self._digests: dict[str, str] = {}
        self._notes: list[dict[str, str]] = []

    @contextmanager
    def noting(self) -> Iterator[dict[str, str]]:
        """Collect what is asked for within the block: path and digest, "" for what is not there."""
        notes: dict[str, str] = {}
        self._notes.append(notes)
        try:
            yield notes
        finally:
            self._notes.remove(notes)

    def note(self, notes: dict[str, str]) -> None:
        """Repeat notes of an earlier block, whose result is used again."""
        for current in self._notes:
            current.update(notes)

    def absolute(self, path: str) -> str:
        """Return the path in the file system; a link that leads out of the repository is refused."""
        found = os.path.realpath(os.path.join(self.root, path))
        if found != self.root and not found.startswith(self.root + os.sep):
            raise CheckError(f"{path} leads out of the repository {self.root}")
        return found

    def read(self, path: str) -> bytes | None:
        """Return a file's content, or None when there is no such file."""
        if path not in self._data:
            try:
                with open(self.absolute(path), "rb") as stream:
                    self._data[path] = stream.read()
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError, CheckError):
                self._data[path] = None
            data = self._data[path]
            self._digests[path] = ABSENT if data is None else digest(data)
        for notes in self._notes:
            notes[path] = self._digests[path]
        return self._data[path]

    def documents(self, path: str) -> tuple[list[Document], list[Problem]] | None:
        """Return a YAML file's documents and problems, or None when there is no such file. Not to be changed."""
        data = self.read(path)
        if data is None:
            return None
        if path not in self._documents:
            self._documents[path] = parse(data)
        return self._documents[path]

    def is_directory(self, path: str) -> bool:
        """Say whether there is a directory."""
        try:
            return os.path.isdir(self.absolute(path))
        except CheckError:
            return False

    def names(self, path: str) -> list[str]:
        """Return what is in a directory, sorted; names of directories end in a slash."""
        try:
            with os.scandir(self.absolute(path)) as entries:
                found = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries)
        except (FileNotFoundError, NotADirectoryError, CheckError):
            found = []
        for notes in self._notes:
            notes[listing_key(path)] = listing_digest(found)
        return found

    def files(self) -> Iterator[str]:
        """Return the paths of all files of the repository."""
        for directory, directories, names in os.walk(self.root):
            directories[:] = sorted(name for name in directories if name not in SKIPPED)
            relative = os.path.relpath(directory, self.root).replace(os.sep, "/")
            prefix = "" if relative == "." else f"{relative}/"
            for name in sorted(names):
                yield prefix + name
