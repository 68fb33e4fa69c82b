# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask Flux to reconcile, and change nothing else: the requests that its command line sends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.readiness import REQUESTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session

FORCED = "reconcile.fluxcd.io/forceAt"
RESET = "reconcile.fluxcd.io/resetAt"
MERGE = "application/merge-patch+json"
MANAGER = "stagecraft.gitops"


def new_token() -> str:
    """Return a token that no earlier request had: the time, to the microsecond."""
    return datetime.now(tz=UTC).isoformat().replace("+00:00", "Z")


def request_patch(token: str, *, force: bool = False, reset: bool = False) -> dict[str, Any]:
    """Return the merge patch that asks for a reconciliation; `force` and `reset` are for HelmReleases. Pure."""
    annotations = {REQUESTED: token, **({FORCED: token} if force else {}), **({RESET: token} if reset else {})}
    return {"metadata": {"annotations": annotations}}


def suspend_patch(*, suspend: bool) -> dict[str, Any]:
    """Return the merge patch that suspends or resumes. Pure."""
    return {"spec": {"suspend": suspend}}


def patch(session: Session, named: Ref, body: Mapping[str, Any]) -> dict[str, Any]:
    """Send a merge patch to one object and return what became of it. Raises ApiError, and FluxError for no such kind."""
    served = session.preferred(named.group, named.kind)
    if served is None:
        raise FluxError(f"the API server has no {named.kind}: is Flux installed?")
    path = served.path(named.namespace, named.name)
    result: dict[str, Any] = session.call(
        lambda api: api.request("PATCH", path, query={"fieldManager": MANAGER}, body=dict(body), content_type=MERGE)
    )
    return result
