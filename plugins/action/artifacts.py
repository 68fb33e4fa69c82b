# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.artifacts; the module of the same name holds the documentation."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.utils.display import Display
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, ControllerAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts import packages
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.bundle import bundle
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.cache import Cache, sha256_of
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import load_catalogue
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import ArtifactError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.fetch import fetch, plan_fetch
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.lock import Lock, LockedFile
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.mirror import mirror
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.progress import Event, PlainReporter, Progress
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.selection import Selection, select
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.source import Settings
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import Entry
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.collection import Collection
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.fetch import Planned

SOURCE_OPTIONS = {
    "mirror": {"type": "str", "default": ""},
    "bundle": {"type": "str", "default": ""},
    "cache": {"type": "str", "default": ""},
    "lock": {"type": "str", "default": ""},
    "trust_built_mirror": {"type": "bool", "default": False},
    "jobs": {"type": "int", "default": 4},
}


class ActionModule(ControllerAction):
    """Resolve, fetch, mirror or bundle artefacts on the controller."""

    errors = (ArtifactError,)
    argument_spec = ArgumentSpec(
        options={
            "state": {"type": "str", "choices": ["resolved", "fetched", "mirrored", "bundled"], "default": "fetched"},
            "artifacts": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {"name": {"type": "str", "required": True}, "version": {"type": "str", "default": ""}},
            },
            "distribution": {"type": "str", "default": ""},
            "kubernetes_version": {"type": "str", "default": ""},
            "options": {"type": "dict", "default": {}},
            "versions": {"type": "dict", "default": {}},
            "architectures": {"type": "list", "elements": "str", "default": ["amd64"]},
            "directory": {"type": "path"},
            "packages": {
                "type": "dict",
                "options": {
                    "names": {"type": "list", "elements": "str", "required": True},
                    "releases": {"type": "list", "elements": "str", "required": True},
                    "archives": {"type": "dict", "default": {}},
                },
            },
            "artifact_source": {"type": "dict", "default": {}, "options": SOURCE_OPTIONS},
        },
        required_if=[("state", "mirrored", ["directory"]), ("state", "bundled", ["directory"])],
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out the state; in check mode only say what would be done."""
        settings = Settings.from_options(options["artifact_source"])
        transport = Transport()
        entries = select(_selection(options), load_catalogue(), settings.source, transport)
        lock = Lock.load(settings.lock, read_only=self.check_mode)
        planned = plan_fetch(entries, settings.source, settings.cache, lock, transport)
        result: dict[str, Any] = {
            "changed": False,
            "source": str(settings.source),
            "artifacts": [_described(item) for item in planned],
        }
        if options["state"] in ("mirrored", "bundled"):
            target = (mirror if options["state"] == "mirrored" else bundle)(options["directory"])
            more = self._packages(options, target, settings) if options["state"] == "bundled" else {}
            return result | self._collect(target, entries, settings, lock, transport, more)
        if options["state"] == "fetched":
            return result | self._fetch(planned, settings, lock, transport)
        return result

    def _packages(
        self, options: Mapping[str, Any], target: Collection, settings: Settings
    ) -> dict[str, LockedFile | None]:
        """Return the repositories of packages for a bundle by their path, in check mode None for one that is to be made."""
        asked = options["packages"] or {"names": [], "releases": [], "archives": {}}
        archives = {str(key): str(url) for key, url in asked["archives"].items()}
        found: dict[str, LockedFile | None] = {}
        for one in packages.wanted(asked["releases"], options["architectures"], asked["names"]):
            held = packages.held(target.root, target.lock(), one)
            found[one.path] = held or (None if self.check_mode else _made(one, archives, Cache(settings.cache)))
        return found

    def _fetch(
        self, planned: Sequence[Planned], settings: Settings, lock: Lock, transport: Transport
    ) -> dict[str, Any]:
        missing = [item for item in planned if not item.cached]
        outcome: dict[str, Any] = {"changed": bool(missing), "plan": [_planned(item) for item in missing]}
        if self._task.diff:
            outcome["diff"] = [{"prepared": "".join(f"+ {item.entry.key} from {item.origin}\n" for item in missing)}]
        if self.check_mode:
            return outcome
        fetched = fetch(
            [item.entry for item in planned],
            settings.source,
            settings.cache,
            lock,
            progress=_progress(len(planned)),
            jobs=settings.jobs,
            transport=transport,
        )
        outcome["changed"] = any(not file.cached for file in fetched.values())
        outcome["artifacts"] = [
            _described(item)
            | {
                "sha256": fetched[item.entry.key].sha256,
                "size": fetched[item.entry.key].size,
                "path": str(fetched[item.entry.key].path),
                "here": True,
            }
            for item in planned
        ]
        return outcome

    def _collect(
        self,
        target: Collection,
        entries: Sequence[Entry],
        settings: Settings,
        lock: Lock,
        transport: Transport,
        more: Mapping[str, LockedFile | None],
    ) -> dict[str, Any]:
        if self.check_mode:
            change = target.plan(entries, settings.source, settings.cache, lock, transport, more)
        else:
            change = target.fill(
                entries,
                settings.source,
                settings.cache,
                lock,
                progress=_progress(len(entries)),
                jobs=settings.jobs,
                transport=transport,
                more={path: file for path, file in more.items() if file is not None},
            )
        outcome: dict[str, Any] = {
            "changed": bool(change),
            "directory": str(target.root),
            "lock_file": str(Path(target.root, target.lock_name)),
            "plan": [
                *({"kind": "file", "target": path, "action": "put"} for path in change.put),
                *({"kind": "file", "target": path, "action": "remove"} for path in change.removed),
            ],
        }
        if self._task.diff:
            lines = [*(f"+ {path}" for path in change.put), *(f"- {path}" for path in change.removed)]
            outcome["diff"] = [{"prepared": "".join(f"{line}\n" for line in lines)}]
        return outcome


def _made(repository: packages.Repository, archives: Mapping[str, str], cache: Cache) -> LockedFile:
    """Make a repository of packages, and put it into the cache."""
    Display().display(f"packages of {repository.key}: asking apt for {len(repository.names)} and what they depend on")
    cache.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="packages-", dir=cache.root) as scratch:
        file = Path(scratch, "repository.tar")
        packages.download(repository, archives, Path(scratch), file)
        sha256, size = sha256_of(file), file.stat().st_size
        cache.adopt(file, sha256)
    return LockedFile(sha256, size, checked=repository.checked)


class _DisplayStream(io.StringIO):
    """Hands every line to Ansible's display."""

    def write(self, text: str) -> int:
        Display().display(text.rstrip("\n"))
        return len(text)


def _progress(wanted: int) -> Progress:
    """Report downloads, but not what is here already: a second run has nothing to say."""
    report = PlainReporter(_DisplayStream(), wanted)

    def tell(event: Event) -> None:
        if event.what != "cached":
            report(event)

    return tell


def _selection(options: Mapping[str, Any]) -> Selection:
    return Selection(
        architectures=tuple(options["architectures"]),
        named=tuple((item["name"], item["version"]) for item in options["artifacts"]),
        distribution=options["distribution"],
        kubernetes_version=options["kubernetes_version"],
        options={str(key): str(value) for key, value in options["options"].items()},
        versions={str(key): str(value) for key, value in options["versions"].items()},
    )


def _described(item: Planned) -> dict[str, Any]:
    entry = item.entry
    return {
        "name": entry.name,
        "version": entry.version,
        "arch": entry.arch,
        "kind": entry.kind,
        "reference": entry.reference,
        "origin": item.origin,
        "mirror_path": entry.path,
        "sha256": item.sha256 or "",
        "size": item.size,
        "licence": entry.licence,
        "here": item.cached,
    }


def _planned(item: Planned) -> dict[str, Any]:
    after = item.sha256 or "the digest that the registry answers"
    return {"kind": "artifact", "target": item.entry.key, "action": "fetch", "before": "absent", "after": after}
