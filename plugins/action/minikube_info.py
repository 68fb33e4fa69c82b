# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.minikube_info; the module of the same name holds the documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.module_utils.minikube.observe import INFO_OPTIONS
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, HostAction, HostEngine

ENGINE = HostEngine("stagecraft.gitops.minikube_info", ("minikube", "node"), "observe.info_result", "NodeError")


class ActionModule(HostAction):
    """Look at a machine."""

    errors = ()
    argument_spec = ArgumentSpec(options=INFO_OPTIONS)

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the machine; nothing is changed."""
        return self.run_engine(ENGINE, options, task_vars)
