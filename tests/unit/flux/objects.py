# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of Flux as its controllers leave them, for the unit tests."""

from __future__ import annotations

from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import kinds
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, Ref, ref

OLD, NEW = "a" * 40, "b" * 40
SOURCE = Ref(kinds.SOURCE, "GitRepository", "flux-system", "repo")


def condition(kind: str, status: str, reason: str = "", message: str = "", **more: Any) -> dict[str, Any]:
    said = {"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 1}
    return {**said, "lastTransitionTime": "2026-01-01T00:00:05Z", **more}


def flux_object(kind: str, name: str, spec: dict[str, Any], status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    head = {"apiVersion": f"{kinds.BY_NAME[kind].group}/v1", "kind": kind}
    about = {"name": name, "namespace": "flux-system", "generation": 1, "uid": name, **metadata}
    return {**head, "metadata": about, "spec": spec, "status": status}


def git(
    commit: str = NEW, *conditions: dict[str, Any], spec: dict[str, Any] | None = None, **status: Any
) -> dict[str, Any]:
    artifact = {"revision": f"main@sha1:{commit}", "lastUpdateTime": "2026-01-01T00:00:03Z"} if commit else None
    found = {
        "observedGeneration": 1,
        "conditions": list(conditions) or [condition("Ready", "True", "Succeeded")],
        **status,
    }
    return flux_object("GitRepository", "repo", {"interval": "1m", **(spec or {})}, {**found, "artifact": artifact})


def kustomization(
    name: str = "apps",
    commit: str = NEW,
    *conditions: dict[str, Any],
    needs: tuple[str, ...] = (),
    spec: dict[str, Any] | None = None,
    applied: tuple[Ref, ...] = (),
    attempted: str = "",
    **status: Any,
) -> dict[str, Any]:
    wanted = {
        "sourceRef": {"kind": "GitRepository", "name": "repo"},
        "interval": "1m",
        "dependsOn": [{"name": need} for need in needs],
        **(spec or {}),
    }
    entries = [{"id": f"{r.namespace}_{r.name}_{r.group}_{r.kind}", "v": "v1"} for r in applied]
    found = {
        "observedGeneration": 1,
        "lastAppliedRevision": f"main@sha1:{commit}" if commit else "",
        "lastAttemptedRevision": f"main@sha1:{attempted or commit}",
        "inventory": {"entries": entries},
        "conditions": list(conditions) or [condition("Ready", "True", "ReconciliationSucceeded")],
        **status,
    }
    return flux_object("Kustomization", name, wanted, found)


def release(*conditions: dict[str, Any], newest: str = "deployed", **spec: Any) -> dict[str, Any]:
    found = {"observedGeneration": 1, "history": [{"status": newest, "chartVersion": "1.2.3"}]}
    return flux_object("HelmRelease", "web", spec, {**found, "conditions": list(conditions)})


def by_ref(*items: dict[str, Any]) -> dict[Ref, Object]:
    return {ref(item): item for item in items}


def named(name: str, kind: str = "Kustomization") -> Ref:
    return Ref(kinds.BY_NAME[kind].group, kind, "flux-system", name)
