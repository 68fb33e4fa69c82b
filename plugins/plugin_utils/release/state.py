# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an environment has at a commit: the files of a component, and the versions in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import selectors
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.model import Component, Environment
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.selectors import Occurrence, Version
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit.errors import YamlEditError

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.repository import File, Repository

#: The version vector of a component: selector → version, in the files' order. Where files of one environment disagree,
#: a selector's name has `` in PATH`` behind it.
Vector = dict[str, Version]


@dataclass(frozen=True)
class State:
    """A component in an environment at a commit: `files` are its files that have versions, `copied` those of a subtree.

    `contents` are the bytes of `files`; paths are from the root of the repository.
    """

    environment: Environment
    component: Component
    commit: str
    occurrences: tuple[Occurrence, ...]
    contents: Mapping[str, bytes] = field(repr=False)
    copied: Mapping[str, str] = field(default_factory=dict)

    @property
    def vector(self) -> Vector:
        return vector(self.occurrences, self.environment.path) | {
            f"file[{path}]": (("blob", blob),) for path, blob in self.copied.items()
        }

    @property
    def files(self) -> list[str]:
        return sorted({one.file for one in self.occurrences})


def vector(occurrences: Iterable[Occurrence], root: str) -> Vector:
    """Return the version vector of occurrences; `root` is the environment's path."""
    found: dict[str, dict[str, Version]] = {}
    for one in occurrences:
        found.setdefault(one.selector, {})[relative(one.file, root)] = one.version
    result: Vector = {}
    for selector, places in found.items():
        if len(set(places.values())) == 1:
            result[selector] = next(iter(places.values()))
        else:
            result |= {f"{selector} in {place}": version for place, version in sorted(places.items())}
    return result


def relative(path: str, root: str) -> str:
    """Return a path below `root`, or as it is where it lies elsewhere."""
    return path.removeprefix(f"{root}/") if path.startswith(f"{root}/") else path


@lru_cache(maxsize=256)
def glob(pattern: str) -> re.Pattern[str]:
    """Return what matches a glob: ``**`` crosses directories, and a directory means all that is in it."""
    said = re.escape(pattern.strip("/"))
    said = said.replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    return re.compile(f"{said}(?:/.*)?")


def is_candidate(path: str, environment: Environment, component: Component) -> bool:
    """Say whether a file may hold a version of the component, by its path alone."""
    own = component.paths.get(environment.name)
    if own is not None:
        return any(glob(pattern).fullmatch(path) for pattern in own)
    if environment.path and not path.startswith(f"{environment.path}/"):
        return False
    shared = component.paths.get("*")
    inside = relative(path, environment.path)
    return shared is None or any(glob(pattern).fullmatch(inside) for pattern in shared)


def belongs(one: Occurrence, environment: Environment, component: Component) -> bool:
    """Say whether an occurrence in a candidate is the component's: by the files chosen, or by its name."""
    if environment.name in component.paths or "*" in component.paths:
        return True
    steps = relative(one.file, environment.path).split("/")
    return component.name in (one.label, *steps[:-1], steps[-1].partition(".")[0])


class Reader:
    """Reads states out of one repository; each content is read and understood once."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._files: dict[str, dict[str, File]] = {}
        self._contents: dict[str, bytes] = {}
        self._found: dict[tuple[str, str, object], tuple[Occurrence, ...]] = {}
        #: Contents that have no selector, as far as this machine has ever looked: most of a repository.
        self._without: set[str] | None = None

    def on(self, repository: Repository) -> Reader:
        """Return a reader that knows what this one does, and reads on from another opening of the repository."""
        other = Reader(repository)
        other._files, other._contents, other._found = self._files, self._contents, self._found
        other._without = self._without
        return other

    def files(self, commit: str) -> dict[str, File]:
        """Return all files of a commit."""
        if commit not in self._files:
            self._files[commit] = self._repository.files(commit)
        return self._files[commit]

    def contents(self, blobs: Iterable[str]) -> dict[str, bytes]:
        """Return contents by their ids."""
        wanted = set(blobs)
        self._contents |= self._repository.read(wanted - self._contents.keys())
        return {blob: self._contents[blob] for blob in wanted}

    def content(self, commit: str, path: str) -> bytes | None:
        """Return a file of a commit, or None."""
        file = self.files(commit).get(path)
        return None if file is None else self.contents([file.blob])[file.blob]

    def occurrences(self, path: str, blob: str, component: Component) -> tuple[Occurrence, ...]:
        """Return the occurrences in one content. Raises ReleaseError where it cannot be read."""
        key = (path, blob, component.select)
        if key not in self._found:
            self._found[key] = self.occurrences_in(path, self.contents([blob])[blob], component)
        return self._found[key]

    @staticmethod
    def occurrences_in(path: str, content: bytes, component: Component) -> tuple[Occurrence, ...]:
        """Return the occurrences in some text. Raises ReleaseError where it cannot be read."""
        if not selectors.may_have(path, content, component.select):
            return ()
        try:
            return tuple(selectors.occurrences(path, content, component.select))
        except YamlEditError as error:
            raise ReleaseError(f"{error}. Correct the file first.") from error

    def state(self, commit: str, environment: Environment, component: Component) -> State:
        """Return what a component has in an environment at a commit. Raises ReleaseError."""
        files = self.files(commit)
        candidates = self._candidates(commit, environment, component)
        named, chosen = component.name.encode(), environment.name in component.paths or "*" in component.paths
        found = []
        for path in candidates:
            blob = files[path].blob
            if chosen or component.name in path or named in self._contents[blob]:
                found += [o for o in self.occurrences(path, blob, component) if belongs(o, environment, component)]
        copied = {}
        if component.subtree:
            for path, file in files.items():
                inside = relative(path, environment.path)
                if inside != path and any(glob(pattern).fullmatch(inside) for pattern in component.subtree):
                    copied[inside] = file.blob
        taken = {one.file for one in found}
        contents = {path: self._contents[files[path].blob] for path in sorted(taken)}
        return State(environment, component, commit, tuple(found), contents, copied)

    def _candidates(self, commit: str, environment: Environment, component: Component) -> list[str]:
        """Return the files that may hold versions, and read them."""
        files = self.files(commit)
        paths = [path for path in files if path.endswith((".yaml", ".yml", "/Kustomization"))]
        if environment.path and environment.name not in component.paths:
            prefix = f"{environment.path}/"
            paths = [path for path in paths if path.startswith(prefix)]
        if component.paths:
            paths = [path for path in paths if is_candidate(path, environment, component)]
        return self._read(paths, files) if not component.select else self._read_all(paths, files)

    def _read_all(self, paths: list[str], files: Mapping[str, File]) -> list[str]:
        self.contents(files[path].blob for path in paths)
        return paths

    def _read(self, paths: list[str], files: Mapping[str, File]) -> list[str]:
        """Read those of the files that may have a selector which nobody has declared, and return them."""
        if self._without is None:
            self._without = self._repository.learnt(selectors.SIGNS)
        known = self._without
        paths = [path for path in paths if files[path].blob not in known]
        contents = self.contents(files[path].blob for path in paths)
        new = {blob for blob, content in contents.items() if not selectors.has_sign(content)}
        if new:
            self._repository.learn(selectors.SIGNS, new, afresh=not known)
            known |= new
        return [path for path in paths if files[path].blob not in new]

    def labels(self, commit: str, environment: Environment) -> list[str]:
        """Return the names of all components that can be found in an environment."""
        files = self.files(commit)
        everything = Component("*")
        candidates = self._candidates(commit, environment, everything)
        return sorted(
            {one.label for path in candidates for one in self.occurrences(path, files[path].blob, everything)}
        )
