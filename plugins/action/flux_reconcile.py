# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.flux_reconcile; the module of the same name holds the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.utils.display import Display
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import kinds, overview, readiness, reconcile
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube._action import KubeAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.access import API_ACCESS_OPTIONS
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(KubeAction):
    """Ask Flux to reconcile objects now, and wait until it has."""

    argument_spec = ArgumentSpec(
        options={
            "objects": {"type": "list", "elements": "str", "required": True},
            "namespace": {"type": "str", "default": kinds.DEFAULT_NAMESPACE},
            "with_source": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
            "reset": {"type": "bool", "default": False},
            "wait": {"type": "bool", "default": True},
            "timeout": {"type": "float", "default": 300.0},
            **API_ACCESS_OPTIONS,
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Plan, ask step by step, and wait for each."""
        wanted = kinds.parse_all(options["objects"], options["namespace"])
        access = self.access(options, task_vars)
        with Session(access) as session:
            objects = overview.load(session)
            steps = reconcile.plan_requests(
                objects,
                wanted,
                with_source=options["with_source"],
                force=options["force"],
                reset=options["reset"],
            )
            asked = [str(request.named) for step in steps for request in step]
            if self.check_mode:
                return {"changed": True, "asked": asked, "objects": []}
            verdicts: dict[Ref, readiness.Verdict] = {}
            for step in steps:
                tokens = reconcile.ask(session, step)
                if options["wait"]:
                    verdicts |= reconcile.await_handled(session, tokens, options["timeout"], Display().v)
                if any(verdict.state != "ready" for verdict in verdicts.values()):
                    break
        unready = [f"{named}: {verdict}" for named, verdict in verdicts.items() if verdict.state != "ready"]
        result: dict[str, Any] = {
            "changed": True,
            "asked": asked,
            "objects": [
                {"object": str(named), "state": v.state, "reason": v.reason, "message": v.message}
                for named, v in verdicts.items()
            ],
        }
        if unready:
            listed = "\n".join(f"- {said}" for said in unready)
            result |= {"failed": True, "msg": f"asked for, but not ready:\n{listed}"}
        return result
