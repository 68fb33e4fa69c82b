# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declared artefacts, resolved in the catalogue: entries, expected digests, where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state import room
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state.errors import ProblemsError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts import packages
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import Catalogue, Entry
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import ArtifactError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.fetch import Fetched, fetch, plan_fetch
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.transport import Transport

if TYPE_CHECKING:
    from pathlib import Path

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.lock import Lock
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.source import Settings

ARCHITECTURES = ("amd64", "arm64")


@dataclass
class Wanted:
    """What the declared artefacts are, by "name/version" and architecture.

    `digests` go to the host's module; `unknown` says why there is none; `unpulled` are images whose digest only a pull
    can tell; `origins` are addresses by `Entry.key`; `repositories` are a bundle's packages by what a host calls itself.
    """

    entries: dict[str, dict[str, Entry]] = field(default_factory=dict)
    digests: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    unknown: dict[tuple[str, str], str] = field(default_factory=dict)
    unpulled: dict[str, dict[str, Entry]] = field(default_factory=dict)
    repositories: dict[str, Fetched] = field(default_factory=dict)

    def expect(self, key: str, entry: Entry, sha256: str, size: int | None) -> None:
        """Note what an artefact has to be on one architecture; `size` in bytes."""
        expected = {"sha256": sha256, "size": size, "reference": entry.reference or None}
        self.digests.setdefault(key, {})[entry.arch] = expected

    def reasons(self, message: str) -> list[str]:
        """Tell why digests are unknown, for the architecture that a message of the module is about."""
        found = [reason for (_key, arch), reason in self.unknown.items() if f"architecture {arch};" in message]
        return list(dict.fromkeys(found))


def resolve(state: dict[str, Any], arch: str | None, catalogue: Catalogue) -> Wanted:
    """Resolve the artefacts of `state` and complete them: stripping and members come from the catalogue when not given.

    Raises ProblemsError with every artefact that cannot be resolved.
    """
    wanted = Wanted()
    problems = []
    for artifact in state.get("artifacts") or []:
        try:
            found = {
                one: catalogue.resolve(artifact["name"], artifact["version"], one)
                for one in ([arch] if arch else ARCHITECTURES)
            }
        except ArtifactError as error:
            problems.append(str(error))
            continue
        entry = next(iter(found.values()))
        artifact["version"] = entry.version
        if artifact["install"] == "archive":
            artifact.setdefault("strip", entry.strip)
            artifact.setdefault("members", list(entry.members))
        if (artifact["install"] == "image") != (entry.kind == "image"):
            problems.append(f"{entry}: install is {artifact['install']}, but the catalogue has it as {entry.kind}")
        wanted.entries[f"{entry.name}/{entry.version}"] = found
    if problems:
        raise ProblemsError("The declared artifacts cannot be used:", problems)
    return wanted


def expect_all(wanted: Wanted, settings: Settings, lock: Lock) -> None:
    """Find the digests without downloading artefacts; what one architecture lacks goes to `unknown`."""
    for key, entries in wanted.entries.items():
        for arch, entry in entries.items():
            try:
                planned = plan_fetch([entry], settings.source, settings.cache, lock)[0]
            except ArtifactError as error:
                wanted.unknown[key, arch] = str(error)
                continue
            wanted.origins[entry.key] = planned.origin
            if planned.sha256 is None:
                wanted.unpulled.setdefault(key, {})[arch] = entry
            else:
                wanted.expect(key, entry, planned.sha256, planned.size)


def expect_packages(wanted: Wanted, settings: Settings) -> None:
    """Note the packages that a bundle has; an older one may have none.

    Raises ArtifactError where a file is missing that the bundle's lock file names.
    """
    lock = settings.source.lock(Transport())
    for release, locked in (packages.available(lock) if lock is not None else {}).items():
        file = settings.source.file(f"{packages.FOLDER}/{release}.tar")
        wanted.repositories[release] = Fetched(file, locked.sha256, file.stat().st_size, cached=True)
        # as a host names what it needs, with its architecture
        wanted.origins[f"packages of {release}/{release.rpartition('/')[2]}"] = str(file)


def pull_unknown(wanted: Wanted, arch: str, settings: Settings, lock: Lock) -> None:
    """Pull images whose digest nothing states yet; it is in the lock file from then on."""
    entries = {key: found[arch] for key, found in wanted.unpulled.items() if arch in found}
    fetched = fetch(entries.values(), settings.source, settings.cache, lock, jobs=settings.jobs)
    for key, entry in entries.items():
        wanted.expect(key, entry, fetched[entry.key].sha256, fetched[entry.key].size)


def announcements(wanted: Wanted, result: Mapping[str, Any], verb: str) -> list[dict[str, str]]:
    """Return the entries of a plan that say what has to be fetched for a module's result."""
    found = []
    arch = str(result.get("facts", {}).get("arch"))
    for key, entries in wanted.unpulled.items():
        if arch in entries and arch not in wanted.digests.get(key, {}):
            after = f"{verb} {entries[arch].reference}, of which nothing is known before its first pull"
            found.append({"kind": "fetch", "target": key, "action": "fetch", "before": "unknown", "after": after})
    for need in result.get("needs", []):
        origin = wanted.origins.get(f"{need['key']}/{need['arch']}", "the controller's cache")
        after = f"{verb} {origin} ({megabytes(need.get('size'))})"
        found.append(
            {"kind": "fetch", "target": need["key"], "action": "fetch", "before": need["reason"], "after": after}
        )
    return found


def megabytes(size: int | None) -> str:
    """Words for a number of bytes, which may not be known."""
    return "size unknown" if size is None else f"{size / 1e6:.1f} MB"


def unpacked_size(path: Path) -> int:
    """Return the bytes that an archive unpacks to: gzip says so at its end; others are taken as three times theirs."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        if stream.read(2) != b"\x1f\x8b":
            return 3 * size
        stream.seek(-4, 2)
        return int.from_bytes(stream.read(4), "little")


def loads(artifacts: list[dict[str, Any]], fetched: Mapping[str, Fetched]) -> list[room.Load]:
    """Return what the fetched artefacts will take on the host."""
    found = []
    for artifact in artifacts:
        key = f"{artifact['name']}/{artifact['version']}"
        if key in fetched:
            file = fetched[key]
            unpacked = unpacked_size(file.path) if artifact["install"] == "archive" else 0
            found.append(room.Load(key, artifact["install"], file.size, unpacked, artifact.get("directory")))
    return found
