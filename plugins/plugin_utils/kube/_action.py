# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of the actions that talk to an API server. Private to stagecraft.gitops."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ControllerAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh._action import defaults_of
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import SshError

from .access import API_ACCESS_VARIABLES, api_access
from .errors import KubeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .client import ApiAccess


class KubeAction(ControllerAction):
    """An action that works on the controller and reaches the API server directly or through SSH.

    A subclass has `API_ACCESS_OPTIONS` among its options.
    """

    errors: ClassVar[tuple[type[Exception], ...]] = (KubeError, SshError)

    def access(self, options: Mapping[str, Any], task_vars: Mapping[str, Any]) -> ApiAccess:
        """Return how to reach the API server, as the options and the play's variables say; see `api_access`."""
        variables = self.variables(API_ACCESS_VARIABLES, task_vars)
        return api_access(options, variables, task_vars, partial(defaults_of, self, task_vars))
