# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.kube_apply; the module of the same name holds the documentation."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, ControllerAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import apply
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.access import (
    API_ACCESS_OPTIONS,
    API_ACCESS_VARIABLES,
    api_access,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.client import connect
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError, KubeconfigError, KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh._action import defaults_of
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import SshError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class ActionModule(ControllerAction):
    """Bring objects to the declared state by server-side apply."""

    errors = (KubeError, SshError)
    argument_spec = ArgumentSpec(
        options={
            "manifests": {"type": "list", "elements": "str", "required": True},
            "field_manager": {"type": "str", "default": "stagecraft.gitops"},
            "force": {"type": "bool", "default": False},
            **API_ACCESS_OPTIONS,
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Plan against the live objects; apply unless in check mode."""
        objects = apply.parse(options["manifests"])
        access = api_access(
            options, self.variables(API_ACCESS_VARIABLES, task_vars), task_vars, partial(defaults_of, self, task_vars)
        )
        try:
            with connect(access) as client:
                applier = apply.Applier(client, options["field_manager"], force=options["force"])
                changes = applier.plan(objects)
                if not self.check_mode:
                    applier.apply(objects, changes)
        except (KubeconfigError, ApiError) as error:
            if not self.check_mode or getattr(error, "status", None) is not None:
                raise
            # no cluster yet: all of it would be created
            changes = [apply.Change(apply.label(item), None, apply.content(item)) for item in objects]
        return {
            "changed": bool(changes),
            "objects": [{"object": change.label, "action": change.action} for change in changes],
            "diff": _diff(changes),
        }


def _diff(changes: Iterable[apply.Change]) -> list[dict[str, str]]:
    """Before and after of each object; what a Secret holds is never part of it."""
    return [
        {
            "before_header": change.label,
            "after_header": change.label,
            "before": "" if change.before is None else _text(change.before),
            "after": _text(change.after),
        }
        for change in changes
    ]


def _text(item: apply.Object) -> str:
    hidden = {key: "(hidden)" for key in ("data", "stringData") if item["kind"] == "Secret" and key in item}
    return yaml.safe_dump({**item, **hidden}, sort_keys=True)
