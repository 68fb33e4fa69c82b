# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.flux_suspend; the module of the same name holds the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import kinds, overview, reconcile
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube._action import KubeAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.access import API_ACCESS_OPTIONS
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(KubeAction):
    """Suspend or resume objects of Flux."""

    argument_spec = ArgumentSpec(
        options={
            "objects": {"type": "list", "elements": "str"},
            "all": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["suspended", "resumed"], "required": True},
            "namespace": {"type": "str", "default": kinds.DEFAULT_NAMESPACE},
            **API_ACCESS_OPTIONS,
        },
        mutually_exclusive=[["objects", "all"]],
        required_one_of=[["objects", "all"]],
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Plan against the live objects; change them unless in check mode."""
        suspend = options["state"] == "suspended"
        access = self.access(options, task_vars)
        with Session(access) as session:
            objects = overview.load(session)
            if options["all"]:
                wanted = sorted(n for n in objects if n.kind in ("Kustomization", "HelmRelease"))
            else:
                wanted = kinds.parse_all(options["objects"] or [], options["namespace"])
            changes = reconcile.plan_suspend(objects, wanted, suspend=suspend)
            if not self.check_mode:
                reconcile.suspend(session, changes, suspend=suspend)
        now, before = ("suspended", "not suspended") if suspend else ("not suspended", "suspended")
        return {
            "changed": bool(changes),
            "objects": [str(named) for named in changes],
            "diff": [
                {
                    "before_header": str(named),
                    "after_header": str(named),
                    "before": f"{before}\n",
                    "after": f"{now}\n",
                }
                for named in changes
            ],
        }
