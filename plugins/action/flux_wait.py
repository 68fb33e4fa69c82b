# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.flux_wait; the module of the same name holds the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.utils.display import Display
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import kinds, revision, survey, wait
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube._action import KubeAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.access import API_ACCESS_OPTIONS
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(KubeAction):
    """Wait until Flux has brought a commit into the cluster, or say what blocks it."""

    argument_spec = ArgumentSpec(
        options={
            "source": {"type": "str", "default": "GitRepository/flux-system"},
            "namespace": {"type": "str", "default": kinds.DEFAULT_NAMESPACE},
            "revision": {"type": "str"},
            "objects": {"type": "list", "elements": "str", "default": []},
            "recurse": {"type": "bool", "default": True},
            "poke": {"type": "bool", "default": True},
            "superseded": {"type": "str", "choices": ["accept", "fail"], "default": "accept"},
            "clone": {"type": "path"},
            "grace": {"type": "float", "default": 30.0},
            "timeout": {"type": "float", "default": 300.0},
            **API_ACCESS_OPTIONS,
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Wait; in check mode look once, ask for nothing, and never fail."""
        source, *objects = kinds.parse_all([options["source"], *options["objects"]], options["namespace"])
        goal = survey.Goal(
            source=source,
            target=revision.wanted(options["revision"]) if options["revision"] else "",
            objects=tuple(objects),
            recurse=options["recurse"],
            grace=options["grace"],
        )
        how = wait.Options(
            timeout=0.0 if self.check_mode else options["timeout"],
            poke=options["poke"] and not self.check_mode,
            superseded=options["superseded"],
            clone=Path(options["clone"]).expanduser() if options["clone"] else None,
        )
        access = self.access(options, task_vars)
        try:
            with Session(access) as session:
                outcome = wait.Wait(session, goal, how, Display().v).run()
        except self.errors as error:
            if not self.check_mode:
                raise
            return {"ready": False, "revision": "", "objects": [], "problems": [str(error)], "seconds": 0.0}
        result: dict[str, Any] = {
            "ready": outcome.ok,
            "revision": outcome.revision,
            "superseded_by": outcome.superseded,
            "objects": [
                {"object": str(named), "state": v.state, "reason": v.reason, "message": v.message}
                for named, v in outcome.found.verdicts.items()
            ],
            "problems": outcome.sentences(),
            "seconds": round(outcome.seconds, 3),
        }
        if not outcome.ok and not self.check_mode:
            listed = "\n".join(f"- {said}" for said in outcome.sentences())
            result |= {"failed": True, "msg": f"{source} is not ready after {outcome.seconds:.0f} s:\n{listed}"}
        return result
