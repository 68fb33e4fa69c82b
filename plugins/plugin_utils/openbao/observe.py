# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read everything of a server that a declaration names, and nothing else. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.api import Api
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.declaration import Declaration


@dataclass(frozen=True)
class Observed:
    """What a server has, in its own spelling. Keys are paths, of roles (path, name); what is missing is not in them.

    `cluster` tells the server from others; `secrets` maps a path to what stands there (None: deleted) and its version.
    """

    cluster: str = ""
    policy_names: frozenset[str] = frozenset()
    policies: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kv: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    roles: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    audit: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    secrets: Mapping[str, tuple[Mapping[str, Any] | None, int]] = field(default_factory=dict, repr=False)


def observe(api: Api, declared: Declaration, cluster: str) -> Observed:
    """Read what the declaration names. Raises OpenBaoError."""
    mounts = _mounts(api.get("sys/mounts"))
    methods = _mounts(api.get("sys/auth"))
    names = frozenset(api.keys("sys/policies/acl"))
    policies = {
        name: str((api.get(f"sys/policies/acl/{name}") or {}).get("policy", ""))
        for name in declared.policies
        if name in names
    }
    kv = {}
    for mount in declared.mounts:
        if mount.type == "kv" and mount.version == 2 and _is_kv2(mounts.get(mount.path)):
            kv[mount.path] = api.get(f"{mount.path}/config") or {}
    configs, roles = {}, {}
    for method in declared.auth_methods:
        if method.path not in methods:
            continue
        if method.config and (config := api.get(f"auth/{method.path}/config")) is not None:
            configs[method.path] = config
        for name in method.roles:
            if (role := api.get(f"auth/{method.path}/role/{name}")) is not None:
                roles[method.path, name] = role
    secrets = {
        str(one): _secret(api, one.mount, one.path) for one in declared.secrets if _is_kv2(mounts.get(one.mount))
    }
    audit = _mounts(api.get("sys/audit")) if declared.audit else {}
    return Observed(cluster, names, policies, mounts, kv, methods, configs, roles, audit, secrets)


def _mounts(found: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    return {path.rstrip("/"): one for path, one in (found or {}).items() if isinstance(one, Mapping)}


def _is_kv2(found: Mapping[str, Any] | None) -> bool:
    return found is not None and found.get("type") == "kv" and (found.get("options") or {}).get("version") == "2"


def _secret(api: Api, mount: str, path: str) -> tuple[Mapping[str, Any] | None, int]:
    found = api.get(f"{mount}/data/{path}")
    if found is not None and isinstance(found.get("data"), Mapping):
        return found["data"], int(found["metadata"]["version"])
    # the newest version is deleted, or there is none: what is written next has to name its number all the same
    kept = api.get(f"{mount}/metadata/{path}")
    return None, int((kept or {}).get("current_version") or 0)
