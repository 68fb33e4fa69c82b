# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.cluster_health; the module of the same name holds the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.utils.display import Display
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import cluster, health
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube._action import KubeAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.access import API_ACCESS_OPTIONS
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeError

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(KubeAction):
    """Wait until a cluster is as healthy as the options say, or say what does not hold."""

    argument_spec = ArgumentSpec(
        options={
            "nodes": {"type": "list", "elements": "str", "default": []},
            "control_plane": {"type": "list", "elements": "str", "default": []},
            "version": {"type": "str"},
            "namespaces": {"type": "list", "elements": "str", "default": ["kube-system"]},
            "workloads": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "float", "default": 300.0},
            **API_ACCESS_OPTIONS,
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Look, and look again until the deadline; in check mode look once and never fail."""
        _check_workloads(options["workloads"])
        expected = health.Expected(
            nodes=tuple(options["nodes"]),
            version=(options["version"] or "").removeprefix("v"),
            control_plane=tuple(options["control_plane"]),
            namespaces=tuple(options["namespaces"]),
            workloads=tuple(options["workloads"]),
        )
        try:
            access = self.access(options, task_vars)
            found = cluster.wait(access, expected, 0.0 if self.check_mode else options["timeout"], Display().v)
        except self.errors as error:
            if not self.check_mode:
                raise
            # The cluster may not be there yet; whoever asks for a prediction is told so.
            found = cluster.Finding(health.Cluster(), (str(error),), 0.0)
        result: dict[str, Any] = {
            "changed": False,
            "healthy": found.healthy,
            "problems": list(found.problems),
            "version": found.seen.version,
            "nodes": {name: _node(node, expected) for name, node in _by_name(found.seen.nodes).items()},
            "seconds": round(found.seconds, 3),
        }
        if not found.healthy and not self.check_mode:
            listed = "\n".join(f"- {problem}" for problem in found.problems)
            result |= {
                "failed": True,
                "msg": f"the cluster is not as wanted after {found.seconds:.0f} s; what does not hold:\n{listed}",
            }
        return result


def _check_workloads(workloads: list[str]) -> None:
    wrong = [w for w in workloads if w.count("/") != 2 or w.split("/")[0] not in health.WORKLOAD_KINDS]
    if wrong:
        raise KubeError(
            f"workloads: {', '.join(map(repr, wrong))} cannot be used; wanted KIND/NAMESPACE/NAME with the kind "
            "DaemonSet, Deployment or StatefulSet, for example Deployment/kube-system/coredns."
        )


def _by_name(nodes: tuple[health.Object, ...]) -> dict[str, health.Object]:
    return {str(node["metadata"]["name"]): node for node in nodes}


def _node(node: health.Object, expected: health.Expected) -> dict[str, Any]:
    status = node.get("status") or {}
    problem = health.node_problem(node, expected.version)
    return {
        "ready": not problem,
        "problem": problem,
        "version": str((status.get("nodeInfo") or {}).get("kubeletVersion") or ""),
        "unschedulable": bool((node.get("spec") or {}).get("unschedulable", False)),
    }
