# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.secrets_leak_scan; the module of the same name holds the documentation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, ControllerAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan import commits
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.errors import LeakScanError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.needles import read
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.scan import as_result, scan


class ActionModule(ControllerAction):
    """Search commits for secrets."""

    errors = (LeakScanError,)
    argument_spec = ArgumentSpec(
        options={
            "repository": {"type": "path", "required": True},
            "commits": {"type": "str", "default": "HEAD"},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "shared": {"type": "list", "elements": "str", "default": []},
            "ignore": {"type": "list", "elements": "str", "default": []},
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Scan, and fail with everything that was found."""
        started = time.monotonic()
        root = Path(options["repository"]).expanduser()
        secrets = read(options["secrets"])
        report = scan(root, commits.unpushed(root, options["commits"]), secrets, options["shared"], options["ignore"])
        result: dict[str, Any] = {
            "changed": False,
            **as_result(report),
            "secrets": len(secrets),
            "seconds": round(time.monotonic() - started, 3),
        }
        if report.warnings:
            result["warnings"] = list(report.warnings)
        listed = [*(one.text() for one in report.findings), *report.problems]
        if listed:
            count = "1 thing" if len(listed) == 1 else f"{len(listed)} things"
            result |= {
                "failed": True,
                "msg": f"{root} has {count} that must not be pushed:\n" + "\n".join(f"- {line}" for line in listed),
            }
        return result
