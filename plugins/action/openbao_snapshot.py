# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.openbao_snapshot; the module of the same name holds the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, ControllerAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age.errors import AgeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import admin, configure, drill, escrow, snapshot
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Server
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.escrow import Escrow


class ActionModule(ControllerAction):
    """Take a snapshot, or restore one to see that it can be."""

    errors = (OpenBaoError, AgeError)
    argument_spec = ArgumentSpec(
        options={
            "state": {"type": "str", "choices": ["saved", "drilled"], "default": "saved"},
            "url": {"type": "str"},
            "ca_file": {"type": "path", "default": ""},
            "environment": {"type": "str"},
            "escrow": {"type": "path", "required": True},
            "path": {"type": "path", "required": True},
            "recipients": {"type": "list", "elements": "str"},
            "identity_files": {"type": "list", "elements": "path", "required": True},
            "program": {"type": "path"},
            "seal": {
                "type": "dict",
                "no_log": True,
                "options": {
                    "type": {"type": "str", "required": True},
                    "settings": {"type": "dict", "required": True},
                },
            },
            "canary": {
                "type": "dict",
                "default": {},
                "apply_defaults": True,
                "options": {
                    "mount": {"type": "str", "default": "kv"},
                    "path": {"type": "str", "default": "sys-canary"},
                    "data": {"type": "dict"},
                },
            },
            "timeout": {"type": "float", "default": 60.0},
        },
        required_if=[("state", "saved", ("url", "recipients")), ("state", "drilled", ("program",))],
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Open the escrow, then save or drill."""
        name = self.environment(options, task_vars)
        identities = file.identities_of(options["identity_files"])
        where = Path(options["escrow"]).expanduser()
        kept = escrow.read(where, identities, name)
        if kept is None or kept.state != "answered":
            raise OpenBaoError(f"{where}: wanted the keys of a server, found none")
        path = Path(options["path"]).expanduser()
        if options["state"] == "saved":
            return self._save(options, kept, path, identities)
        return self._drill(options, kept, path, identities, name)

    def _save(self, options: Mapping[str, Any], kept: Escrow, path: Path, identities: list[Any]) -> dict[str, Any]:
        file.check_recipients(options["recipients"])
        server = Server(options["url"], options["ca_file"], options["timeout"])
        configure.ready(server)
        with admin.enter(server, kept).api as api:
            data = b"" if self.check_mode else snapshot.take(api)
        if self.check_mode:
            return {"changed": True, "path": str(path)}
        file.write(path, data, options["recipients"], identities)
        taken = snapshot.check(data, str(path))
        return {"changed": True, "path": str(path), "index": taken.index, "size": taken.size}

    def _drill(
        self, options: Mapping[str, Any], kept: Escrow, path: Path, identities: list[Any], environment: str
    ) -> dict[str, Any]:
        encrypted = file.read(path)
        if encrypted is None:
            raise OpenBaoError(f"{path}: wanted a snapshot, found no file. Take one with state: saved")
        data = file.decrypt(encrypted, identities, str(path))
        taken = snapshot.check(data, str(path))
        canary = options["canary"]
        wanted = drill.Canary(canary["mount"], canary["path"], canary["data"] or {"environment": environment})
        seal = options["seal"]
        done = drill.drill(
            options["program"],
            data,
            kept,
            wanted,
            (seal["type"], seal["settings"]) if seal else None,
            options["timeout"],
        )
        return {
            "changed": False,
            "path": str(path),
            "index": taken.index,
            "size": taken.size,
            "cluster_id": done.cluster,
            "mounts": list(done.mounts),
            "canary_version": done.canary_version,
            "seconds": round(done.seconds, 3),
        }
