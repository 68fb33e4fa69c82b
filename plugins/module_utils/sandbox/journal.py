# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was made outside the state directory, written down before it is made."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import SandboxError


@dataclass(frozen=True)
class Resource:
    """One thing that exists outside the state directory.

    kind is one of: netns, link, cgroup, mount, machine, file, directory.  name is its path, or its name in the
    machine's root namespaces.
    """

    kind: str
    name: str


def write_json(path: Path, value: Any, mode: int = 0o600) -> None:
    """Replace ``path`` by ``value`` as JSON; see ``write_text``."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n", mode)


def write_text(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace ``path`` by ``text``; whoever is killed meanwhile, either the old or the new content is there.

    It does not wait for the disk: with the power of the machine itself gone, so are all things that the files tell of.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(text)
    temporary.rename(path)


def read_json(path: Path) -> Any:
    """Return the content of ``path``, or None where there is no such file.

    Raises SandboxError when it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        message = (
            f"{path} is damaged ({error}): where the machine has been restarted since, delete the file; else restore it"
        )
        raise SandboxError(message) from error


class Journal:
    """A list of resources on disk, in the order in which they were made."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[Resource]:
        """Return all resources, oldest first."""
        return [Resource(entry["kind"], entry["name"]) for entry in read_json(self.path) or []]

    def record(self, resources: Iterable[Resource]) -> None:
        """Add resources; call it before they are made."""
        known = self.entries()
        new = [resource for resource in resources if resource not in known]
        if new:
            self._write(known + new)

    def forget(self, resources: Iterable[Resource]) -> None:
        """Take resources out; call it after they are gone."""
        gone = list(resources)
        if gone:
            self._write([resource for resource in self.entries() if resource not in gone])

    def _write(self, resources: list[Resource]) -> None:
        write_json(self.path, [{"kind": resource.kind, "name": resource.name} for resource in resources])
