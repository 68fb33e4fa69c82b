# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan a kubeadm cluster from what ``kubeadm_info`` has seen on each of its hosts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, ClassVar

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import (
    ArgumentSpec,
    ControllerAction,
    plain,
    refuse,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kubeadm.plan import Desired, make_plan


class ActionModule(ControllerAction):
    """Options in, planner, plan out; problems of all hosts in one message."""

    argument_spec: ClassVar[ArgumentSpec] = ArgumentSpec(
        options={
            "environment": {"type": "str", "required": True},
            "kubernetes_version": {"type": "str", "required": True},
            "settings_digest": {"type": "str", "required": True},
            "encryption_at_rest": {"type": "bool", "required": True},
            "control_planes": {"type": "list", "elements": "str", "required": True},
            "workers": {"type": "list", "elements": "str", "default": []},
            "observed_in": {"type": "str", "required": True},
            "node_name_in": {"type": "str", "required": True},
        }
    )
    errors: ClassVar[tuple[type[Exception], ...]] = ()

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """The plan as a result; nothing is changed here."""
        hostvars = task_vars["hostvars"]
        hosts = [*options["control_planes"], *options["workers"]]
        desired = Desired(
            control_planes=tuple(options["control_planes"]),
            workers=tuple(options["workers"]),
            node_names={host: str(hostvars[host].get(options["node_name_in"]) or host).lower() for host in hosts},
            environment=options["environment"],
            version=options["kubernetes_version"],
            settings_digest=options["settings_digest"],
            encryption_at_rest=options["encryption_at_rest"],
        )
        observed = {
            host: plain(hostvars[host][options["observed_in"]])
            for host in hosts
            if "membership" in hostvars[host].get(options["observed_in"], {})
        }
        plan = make_plan(desired, observed, time.time())
        refuse(plan.problems)
        for warning in plan.warnings:
            self._display.warning(warning)
        return {
            "changed": False,
            "primary": plan.primary,
            "nodes": dict(desired.node_names),
            "steps": {host: list(todo) for host, todo in plan.steps.items()},
            "newcomers": list(plan.newcomers),
            "unmanaged": list(plan.unmanaged),
        }
