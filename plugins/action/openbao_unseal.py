# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.openbao_unseal; the module of the same name holds the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, ControllerAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age.errors import AgeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import escrow, initialize
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Server
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError


class ActionModule(ControllerAction):
    """Unseal a server with the keys in escrow."""

    errors = (OpenBaoError, AgeError)
    argument_spec = ArgumentSpec(
        options={
            "url": {"type": "str", "required": True},
            "ca_file": {"type": "path", "default": ""},
            "environment": {"type": "str"},
            "escrow": {"type": "path", "required": True},
            "identity_files": {"type": "list", "elements": "path", "required": True},
            "timeout": {"type": "float", "default": 60.0},
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Look at server and escrow, plan, and unless in check mode send the keys."""
        name = self.environment(options, task_vars)
        path = Path(options["escrow"]).expanduser()
        kept = escrow.read(path, file.identities_of(options["identity_files"]), name)
        if kept is None:
            raise OpenBaoError(f"{path}: wanted the keys of a server, found no file")
        server = Server(options["url"], options["ca_file"], options["timeout"])
        status = initialize.settled(server, server.status(), options["timeout"])
        steps = initialize.plan_unseal(status, kept)
        if steps and not self.check_mode:
            initialize.unseal(server, status, kept, steps, options["timeout"])
            status = server.status()
        return {
            "changed": bool(steps),
            "steps": steps,
            "sealed": status.sealed,
            "seal": status.seal,
            "version": status.version,
            "cluster_id": status.cluster,
        }
