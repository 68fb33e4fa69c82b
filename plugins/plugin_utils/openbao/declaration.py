# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server is to be like, as it was declared, and everything that is wrong with the declaration. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.values import seconds

# The mount and the policy by which this collection itself logs in; see `admin`.
OWN = "stagecraft"
_BUILT_IN_POLICIES = ("default", "root")
_BUILT_IN_MOUNTS = ("sys", "identity", "cubbyhole", "auth", "audit")
# Types of auth methods whose roles stand at auth/PATH/role/NAME and are answered with everything that they hold.
ROLE_TYPES = ("kubernetes", "jwt", "oidc", "approle")
CONFIG_TYPES = ("kubernetes", "jwt", "oidc", "ldap")
# The server answers both spellings; only one can be compared.
_OLD_NAMES = {
    "ttl": "token_ttl",
    "max_ttl": "token_max_ttl",
    "policies": "token_policies",
    "period": "token_period",
    "num_uses": "token_num_uses",
    "bound_cidrs": "token_bound_cidrs",
}


@dataclass(frozen=True)
class Mount:
    """A secrets engine. `tune` has its lease times; `kv` the settings of a KV engine of version 2."""

    path: str
    type: str
    version: int | None = None
    description: str = ""
    tune: Mapping[str, Any] = field(default_factory=dict)
    kv: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AuthMethod:
    """A way to log in. `config` may hold secrets; `roles` maps a name to its settings."""

    path: str
    type: str
    description: str = ""
    tune: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    roles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Secret:
    """One secret of a KV engine of version 2."""

    mount: str
    path: str
    data: Mapping[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.mount}/{self.path}"


@dataclass(frozen=True)
class Audit:
    """A device that every request is written to."""

    path: str
    type: str
    description: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Declaration:
    """Everything that was declared of one server."""

    mounts: Sequence[Mount] = ()
    auth_methods: Sequence[AuthMethod] = ()
    policies: Mapping[str, str] = field(default_factory=dict)
    secrets: Sequence[Secret] = ()
    audit: Sequence[Audit] = ()


def read(options: Mapping[str, Any]) -> Declaration:
    """Make a declaration of the module's options. Raises OpenBaoError with everything that is wrong."""
    declared = Declaration(
        mounts=[_mount(one) for one in options["mounts"]],
        auth_methods=[
            AuthMethod(
                _path(one["path"]),
                one["type"],
                one.get("description") or "",
                _tune(one),
                one.get("config") or {},
                {str(name): _role(one["type"], settings or {}) for name, settings in (one.get("roles") or {}).items()},
            )
            for one in options["auth_methods"]
        ],
        policies={str(name): text for name, text in options["policies"].items()},
        secrets=[Secret(_path(one["mount"]), _path(one["path"]), one["data"]) for one in options["secrets"]],
        audit=[
            Audit(_path(one["path"]), one["type"], one.get("description") or "", one.get("options") or {})
            for one in options["audit"]
        ],
    )
    problems = _problems(declared)
    if problems:
        raise OpenBaoError("what is declared of the server cannot be:\n- " + "\n- ".join(problems))
    return declared


def _mount(one: Mapping[str, Any]) -> Mount:
    settings = {
        name: one[name]
        for name in ("max_versions", "cas_required", "delete_version_after")
        if one.get(name) is not None
    }
    version = one.get("version")
    if one["type"] == "kv" and version is None:
        version = 2
    return Mount(_path(one["path"]), one["type"], version, one.get("description") or "", _tune(one), settings)


def _role(kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    # without it a role is one for logging in by a browser
    return {**({"role_type": "jwt"} if kind == "jwt" else {}), **settings}


def _tune(one: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one[name] for name in ("default_lease_ttl", "max_lease_ttl") if one.get(name) is not None}


def _path(text: str) -> str:
    return str(text).strip().strip("/")


def _problems(declared: Declaration) -> list[str]:
    return [
        *_twice("mounts", (one.path for one in declared.mounts)),
        *_twice("auth_methods", (one.path for one in declared.auth_methods)),
        *_twice("secrets", (str(one) for one in declared.secrets)),
        *_twice("audit", (one.path for one in declared.audit)),
        *(problem for one in declared.mounts for problem in _of_mount(one)),
        *(problem for one in declared.auth_methods for problem in _of_method(one)),
        *(problem for name, text in declared.policies.items() for problem in _of_policy(name, text)),
        *(problem for one in declared.secrets for problem in _of_secret(one, declared.mounts)),
    ]


def _twice(what: str, names: Iterable[str]) -> list[str]:
    return [f"{what}: {name or '(no path)'} is declared {n} times" for name, n in Counter(names).items() if n > 1]


def _of_mount(one: Mount) -> list[str]:
    where = f"mounts: {one.path or '(no path)'}"
    problems = _of_path(where, one.path)
    if one.path.split("/", 1)[0] in _BUILT_IN_MOUNTS:
        problems.append(f"{where}: the server keeps this path for itself")
    if one.type != "kv" and (one.version is not None or one.kv):
        problems.append(
            f"{where}: version, max_versions, cas_required and delete_version_after are of type kv, found {one.type}"
        )
    if one.type == "kv" and one.version == 1 and one.kv:
        problems.append(f"{where}: {', '.join(sorted(one.kv))} need version 2 of kv")
    durations = {**one.tune, "delete_version_after": one.kv.get("delete_version_after", 0)}
    return [*problems, *_durations(where, durations)]


def _of_method(one: AuthMethod) -> list[str]:
    where = f"auth_methods: {one.path or '(no path)'}"
    problems = [*_of_path(where, one.path), *_durations(where, one.tune)]
    if one.path in ("token", OWN):
        problems.append(
            f"{where}: this path is kept for {'tokens' if one.path == 'token' else 'the collection itself'}"
        )
    if one.roles and one.type not in ROLE_TYPES:
        problems.append(f"{where}: wanted roles of {', '.join(ROLE_TYPES)}; those of {one.type} are not known here")
    if one.config and one.type not in CONFIG_TYPES:
        problems.append(f"{where}: {one.type} has no configuration of its own that is known here")
    if one.type == "kubernetes" and not one.config.get("kubernetes_host"):
        problems.append(f"{where}: wanted config.kubernetes_host, the address of the API server")
    for name, settings in one.roles.items():
        problems += _of_role(f"{where}, role {name}", one.type, settings)
    return problems


def _of_role(where: str, kind: str, settings: Mapping[str, Any]) -> list[str]:
    problems = [
        f"{where}: {old} is the old name of {new}: write that" for old, new in _OLD_NAMES.items() if old in settings
    ]
    needed: tuple[str, ...] = ()
    if kind == "kubernetes":
        needed = ("bound_service_account_names", "bound_service_account_namespaces", "audience")
    elif kind == "jwt":
        needed = ("bound_audiences", "user_claim")
    problems += [
        f"{where}: wanted {name}, so that not everybody's token is taken" for name in needed if not settings.get(name)
    ]
    lifetimes = {
        name: value for name, value in settings.items() if name in ("token_ttl", "token_max_ttl", "token_period")
    }
    return [*problems, *_durations(where, lifetimes)]


def _of_policy(name: str, text: str) -> list[str]:
    if name.lower() != name:
        return [f"policies: {name}: the server knows names in lower case only"]
    if name in ("root", OWN):
        return [f"policies: {name} is kept for {'the server' if name == 'root' else 'the collection itself'}"]
    return [] if isinstance(text, str) and text.strip() else [f"policies: {name} has no text"]


def _of_secret(one: Secret, mounts: Sequence[Mount]) -> list[str]:
    where = f"secrets: {one}"
    problems = _of_path(where, one.path)
    if not one.data:
        problems.append(f"{where}: wanted data, found none")
    mount = next((mount for mount in mounts if mount.path == one.mount), None)
    if mount is not None and (mount.type, mount.version) != ("kv", 2):
        problems.append(f"{where}: {one.mount} is declared as {mount.type}, wanted kv of version 2")
    return problems


def _of_path(where: str, path: str) -> list[str]:
    parts = path.split("/")
    if not path or any(not part or part in (".", "..") for part in parts) or path != path.strip():
        return [f"{where}: {path!r} is no path"]
    return []


def _durations(where: str, values: Mapping[str, Any]) -> list[str]:
    return [
        f"{where}: {name}: {value!r} is no time; write 20m, 72h, or seconds"
        for name, value in values.items()
        if seconds(value) is None
    ]


def named_policies(declared: Declaration) -> dict[str, set[str]]:
    """Return the policies that roles name, and by which roles."""
    found: dict[str, set[str]] = {}
    for method in declared.auth_methods:
        for name, settings in method.roles.items():
            policies = settings.get("token_policies") or ()
            for policy in policies.split(",") if isinstance(policies, str) else policies:
                if str(policy).strip() not in _BUILT_IN_POLICIES:
                    found.setdefault(str(policy).strip(), set()).add(f"{method.path}, role {name}")
    return found
