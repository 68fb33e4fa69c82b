# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.gitops_check; the module of the same name holds the documentation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, ControllerAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.cache import default_directory
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.check import Options, check
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.command import as_result, cluster_paths
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.commits import tree_of
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import CheckError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.schemas import installed_versions

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERSION = "stagecraft_kubernetes_version"


class ActionModule(ControllerAction):
    """Check a GitOps repository without a cluster."""

    errors = (CheckError,)
    argument_spec = ArgumentSpec(
        options={
            "repository": {"type": "path", "required": True},
            "paths": {"type": "list", "elements": "str", "default": []},
            "commit": {"type": "str"},
            "kubernetes_version": {"type": "str"},
            "crds": {"type": "list", "elements": "path", "default": []},
            "ignore": {"type": "list", "elements": "str", "default": []},
            "cache": {"type": "path"},
            "jobs": {"type": "int"},
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Check the repository, fail with everything that is wrong."""
        played = self.variables([_VERSION], task_vars).get(_VERSION)
        root = Path(options["repository"])
        jobs = {"jobs": options["jobs"]} if options["jobs"] else {}
        wanted = Options(
            root=root,
            paths=(),
            kubernetes_version=str(options["kubernetes_version"] or played or installed_versions()[-1]),
            crds=tuple(Path(path) for path in options["crds"]),
            ignore=tuple(options["ignore"]),
            cache=Path(options["cache"]) if options["cache"] else default_directory(),
            **jobs,
        )
        if options["commit"]:
            with tree_of(root, options["commit"]) as tree:
                report = check(replace(wanted, root=tree, paths=cluster_paths(tree, options["paths"])))
        else:
            report = check(replace(wanted, paths=cluster_paths(root, options["paths"])))
        result: dict[str, Any] = {"changed": False, **as_result(report)}
        warnings = [finding.text() for finding in report.findings if finding.severity == "warning"]
        if warnings:
            result["warnings"] = warnings
        if report.errors:
            count = "1 error" if len(report.errors) == 1 else f"{len(report.errors)} errors"
            listed = "\n".join(f"- {finding.text()}" for finding in report.errors)
            result |= {"failed": True, "msg": f"the repository {root} has {count}:\n{listed}"}
        return result
