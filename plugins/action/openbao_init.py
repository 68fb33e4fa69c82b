# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.openbao_init; the module of the same name holds the documentation."""

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
    """Initialise a server and put its keys into escrow."""

    errors = (OpenBaoError, AgeError)
    argument_spec = ArgumentSpec(
        options={
            "url": {"type": "str", "required": True},
            "ca_file": {"type": "path", "default": ""},
            "environment": {"type": "str"},
            "escrow": {"type": "path", "required": True},
            "recipients": {"type": "list", "elements": "str", "required": True},
            "identity_files": {"type": "list", "elements": "path", "required": True},
            "shares": {"type": "int", "default": 3},
            "threshold": {"type": "int", "default": 2},
            "timeout": {"type": "float", "default": 60.0},
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Look at server and escrow, plan, and unless in check mode initialise and unseal."""
        name = self.environment(options, task_vars)
        identities = file.identities_of(options["identity_files"])
        file.check_recipients(options["recipients"])
        path = Path(options["escrow"]).expanduser()
        wanted = initialize.Wanted(name, path, options["recipients"], options["shares"], options["threshold"])
        server = Server(options["url"], options["ca_file"], options["timeout"])
        status = server.status()
        found = escrow.read(path, identities, name)
        steps = initialize.plan_initialize(status, found, wanted)
        if found is not None and "encrypt_escrow_anew" in steps and not self.check_mode:
            escrow.write(path, found, options["recipients"], identities)
        if "initialize" in steps and not self.check_mode:
            answered = initialize.initialize(server, status, wanted, identities)
            if "unseal" in steps:
                # what is sent is read from the escrow: the keys that were written are the keys that unseal
                kept = escrow.read(path, identities, name) or answered
                initialize.unseal(server, server.status(), kept, steps, options["timeout"])
            else:
                server.wait_until_active(options["timeout"])
            status = server.status()
        return {
            "changed": bool(steps),
            "steps": steps,
            "initialized": status.initialized,
            "sealed": status.sealed,
            "seal": status.seal,
            "version": status.version,
            "cluster_id": status.cluster,
        }
