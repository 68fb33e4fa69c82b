# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.host_state: checksums from the catalogue, and a push of what the host lacks."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state import options as host_options
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state import room, spec
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state.errors import HostStateError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, HostAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import Entry, load_catalogue
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import ArtifactError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.fetch import Fetched, fetch, plan_fetch
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.lock import Lock
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.source import Settings
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import SshError

if TYPE_CHECKING:
    from pathlib import Path

MODULE = "stagecraft.gitops.host_state"
ARCHITECTURES = ("amd64", "arm64")


@dataclasses.dataclass
class Wanted:
    """The declared artefacts, resolved: entries and expected digests by "name/version" and architecture.

    `unknown` says why there is no digest; `unpulled` are images whose digest only a pull can tell.
    """

    entries: dict[str, dict[str, Entry]] = dataclasses.field(default_factory=dict)
    digests: dict[str, dict[str, dict[str, Any]]] = dataclasses.field(default_factory=dict)
    origins: dict[str, str] = dataclasses.field(default_factory=dict)
    unknown: dict[tuple[str, str], str] = dataclasses.field(default_factory=dict)
    unpulled: dict[str, dict[str, Entry]] = dataclasses.field(default_factory=dict)

    def expect(self, key: str, entry: Entry, sha256: str, size: int | None) -> None:
        """Note what an artefact has to be on one architecture."""
        expected = {"sha256": sha256, "size": size, "reference": entry.reference or None}
        self.digests.setdefault(key, {})[entry.arch] = expected


def complete(state: dict[str, Any], arch: str | None, wanted: Wanted) -> None:
    """Resolve the artefacts of `state` in the catalogue; versions, stripping and members come from there when not given.

    Raises HostStateError with every artefact that cannot be resolved.
    """
    problems = []
    catalogue = load_catalogue()
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
            artifact["strip"] = entry.strip if artifact.get("strip") is None else artifact["strip"]
            artifact["members"] = list(entry.members) if artifact.get("members") is None else artifact["members"]
        if (artifact["install"] == "image") != (entry.kind == "image"):
            problems.append(f"{entry}: install is {artifact['install']}, but the catalogue has it as {entry.kind}")
        wanted.entries[f"{entry.name}/{entry.version}"] = found
    if problems:
        raise HostStateError("artifacts cannot be used:\n" + "\n".join(f"- {problem}" for problem in problems))


def state_expectations(wanted: Wanted, settings: Settings, lock: Lock) -> None:
    """Find the digests without downloading artefacts. What one architecture lacks is only told if the host is of that one."""
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


def given(value: Any) -> Any:
    """Copy options without those that were not given (None), all the way down."""
    if isinstance(value, Mapping):
        return {key: given(item) for key, item in value.items() if item is not None}
    return [given(item) for item in value] if isinstance(value, list) else value


def megabytes(size: int | None) -> str:
    """Words for a number of bytes, which may not be known."""
    return "size unknown" if size is None else f"{size / 1e6:.1f} MB"


def unpacked_size(path: Path) -> int:
    """Bytes that an archive unpacks to: gzip says so at its end (below 4 GiB); others are taken as three times theirs."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        if stream.read(2) != b"\x1f\x8b":
            return 3 * size
        stream.seek(-4, 2)
        return int.from_bytes(stream.read(4), "little")


class ActionModule(HostAction):
    """Ask the host, fetch and push what it lacks, let it finish."""

    errors = (HostStateError, ArtifactError, SshError)
    argument_spec = ArgumentSpec(options=host_options.argument_spec())

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """One module run when the host has all artefacts; with a push before a second one when it lacks some."""
        state = given(options["state"])
        arch = options.get("arch")
        wanted = Wanted()
        if state.get("artifacts"):
            complete(state, arch, wanted)
        spec.parse(state)
        settings = lock = None
        if wanted.entries:
            settings = Settings.from_options(options.get("artifact_source") or {})
            lock = Lock.load(settings.lock, read_only=self.check_mode)
            state_expectations(wanted, settings, lock)
        arguments = given({"state": state, "arch": arch, "digests": wanted.digests})
        result = self.run_module(MODULE, arguments, task_vars)
        if result.get("failed"):
            return self._explained(result, wanted)
        if self.check_mode:
            self._announce(result, wanted, "would fetch")
            return result
        if settings is None or lock is None or not result.get("needs"):
            return result
        fetched = self._fetch(result, wanted, settings, lock)
        self._refuse_without_room(result, state, wanted, fetched)
        pushed = self._push(fetched, task_vars)
        announced = dict(result)
        second = self.run_module(MODULE, arguments, task_vars)
        if second.get("failed"):
            return second
        if second.get("needs"):
            missing = ", ".join(need["key"] for need in second["needs"])
            raise HostStateError(
                f"artifacts were pushed, but the host still lacks {missing}; is something removing files from {spec.INCOMING}?"
            )
        second["needs"] = announced["needs"]
        self._announce(second, wanted, "fetch")
        second["pushed"] = pushed
        return second

    @staticmethod
    def _explained(result: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
        """Add to the module's message why the controller knows no digest."""
        reasons = dict.fromkeys(wanted.unknown.values())
        if reasons and "no checksum is known" in str(result.get("msg")):
            result["msg"] = "\n".join([str(result["msg"]), *(f"- {reason}" for reason in reasons)])
        return result

    @staticmethod
    def _announce(result: dict[str, Any], wanted: Wanted, verb: str) -> None:
        """Put what has to be fetched in front of the plan and the diff."""
        fetches = []
        for need in result.get("needs", []):
            origin = wanted.origins.get(f"{need['key']}/{need['arch']}", "")
            after = f"{verb} {megabytes(need['size'])} from {origin}"
            fetches.append(
                {"kind": "fetch", "target": need["key"], "action": "fetch", "before": need["reason"], "after": after}
            )
        result["plan"] = fetches + result.get("plan", [])
        result["diff"] = [
            {
                "before_header": f"fetch {entry['target']}",
                "after_header": f"fetch {entry['target']}",
                "before": entry["before"] + "\n",
                "after": entry["after"] + "\n",
            }
            for entry in fetches
        ] + result.get("diff", [])

    def _fetch(self, result: Mapping[str, Any], wanted: Wanted, settings: Settings, lock: Lock) -> dict[str, Fetched]:
        entries = [wanted.entries[need["key"]][need["arch"]] for need in result["needs"]]
        fetched = fetch(entries, settings.source, settings.cache, lock, jobs=settings.jobs)
        return {need["key"]: fetched[entry.key] for need, entry in zip(result["needs"], entries, strict=True)}

    def _refuse_without_room(
        self, result: Mapping[str, Any], state: Mapping[str, Any], wanted: Wanted, fetched: Mapping[str, Fetched]
    ) -> None:
        loads = []
        for artifact in state["artifacts"]:
            key = f"{artifact['name']}/{artifact['version']}"
            if key in fetched:
                file = fetched[key]
                unpacked = unpacked_size(file.path) if artifact["install"] == "archive" else 0
                loads.append(room.Load(key, artifact["install"], file.size, unpacked, artifact.get("directory")))
        short = room.shortages(loads, result["disk"])
        if short:
            names = ", ".join(f"{load.key} ({megabytes(load.size)})" for load in loads)
            raise HostStateError(
                f"no room for artefacts on the host, nothing was pushed: {'; '.join(short)}. Wanted were {names}. "
                "Free some space or enlarge the disk and run again."
            )

    # -- pushing ---------------------------------------------------------------------------------------------------

    def _push(self, fetched: Mapping[str, Fetched], task_vars: Mapping[str, Any]) -> dict[str, int]:
        """Put the files into the host's incoming directory; returns files and bytes that went over the line."""
        files = {file.sha256: file for file in fetched.values()}
        if self._connection.transport == "ssh":
            try:
                return self._push_by_sftp(files, task_vars)
            except ImportError as error:
                self._display.vv(f"paramiko is not there ({error}): pushing by Ansible's own transfer")
        return self._push_by_ansible(files)

    def _push_by_sftp(self, files: Mapping[str, Fetched], task_vars: Mapping[str, Any]) -> dict[str, int]:
        # Imported here, for paramiko costs a quarter of a second and most runs push nothing.
        from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.connection import connect, privilege
        from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.inventory import target_from_vars
        from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.transfer import Push, push_files

        target = target_from_vars(task_vars)
        pushes = [Push(file.path, f"{spec.INCOMING}/{sha256}", sha256, 0o600) for sha256, file in files.items()]
        client = connect(target)
        try:
            done = push_files(client, pushes, rights=privilege(client, target))
        finally:
            client.close()
        return {"files": sum(1 for item in done if item.sent), "bytes": sum(item.sent for item in done)}

    def _push_by_ansible(self, files: Mapping[str, Fetched]) -> dict[str, int]:
        temporary = self._make_tmp_path()
        try:
            for sha256, file in files.items():
                arrived = self._transfer_file(str(file.path), self._connection._shell.join_path(temporary, sha256))
                self._fixup_perms2((temporary, arrived), execute=False)
                target = f"{spec.INCOMING}/{sha256}"
                command = " && ".join(
                    [
                        f"mkdir -p {shlex.quote(spec.INCOMING)}",
                        f"cp {shlex.quote(arrived)} {shlex.quote(target + '.part')}",
                        f"mv -f {shlex.quote(target + '.part')} {shlex.quote(target)}",
                    ]
                )
                done = self._low_level_execute_command(command)
                if done["rc"] != 0:
                    raise HostStateError(
                        f"{file.path.name} could not be put to {target} on the host: {done['stderr'] or done['stdout']}"
                    )
        finally:
            self._remove_tmp_path(temporary)
        return {"files": len(files), "bytes": sum(file.size for file in files.values())}
