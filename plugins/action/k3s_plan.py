# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan a K3s cluster from what ``k3s_info`` has seen on each of its hosts."""

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
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.k3s.plan import Desired, make_plan


class ActionModule(ControllerAction):
    """Options in, planner, plan out; problems of all hosts in one message."""

    argument_spec: ClassVar[ArgumentSpec] = ArgumentSpec(
        options={
            "environment": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "datastore": {"type": "str", "choices": ["auto", "sqlite", "etcd", "external"], "default": "auto"},
            "port": {"type": "int", "default": 6443},
            "secrets_encryption": {"type": "bool", "default": True},
            "drain": {"type": "bool", "default": True},
            "batch": {"type": "int", "default": 1},
            "snapshot": {"type": "str", "default": ""},
            "control_planes": {"type": "list", "elements": "str", "required": True},
            "workers": {"type": "list", "elements": "str", "default": []},
            "observed_in": {"type": "str", "required": True},
            "predicted_in": {"type": "str", "default": ""},
            "node_name_in": {"type": "str", "required": True},
            "addresses": {"type": "dict", "required": True},
        }
    )
    errors: ClassVar[tuple[type[Exception], ...]] = (ValueError,)

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """The plan as a result; nothing is changed here."""
        hostvars = task_vars["hostvars"]
        hosts = [*options["control_planes"], *options["workers"]]
        desired = Desired(
            control_planes=tuple(options["control_planes"]),
            workers=tuple(options["workers"]),
            node_names={host: str(hostvars[host].get(options["node_name_in"]) or host).lower() for host in hosts},
            addresses={host: str(options["addresses"].get(host, host)) for host in hosts},
            environment=options["environment"],
            version=options["version"],
            datastore=options["datastore"],
            port=options["port"],
            encryption=options["secrets_encryption"],
            drain=options["drain"],
            batch=options["batch"],
            snapshot=options["snapshot"],
        )
        observed = {
            host: plain(hostvars[host][options["observed_in"]])
            for host in hosts
            if "membership" in hostvars[host].get(options["observed_in"], {})
        }
        second = bool(options["predicted_in"])
        predicted = (
            {host: bool(plain(hostvars[host].get(options["predicted_in"], {}).get("plan", []))) for host in hosts}
            if second
            else None
        )
        plan = make_plan(desired, observed, predicted, time.time())
        refuse(plan.problems)
        for warning in plan.warnings if second else ():
            self._display.warning(warning)
        return {
            "changed": False,
            "primary": plan.primary,
            "datastore": plan.datastore,
            "servers": dict(plan.servers),
            "nodes": dict(desired.node_names),
            "steps": {host: list(todo) for host, todo in plan.steps.items()},
            "waves": [list(wave) for wave in plan.waves],
            "drains": list(plan.drains),
            "snapshot": plan.snapshot,
            "unmanaged": list(plan.unmanaged),
        }
