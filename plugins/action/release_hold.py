# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.release_hold; the module of the same name holds the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, ControllerAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import _action as shared
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.run import Options, Run
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import SshError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit.errors import YamlEditError

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(ControllerAction):
    """Hold versions of components, or lift holds."""

    errors = (ReleaseError, GitError, YamlEditError, SshError)
    argument_spec = ArgumentSpec(
        options={
            "environment": {"type": "str", "required": True},
            "component": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "version": {"type": "str", "default": ""},
            "until": {"type": "str", "default": ""},
            "reason": {"type": "str", "default": ""},
            "message": {"type": "str", "default": ""},
            "retries": {"type": "int", "default": 25},
            **shared.REPOSITORY,
        },
        required_if=[("state", "present", ("component",))],
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Hold or lift; in check mode tell what would be done, by the same plan."""
        if options["state"] == "present" and not options["component"]:
            raise ReleaseError("component: say what is to be held.")
        how = Options(
            check_mode=self.check_mode,
            reason=options["reason"],
            message=options["message"],
            retries=options["retries"],
            clusters=shared.clusters(self, options["clusters"], task_vars),
        )
        run = Run(shared.place(options), how)
        try:
            result = run.hold(
                options["environment"],
                options["component"],
                options["state"],
                deny=options["version"],
                until=options["until"],
            )
        finally:
            run.close()
        return result if self._task.diff else {key: value for key, value in result.items() if key != "diff"}
