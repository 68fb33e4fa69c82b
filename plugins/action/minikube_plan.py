# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan a Minikube profile from what ``minikube_info`` has seen of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import (
    ArgumentSpec,
    ControllerAction,
    refuse,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.minikube.plan import Desired, make_plan


class ActionModule(ControllerAction):
    """Options in, planner, plan out; all problems in one message."""

    argument_spec: ClassVar[ArgumentSpec] = ArgumentSpec(
        options={
            "environment": {"type": "str", "required": True},
            "observed": {"type": "dict", "required": True},
            "profile": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["started", "stopped"], "default": "started"},
            "driver": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "runtime": {"type": "str", "required": True},
            "cpus": {"type": "int", "required": True},
            "memory_mb": {"type": "int", "required": True},
            "disk_mb": {"type": "int", "required": True},
            "port": {"type": "int", "required": True},
            "addons": {"type": "list", "elements": "str", "default": []},
            "names": {"type": "list", "elements": "str", "default": []},
            "settings": {"type": "str", "default": ""},
            "recreate": {"type": "str", "default": ""},
        }
    )
    errors: ClassVar[tuple[type[Exception], ...]] = ()

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """The plan as a result; nothing is changed here."""
        observed = options.pop("observed")
        desired = Desired(
            **{
                **options,
                "version": "v" + options["version"].removeprefix("v"),
                "addons": tuple(options["addons"]),
                "names": tuple(options["names"]),
            }
        )
        plan = make_plan(desired, observed)
        refuse(plan.problems)
        return {"changed": False, "steps": list(plan.steps), "drift": list(plan.drift)}
