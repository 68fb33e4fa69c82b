# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.release_info; the module of the same name holds the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, ControllerAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import _action as shared
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import page, status
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.rules import utc_now
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.run import Clusters
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import SshError

if TYPE_CHECKING:
    from collections.abc import Mapping


class ActionModule(ControllerAction):
    """Tell what runs where, since when, by whom, and whether it is well."""

    errors = (ReleaseError, GitError, KubeError, SshError)
    argument_spec = ArgumentSpec(
        options={
            "environment": {"type": "list", "elements": "str", "default": []},
            "component": {"type": "list", "elements": "str", "default": []},
            "versions": {"type": "int", "default": 0},
            "html": {"type": "path"},
            "title": {"type": "str", "default": "Releases"},
            "refresh": {"type": "int", "default": 60},
            **shared.REPOSITORY,
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Read Git and the clusters; write the page where one is wanted."""
        clusters, now = Clusters(shared.clusters(self, options["clusters"], task_vars)), utc_now()
        try:
            rows = status.collect(
                shared.place(options), clusters, options["environment"], options["component"], now, options["versions"]
            )
        finally:
            clusters.close()
        if options["html"] and not self.check_mode:
            _write(Path(options["html"]).expanduser(), page.render(rows, now, options["title"], options["refresh"]))
        return {"changed": False, "releases": [row.as_dict() for row in rows], "table": status.table(rows)}


def _write(path: Path, text: str) -> None:
    """Put the page in place in one step: a browser may read it at any moment."""
    try:
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise ReleaseError(f"html: the page cannot be written to {path}: {error}.") from error
