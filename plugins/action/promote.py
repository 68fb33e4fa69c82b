# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.promote; the module of the same name holds the documentation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, ControllerAction, given
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import CheckError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.errors import LeakScanError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.needles import read
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import _action as shared
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.retag import Options as RetagOptions
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.run import Run
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import SshError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.yaml_edit.errors import YamlEditError

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(ControllerAction):
    """Bring a release from one environment to the next, by one commit."""

    errors = (ReleaseError, GitError, KubeError, CheckError, YamlEditError, LeakScanError, SshError)
    argument_spec = ArgumentSpec(
        options={
            "from": {"type": "str", "required": True},
            "to": {"type": "str", "required": True},
            "component": {"type": "list", "elements": "str", "default": []},
            "what": {"type": "str", "choices": ["images", "charts", "refs", "subtree", "all"], "default": "all"},
            "source_of_truth": {"type": "str", "choices": ["git", "running"], "default": "git"},
            "pin_digest": {"type": "bool", "default": True},
            "ask_registry": {"type": "bool", "default": True},
            "gates": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "retag": {
                "type": "dict",
                "options": {
                    "tags": {"type": "list", "elements": "str", "required": True},
                    "user": {"type": "str", "default": ""},
                    "password_file": {"type": "str", "default": "", "no_log": False},
                },
            },
            **shared.REPOSITORY,
            **shared.CARRY_OUT,
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Promote; in check mode tell what would be done, by the same plan."""
        reached = shared.clusters(self, options["clusters"], task_vars)
        options = {**options, "verify": given(options["verify"]), "clusters": reached}
        where = shared.place(options)
        how = shared.carry_out(options, options["gates"], where, check_mode=self.check_mode)
        how = replace(how, secrets=tuple(read(options["secrets"])))
        if options["retag"]:
            own = options["retag"]
            how = replace(how, retag=RetagOptions(tuple(own["tags"]), own["user"], own["password_file"]))
        run = Run(where, how)
        components = [name for name in options["component"] if name != "all"]
        try:
            result = run.promote(
                options["from"],
                options["to"],
                components,
                options["what"],
                options["source_of_truth"],
                pin_digest=options["pin_digest"],
                ask_registry=options["ask_registry"],
            )
        finally:
            run.close()
        return result if self._task.diff else {key: value for key, value in result.items() if key != "diff"}
