# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a server to what is declared of it: look, plan, apply, and look again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.api import Api
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Server, Status
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.declaration import Declaration
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.observe import observe
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.plan import Change, plan


def ready(server: Server) -> Status:
    """Return the status of a server that can be configured. Raises OpenBaoError."""
    status = server.status()
    if not status.initialized:
        raise OpenBaoError(f"{server.url}: wanted a server to configure, and it is not initialised. Run openbao_init")
    if status.sealed:
        raise OpenBaoError(f"{server.url}: wanted a server to configure, and it is sealed. Run openbao_unseal")
    return status


def both(first: Declaration, second: Declaration) -> Declaration:
    """Put two declarations together."""
    return replace(
        first,
        policies={**first.policies, **second.policies},
        auth_methods=[*first.auth_methods, *second.auth_methods],
    )


def apply(api: Api, changes: Sequence[Change], seconds: float) -> None:
    """Carry a plan out. Killed between any two requests, a new plan has what is left. Raises OpenBaoError."""
    for change in changes:
        for write in change.writes:
            api.write(write.method, write.path, write.body, str(change), seconds)


def verify(api: Api, declared: Declaration, cluster: str) -> None:
    """Look again. Raises OpenBaoError with what the server did not take."""
    left = plan(declared, observe(api, declared, cluster))
    if left:
        differing = "; ".join(f"{change.kind} {change.target}: {', '.join(_names(change))}" for change in left)
        raise OpenBaoError(
            f"{api.server.url}: it took everything, and still differs: {differing}. Is a setting misspelt, or unknown to this"
            " version?"
        )


def _names(change: Change) -> list[str]:
    before = change.before if isinstance(change.before, dict) else {}
    after = change.after if isinstance(change.after, dict) else {"text": change.after}
    return [name for name, value in after.items() if name not in before or before[name] != value]
