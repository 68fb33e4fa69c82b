# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.rollback; the module of the same name holds the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, ControllerAction, given
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import CheckError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import _action as shared
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.run import Run
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import SshError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit.errors import YamlEditError

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(ControllerAction):
    """Give components of an environment a version that they had before, by one commit that is not undone."""

    errors = (ReleaseError, GitError, KubeError, CheckError, YamlEditError, SshError)
    argument_spec = ArgumentSpec(
        options={
            "environment": {"type": "str", "required": True},
            "component": {"type": "list", "elements": "str", "required": True},
            "to": {"type": "str", "default": "previous"},
            "method": {"type": "str", "choices": ["restore", "revert", "ref"], "default": "restore"},
            "hold": {"type": "bool", "default": True},
            "hold_until": {"type": "str", "default": ""},
            "ask_registry": {"type": "bool", "default": True},
            **shared.REPOSITORY,
            **shared.CARRY_OUT,
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Roll back; in check mode tell what would be done, by the same plan."""
        reached = shared.clusters(self, options["clusters"], task_vars)
        options = {**options, "verify": given(options["verify"]), "clusters": reached}
        where = shared.place(options)
        run = Run(where, shared.carry_out(options, {}, where, check_mode=self.check_mode))
        try:
            if options["method"] == "ref":
                result = run.move(options["environment"], options["to"])
            else:
                result = run.rollback(
                    options["environment"],
                    options["component"],
                    options["to"],
                    hold=options["hold"],
                    until=options["hold_until"],
                    revert_all=options["method"] == "revert",
                    ask_registry=options["ask_registry"],
                )
        finally:
            run.close()
        return result if self._task.diff else {key: value for key, value in result.items() if key != "diff"}
