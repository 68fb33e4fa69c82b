# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.host_state: checksums from the catalogue, and a push of what the host lacks."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state import facts, room, spec
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state.errors import HostStateError
from ansible_collections.stagecraft.gitops.plugins.module_utils.host_state.options import argument_spec
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import (
    ArgumentSpec,
    HostAction,
    HostEngine,
    given,
    plain,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import load_catalogue
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import ArtifactError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.fetch import Fetched, fetch
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.lock import Lock
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.source import Settings
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.host_state import wanted as artifacts
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import SshError

ENGINE = HostEngine("stagecraft.gitops.host_state", ("host_state",), "engine.engine_result", "HostStateError")
SSH_ENGINE = "ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh"
# Variable by which the SSH engine takes a setting, and the option of Ansible's ssh connection that holds its value.
CONNECTION_OPTIONS = {
    "ansible_host": "host",
    "ansible_port": "port",
    "ansible_user": "remote_user",
    "ansible_password": "password",
    "ansible_private_key_file": "private_key_file",
    "ansible_private_key": "private_key",
    "ansible_private_key_passphrase": "private_key_passphrase",
    "ansible_ssh_args": "ssh_args",
    "ansible_ssh_common_args": "ssh_common_args",
    "ansible_ssh_extra_args": "ssh_extra_args",
    "ansible_host_key_checking": "host_key_checking",
    "ansible_ssh_timeout": "timeout",
}


class ActionModule(HostAction):
    """Ask the host, fetch and push what it lacks, let it finish."""

    errors = (HostStateError, ArtifactError, SshError)
    argument_spec = ArgumentSpec(options=argument_spec())

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Run the module once when the host has all artefacts; when it lacks some, push them and run it again."""
        state = given(options["state"])
        spec.parse(state)
        settings = Settings.from_options(options.get("artifact_source") or {})
        bundled = settings.source.kind == "bundle" and bool(state.get("packages"))
        if not state.get("artifacts") and not bundled:
            return self._without_disk(self._ask({**options, "state": state}, task_vars))
        wanted = artifacts.resolve(state, options.get("arch"), load_catalogue())
        if bundled:
            artifacts.expect_packages(wanted, settings)
        lock = Lock.load(settings.lock, read_only=self.check_mode)
        artifacts.expect_all(wanted, settings, lock)
        if wanted.unpulled and not self.check_mode:
            artifacts.pull_unknown(wanted, options.get("arch") or self._host_arch(), settings, lock)
        repositories = {key: {"sha256": file.sha256, "size": file.size} for key, file in wanted.repositories.items()}
        arguments = given(
            {
                "state": state,
                "arch": options.get("arch"),
                "digests": wanted.digests,
                "package_repositories": repositories,
            }
        )
        result = self._ask(arguments, task_vars)
        if result.get("failed"):
            result["msg"] = "\n- ".join([str(result.get("msg")), *wanted.reasons(str(result.get("msg")))])
        elif self.check_mode:
            self._announce(result, artifacts.announcements(wanted, result, "would fetch"))
        elif result["needs"]:
            result = self._push_and_finish(
                result, wanted, settings=settings, lock=lock, arguments=arguments, task_vars=task_vars
            )
        return self._without_disk(result)

    def _ask(self, options: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        return self.run_engine(ENGINE, given(options), task_vars)

    def _push_and_finish(
        self,
        first: dict[str, Any],
        wanted: artifacts.Wanted,
        *,
        settings: Settings,
        lock: Lock,
        arguments: Mapping[str, Any],
        task_vars: Mapping[str, Any],
    ) -> dict[str, Any]:
        entries = {
            need["key"]: wanted.entries[need["key"]][need["arch"]]
            for need in first["needs"]
            if need["install"] != "packages"
        }
        done = fetch(entries.values(), settings.source, settings.cache, lock, jobs=settings.jobs)
        fetched = {key: done[entry.key] for key, entry in entries.items()}
        packages = {file.sha256: file for file in wanted.repositories.values()}
        fetched |= {need["key"]: packages[need["sha256"]] for need in first["needs"] if need["install"] == "packages"}
        loads = artifacts.loads(arguments["state"].get("artifacts") or [], fetched)
        loads += [
            room.Load(need["key"], "packages", need["size"], need["size"])
            for need in first["needs"]
            if need["install"] == "packages"
        ]
        short = room.shortages(loads, first["disk"])
        if short:
            sizes = ", ".join(f"{load.key} ({artifacts.megabytes(load.size)})" for load in loads)
            raise HostStateError(
                f"no room for artefacts on the host, nothing was pushed: {'; '.join(short)}. "
                f"To be pushed were {sizes}. Free some space or enlarge the disk, then run again."
            )
        pushed = self._push(fetched, task_vars)
        result = self._ask(arguments, task_vars)
        if result.get("failed"):
            return result
        if result["needs"]:
            missing = ", ".join(need["key"] for need in result["needs"])
            raise HostStateError(
                f"artefacts were pushed, but the host still lacks {missing}; "
                f"does something remove files from {spec.INCOMING} there?"
            )
        result["needs"] = first["needs"]
        self._announce(result, artifacts.announcements(wanted, result, "fetch"))
        result["pushed"] = pushed
        return result

    @staticmethod
    def _without_disk(result: dict[str, Any]) -> dict[str, Any]:
        result.pop("disk", None)
        return result

    @staticmethod
    def _announce(result: dict[str, Any], fetches: list[dict[str, str]]) -> None:
        """Put what has to be fetched in front of the plan and the diff."""
        result["plan"] = fetches + result["plan"]
        texts = [
            {
                "before_header": f"fetch {entry['target']}",
                "after_header": f"fetch {entry['target']}",
                "before": entry["before"] + "\n",
                "after": entry["after"] + "\n",
            }
            for entry in fetches
        ]
        result["diff"] = texts + result.get("diff", [])

    def _host_arch(self) -> str:
        answer = self._low_level_execute_command("uname -m", sudoable=False)
        return facts.architecture(str(answer["stdout"]).strip())

    # -- pushing ---------------------------------------------------------------------------------------------------

    def _push(self, fetched: Mapping[str, Fetched], task_vars: Mapping[str, Any]) -> dict[str, int]:
        """Put the files into the host's incoming directory; returns files and bytes that went over the line."""
        files = {file.sha256: file for file in fetched.values()}
        if self._connection.transport == "ssh":
            try:
                return self._push_by_sftp(files, task_vars)
            except ImportError as error:
                self._display.vv(f"pushing by Ansible's own transfer, for paramiko cannot be used: {error}")
        return self._push_by_ansible(files)

    def _push_by_sftp(self, files: Mapping[str, Fetched], task_vars: Mapping[str, Any]) -> dict[str, int]:
        # paramiko costs a quarter of a second and most runs push nothing, so it is not imported above.
        connection = import_module(f"{SSH_ENGINE}.connection")
        transfer = import_module(f"{SSH_ENGINE}.transfer")
        target = import_module(f"{SSH_ENGINE}.target").target_from_vars(
            self._connection_variables(task_vars), become=bool(self._play_context.become)
        )
        pushes = [transfer.Push(file.path, f"{spec.INCOMING}/{sha}", sha, 0o600) for sha, file in files.items()]
        client = connection.connect(target)
        try:
            done = transfer.push_files(client, pushes, rights=connection.privilege(client, target))
        finally:
            client.close()
        return {"files": sum(1 for item in done if item.sent), "bytes": sum(item.sent for item in done)}

    def _connection_variables(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Tell how Ansible's own connection reaches this host: variables, ansible.cfg and command line together."""
        variables: dict[str, Any] = {"inventory_hostname": plain(task_vars.get("inventory_hostname"))}
        for variable, option in CONNECTION_OPTIONS.items():
            variables[variable] = plain(self._connection.get_option(option))
        become = self._connection.become
        if self._play_context.become and become is not None:
            variables["ansible_become_method"] = become.name
            variables["ansible_become_user"] = plain(become.get_option("become_user")) or "root"
            variables["ansible_become_password"] = plain(become.get_option("become_pass"))
        if "stagecraft_ssh_agent" in task_vars:
            variables["stagecraft_ssh_agent"] = plain(self._templar.template(task_vars["stagecraft_ssh_agent"]))
        known: dict[str, Any] = given(variables)
        return known

    def _push_by_ansible(self, files: Mapping[str, Fetched]) -> dict[str, int]:
        temporary = self._make_tmp_path()
        try:
            for sha256, file in files.items():
                arrived = self._transfer_file(str(file.path), self._connection._shell.join_path(temporary, sha256))
                target = f"{spec.INCOMING}/{sha256}"
                command = (
                    f"mkdir -p {shlex.quote(spec.INCOMING)} && cp {shlex.quote(arrived)} {shlex.quote(target)}.part"
                    f" && mv -f {shlex.quote(target)}.part {shlex.quote(target)}"
                )
                self._fixup_perms2((temporary, arrived), execute=False)
                done = self._low_level_execute_command(command)
                if done["rc"] != 0:
                    said = done["stderr"] or done["stdout"]
                    raise HostStateError(f"{file.path.name} could not be put to {target} on the host: {said}")
        finally:
            self._remove_tmp_path(temporary)
        return {"files": len(files), "bytes": sum(file.size for file in files.values())}
