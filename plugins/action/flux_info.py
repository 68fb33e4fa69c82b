# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.flux_info; the module of the same name holds the documentation."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import diagnosis, kinds, overview
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube._action import KubeAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.access import API_ACCESS_OPTIONS
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping


_GATHER = ("all", "tree", "graph", "events", "trace", "diagnosis")


class ActionModule(KubeAction):
    """Tell what Flux has in a cluster, and what blocks it."""

    argument_spec = ArgumentSpec(
        options={
            "gather": {"type": "list", "elements": "str", "choices": list(_GATHER), "default": ["all"]},
            "object": {"type": "str"},
            "api_version": {"type": "str"},
            "namespace": {"type": "str"},
            **API_ACCESS_OPTIONS,
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Read and show; nothing is changed."""
        named = _named(options)
        gather = set(options["gather"])
        if "trace" in gather and named is None:
            raise FluxError("gather: trace needs `object`: KIND/NAME or KIND/NAMESPACE/NAME")
        access = self.access(options, task_vars)
        result: dict[str, Any] = {"changed": False}
        with Session(access) as session:
            objects = overview.load(session)
            shown = {n: i for n, i in objects.items() if options["namespace"] in (None, n.namespace)}
            if "all" in gather:
                result["objects"] = [overview.row(shown[n]) for n in sorted(shown) if named in (None, n)]
            if "tree" in gather:
                result["tree"] = overview.tree(objects, named if named and kinds.is_flux(named) else None)
            if "graph" in gather:
                result["graph"] = overview.dependency_graph(objects)
            if "events" in gather:
                result["events"] = overview.events(session, named, options["namespace"] or "")
            if "trace" in gather and named is not None:
                result["trace"] = overview.trace(session, named)
            if "diagnosis" in gather:
                causes = diagnosis.causes(session, shown)
                found = diagnosis.diagnose(objects, options["namespace"] or "", causes, time.time())
                result["diagnosis"] = [
                    {"object": str(f.named), "severity": f.severity, "reason": f.reason, "sentence": f.sentence}
                    for f in found
                ]
                result["causes"] = [cause.said for cause in causes]
                result["blocked"] = any(f.severity == "blocked" for f in found)
        return result


def _named(options: Mapping[str, Any]) -> Ref | None:
    written = options["object"]
    if not written:
        return None
    parts = written.split("/")
    namespace = options["namespace"] or kinds.DEFAULT_NAMESPACE
    if options["api_version"] is None:
        return kinds.parse(written, namespace)
    if len(parts) not in (2, 3) or not all(parts):
        raise FluxError(f"object: wanted KIND/NAME or KIND/NAMESPACE/NAME, found {written!r}")
    group = options["api_version"].rpartition("/")[0]
    return Ref(group, parts[0], parts[1] if len(parts) == 3 else namespace, parts[-1])
