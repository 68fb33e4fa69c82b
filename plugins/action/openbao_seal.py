# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.openbao_seal; the module of the same name holds the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, ControllerAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age.errors import AgeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import escrow, seal
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Server, Status
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError


class ActionModule(ControllerAction):
    """Refuse a seal that a server was not moved to, and note one that it was moved to."""

    errors = (OpenBaoError, AgeError)
    argument_spec = ArgumentSpec(
        options={
            "url": {"type": "str", "required": True},
            "ca_file": {"type": "path", "default": ""},
            "environment": {"type": "str"},
            "escrow": {"type": "path", "required": True},
            "recipients": {"type": "list", "elements": "str", "required": True},
            "identity_files": {"type": "list", "elements": "path", "required": True},
            "type": {"type": "str", "required": True},
            "timeout": {"type": "float", "default": 60.0},
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Compare with the escrow, ask the server only where that has another seal."""
        name = self.environment(options, task_vars)
        path, wanted = Path(options["escrow"]).expanduser(), options["type"]
        if not path.exists():
            # the server is still to be made, and so may be what opens its escrow
            return {"changed": False, "seal": ""}
        identities = file.identities_of(options["identity_files"])
        kept = escrow.read(path, identities, name)
        if kept is None or not seal.differs(kept, wanted):
            return {"changed": False, "seal": kept.seal if kept is not None else ""}
        seal.check_moved(kept, _status(options), wanted, path)
        if not self.check_mode:
            file.check_recipients(options["recipients"])
            escrow.write(path, replace(kept, seal=wanted), options["recipients"], identities)
        return {"changed": True, "seal": wanted}


def _status(options: Mapping[str, Any]) -> Status | None:
    """Return what the server says of itself; None where no answer comes."""
    try:
        return Server(options["url"], options["ca_file"], options["timeout"]).status()
    except OpenBaoError:
        return None
