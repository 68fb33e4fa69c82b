# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cluster would get: kustomizations built in memory, before and after a plan."""

from __future__ import annotations

import bisect
import difflib
import posixpath
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import BuildError, UnsupportedError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.kustomize import FILE_NAMES, Builder
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.resources import label
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.tree import (
    ABSENT,
    Tree,
    digest,
    listing_digest,
    listing_key,
    normal,
)

Object = dict[str, Any]
_SEVERE = "error"
_MOST_AT_ONCE = 200


class CommitTree(Tree):
    """The files of a commit, with some of them replaced: nothing is written anywhere.

    `paths` are those of the commit, `read` returns the contents of some of them.
    """

    def __init__(
        self,
        paths: Collection[str],
        read: Callable[[Iterable[str]], Mapping[str, bytes]],
        changed: Mapping[str, bytes | None],
    ) -> None:
        super().__init__(Path("/"))
        self._paths, self._changed, self._source = paths, changed, read
        self._sorted: list[str] | None = None

    def _is_file(self, path: str) -> bool:
        return self._changed[path] is not None if path in self._changed else path in self._paths

    def _all(self) -> list[str]:
        if self._sorted is None:
            added = {path for path, content in self._changed.items() if content is not None and path not in self._paths}
            self._sorted = sorted([path for path in self._paths if self._is_file(path)] + list(added))
        return self._sorted

    def read(self, path: str) -> bytes | None:
        """Return a file's content, or None when there is no such file."""
        path = normal(path)
        if path not in self._data:
            if path in self._changed:
                self._note(path, self._changed[path])
            elif path not in self._paths:
                self._note(path, None)
            else:
                # who reads one file of a directory soon reads the others
                beside = [one for one in self._below(posixpath.dirname(path)) if one not in self._data][:_MOST_AT_ONCE]
                wanted = {path, *(one for one in beside if one not in self._changed)}
                for one, content in self._source(wanted).items():
                    self._note(one, content)
        for notes in self._notes:
            notes[path] = self._digests[path]
        return self._data[path]

    def _note(self, path: str, content: bytes | None) -> None:
        self._data[path] = content
        self._digests[path] = ABSENT if content is None else digest(content)

    def _below(self, directory: str) -> list[str]:
        """Return the files of a directory and of those in it."""
        if directory in ("", "."):
            return [path for path in self._all() if "/" not in path]
        paths = self._all()
        begin = bisect.bisect_left(paths, f"{directory}/")
        return paths[begin : bisect.bisect_left(paths, f"{directory}0")]  # "0" is what comes after "/"

    def is_directory(self, path: str) -> bool:
        """Say whether there is a directory."""
        path = normal(path)
        return path == "." or bool(self._below(path))

    def names(self, path: str) -> list[str]:
        """Return what is in a directory, sorted; names of directories end in a slash."""
        path = normal(path)
        inside = self._all() if path == "." else [one[len(path) + 1 :] for one in self._below(path)]
        found = sorted(
            {name if not slash else f"{name}/" for name, slash, _rest in (one.partition("/") for one in inside)}
        )
        for notes in self._notes:
            notes[listing_key(path)] = listing_digest(found)
        return found

    def has_kustomization(self, directory: str) -> bool:
        """Say whether a directory has a kustomization."""
        return any(self._is_file(posixpath.join(directory, name)) for name in FILE_NAMES)


@dataclass(frozen=True)
class Rendered:
    """What the built directories bring: objects by their names, and why some could not be built.

    `unsupported` are directories with features that only the program kustomize knows.
    """

    objects: Mapping[str, Object] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()


def directories(tree: CommitTree, files: Iterable[str], top: str) -> list[str]:
    """Return the directories to build for these files: the outermost kustomizations that lead to them, below `top`."""
    found: dict[str, None] = {}
    for path in files:
        directory = posixpath.dirname(path)
        while directory and not tree.has_kustomization(directory) and directory != top:
            directory = posixpath.dirname(directory)
        if not tree.has_kustomization(directory):
            continue
        while directory != top and _is_listed(tree, directory):
            directory = posixpath.dirname(directory)
        found[directory or "."] = None
    return sorted(found)


def _is_listed(tree: CommitTree, directory: str) -> bool:
    """Say whether the kustomization of the parent directory has this one among its resources."""
    parent, name = posixpath.split(directory)
    for file in FILE_NAMES:
        content = tree.read(posixpath.join(parent, file))
        if content is None:
            continue
        try:
            value = yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # a safe loader either way
        except yaml.YAMLError:
            return False
        listed = [entry for key in ("resources", "bases", "components") for entry in (value or {}).get(key) or []]
        return any(isinstance(entry, str) and normal(entry) == name for entry in listed)
    return False


def render(tree: CommitTree, places: Iterable[str]) -> Rendered:
    """Build directories. Problems are told, never raised."""
    objects: dict[str, Object] = {}
    problems: list[str] = []
    unsupported: list[str] = []
    for directory in places:
        builder = Builder(tree)
        try:
            place = builder.load(directory)
            resources = [] if place is None else builder.build(place)
        except UnsupportedError as reason:
            unsupported.append(f"{directory}: {reason}")
            continue
        except BuildError as error:
            problems.append(f"{directory}: {error}")
            continue
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            problems.append(f"{directory} cannot be built: a value has a shape that no such field can have ({error})")
            continue
        problems += [f"{one.file}:{one.line}: {one.message}" for one in builder.findings if one.severity == _SEVERE]
        objects |= {label(resource.content): resource.content for resource in resources}
    return Rendered(objects, tuple(dict.fromkeys(problems)), tuple(unsupported))


def diff(before: Rendered, after: Rendered) -> str:
    """Return the difference of the objects as one unified diff, without the contents of Secrets."""
    parts = []
    for name in sorted(before.objects.keys() | after.objects.keys()):
        old, new = before.objects.get(name), after.objects.get(name)
        if old != new:
            one, other = (_text(value).splitlines(keepends=True) for value in (old, new))
            parts += list(difflib.unified_diff(one, other, name, name))
    return "".join(parts)


def _text(value: Object | None) -> str:
    if value is None:
        return ""
    if value.get("kind") == "Secret":
        hidden: Object = {key: "(not shown)" for key in ("data", "stringData") if key in value}
        value = {**value, **hidden}
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000)
