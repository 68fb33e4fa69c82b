# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.kube_wait; the module of the same name holds the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.utils.display import Display
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import wait
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube._action import KubeAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.access import API_ACCESS_OPTIONS
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(KubeAction):
    """Wait until objects are as their manifests want them, or gone."""

    argument_spec = ArgumentSpec(
        options={
            "objects": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "api_version": {"type": "str", "default": "v1"},
                    "kind": {"type": "str", "required": True},
                    "name": {"type": "str", "required": True},
                    "namespace": {"type": "str"},
                },
            },
            "state": {"type": "str", "choices": ["current", "absent"], "default": "current"},
            "timeout": {"type": "float", "default": 300.0},
            **API_ACCESS_OPTIONS,
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Wait; in check mode look once and never fail."""
        wanted = [
            wait.Wanted(
                Ref(o["api_version"].rpartition("/")[0], o["kind"], o["namespace"] or "", o["name"]), o["api_version"]
            )
            for o in options["objects"]
        ]
        access = self.access(options, task_vars)
        timeout = 0.0 if self.check_mode else options["timeout"]
        try:
            with Session(access) as session:
                outcome = wait.wait(session, wanted, options["state"], timeout, Display().v)
        except self.errors as error:
            if not self.check_mode:
                raise
            return {"ok": False, "objects": [], "problems": [str(error)], "seconds": 0.0}
        result: dict[str, Any] = {
            "ok": outcome.ok,
            "objects": [
                {
                    "object": str(v.named),
                    "status": v.status.state,
                    "reason": v.status.reason,
                    "message": v.status.message,
                    "cause": v.cause,
                }
                for v in outcome.verdicts
            ],
            "problems": [*(str(v) for v in outcome.open), *outcome.trouble],
            "seconds": round(outcome.seconds, 3),
        }
        if not outcome.ok and not self.check_mode:
            result |= {"failed": True, "msg": wait.summary(outcome)}
        return result
