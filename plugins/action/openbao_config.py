# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.openbao_config; the module of the same name holds the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, ControllerAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age.errors import AgeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import (
    admin,
    configure,
    declaration,
    escrow,
    plan,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.api import Api
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Server
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.observe import Observed, observe

_LEASE = {"default_lease_ttl": {"type": "raw"}, "max_lease_ttl": {"type": "raw"}}
_NOT_YET = "is not initialised"


class ActionModule(ControllerAction):
    """Configure a server as declared."""

    errors = (OpenBaoError, AgeError)
    argument_spec = ArgumentSpec(
        options={
            "url": {"type": "str", "required": True},
            "ca_file": {"type": "path", "default": ""},
            "environment": {"type": "str"},
            "escrow": {"type": "path"},
            "recipients": {"type": "list", "elements": "str"},
            "identity_files": {"type": "list", "elements": "path"},
            "token_file": {"type": "path"},
            "revoke_root_token": {"type": "bool", "default": True},
            "mounts": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "str", "required": True},
                    "type": {"type": "str", "default": "kv"},
                    "version": {"type": "int", "choices": [1, 2]},
                    "description": {"type": "str", "default": ""},
                    **_LEASE,
                    "max_versions": {"type": "int"},
                    "cas_required": {"type": "bool"},
                    "delete_version_after": {"type": "raw"},
                },
            },
            "auth_methods": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "str", "required": True},
                    "type": {"type": "str", "required": True},
                    "description": {"type": "str", "default": ""},
                    **_LEASE,
                    "config": {"type": "dict", "default": {}},
                    "roles": {"type": "dict", "default": {}},
                },
            },
            "policies": {"type": "dict", "default": {}},
            "secrets": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "no_log": True,
                "options": {
                    "mount": {"type": "str", "default": "kv"},
                    "path": {"type": "str", "required": True},
                    "data": {"type": "dict", "required": True},
                },
            },
            "audit": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "str", "required": True},
                    "type": {"type": "str", "default": "file"},
                    "description": {"type": "str", "default": ""},
                    "options": {"type": "dict", "default": {}},
                },
            },
            "timeout": {"type": "float", "default": 60.0},
        },
        mutually_exclusive=[("escrow", "token_file")],
        required_one_of=[("escrow", "token_file")],
        required_by={"escrow": ("identity_files", "recipients")},
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Read the declaration, look, plan, and unless in check mode apply and look again."""
        wanted = declaration.read(options)
        server = Server(options["url"], options["ca_file"], options["timeout"])
        if options["token_file"]:
            if self._nothing_to_see(server):
                return self._result([], [], "")
            with Api(server, _token(Path(options["token_file"]).expanduser())) as api:
                return self._configure(api, wanted, options["timeout"])
        name = self.environment(options, task_vars)
        identities = file.identities_of(options["identity_files"])
        file.check_recipients(options["recipients"])
        path = Path(options["escrow"]).expanduser()
        kept = escrow.read(path, identities, name)
        if self.check_mode and (kept is None or kept.state != "answered") and not server.status().initialized:
            self._display.warning(f"{server.url} {_NOT_YET} yet, so everything counts as new")
            everything = configure.both(wanted, admin.declared()) if options["revoke_root_token"] else wanted
            later = ["credential", "revoke_root_token"] if options["revoke_root_token"] else []
            return self._result(plan.plan(everything, Observed()), later, "")
        if kept is None or kept.state != "answered":
            raise OpenBaoError(f"{path}: wanted the keys of a server, found none. Run openbao_init")
        if self._nothing_to_see(server):
            return self._result([], [], "")
        configure.ready(server)
        entry = admin.enter(server, kept)
        with entry.api as api:
            if entry.by == "root" and not options["revoke_root_token"]:
                return self._configure(api, wanted, options["timeout"])
            result = self._configure(api, configure.both(wanted, admin.declared()), options["timeout"])
            steps = admin.plan(api, kept, entry.by)
            if steps and not options["revoke_root_token"]:
                steps = [step for step in steps if step != "revoke_root_token"]
            if steps and not self.check_mode:
                admin.apply(server, api, kept, steps, path, options["recipients"], identities)
        return {**result, "steps": steps, "changed": result["changed"] or bool(steps)}

    def _nothing_to_see(self, server: Server) -> bool:
        """Say whether this is check mode and the server is sealed: openbao_unseal, which comes before, did not unseal it."""
        status = server.status() if self.check_mode else None
        if status is None or not status.initialized or not status.sealed:
            return False
        self._display.warning(
            f"{server.url} is sealed, so what is configured there can be compared only once it is unsealed"
        )
        return True

    def _configure(self, api: Api, wanted: declaration.Declaration, seconds: float) -> dict[str, Any]:
        api.hide(plan.secret_texts(wanted))
        status = configure.ready(api.server)
        changes = plan.plan(wanted, observe(api, wanted, status.cluster))
        if changes and not self.check_mode:
            configure.apply(api, changes, seconds)
            configure.verify(api, wanted, status.cluster)
        return self._result(changes, [], status.version)

    def _result(self, changes: list[plan.Change], steps: list[str], version: str) -> dict[str, Any]:
        return {
            "changed": bool(changes or steps),
            "changes": plan.words(changes),
            "steps": steps,
            "version": version,
            "diff": _diff(changes) if self._task.diff else [],
        }


def _token(path: Path) -> str:
    """Read a token. Raises OpenBaoError."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise OpenBaoError(f"token_file: {path} cannot be read: {error}") from None
    if not token or len(token.split()) != 1:
        raise OpenBaoError(f"token_file: {path}: wanted one token, found something else")
    return token


def _diff(changes: Iterable[plan.Change]) -> list[dict[str, str]]:
    return [
        {
            "before_header": f"{change.kind} {change.target}",
            "after_header": f"{change.kind} {change.target}",
            "before": _text(change.before),
            "after": _text(change.after),
        }
        for change in changes
    ]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else yaml.safe_dump(value, sort_keys=True)
