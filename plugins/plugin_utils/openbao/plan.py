# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a server with its declaration: a list of changes, each with the requests that make it. No I/O.

What is not declared stays. A setting of a role or of a method's configuration that stands on the server and is declared no
more is reset, for the lists below; nothing that holds data is ever replaced.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.declaration import (
    AuthMethod,
    Declaration,
    Mount,
    Secret,
    named_policies,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.observe import Observed
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.values import emptied, same, seconds

HIDDEN, HIDDEN_OTHER = "(hidden)", "(hidden, another value)"
# Settings that a server takes and never answers. Whether they changed is told by a digest in the method's description.
_WRITE_ONLY = {
    "kubernetes": frozenset({"token_reviewer_jwt"}),
    "jwt": frozenset({"oidc_client_secret"}),
    "oidc": frozenset({"oidc_client_secret"}),
    "ldap": frozenset({"bindpass", "client_tls_key"}),
}
_DIGEST = re.compile(r" ?\[settings [0-9a-f]{32}\]$")
_TOKEN_SETTINGS = frozenset(
    {
        "token_bound_cidrs",
        "token_explicit_max_ttl",
        "token_max_ttl",
        "token_no_default_policy",
        "token_num_uses",
        "token_period",
        "token_policies",
        "token_ttl",
    }
)
_JWT_SETTINGS = frozenset({"bound_audiences", "bound_claims", "bound_subject", "claim_mappings", "groups_claim"})
# What is reset when it is declared no more.
_ROLE_SETTINGS = {
    "kubernetes": _TOKEN_SETTINGS | {"audience", "bound_service_account_namespace_selector"},
    "jwt": _TOKEN_SETTINGS | _JWT_SETTINGS,
    "oidc": _TOKEN_SETTINGS | _JWT_SETTINGS,
    "approle": _TOKEN_SETTINGS | {"secret_id_bound_cidrs", "secret_id_num_uses", "secret_id_ttl"},
}
_CONFIG_SETTINGS = {
    "kubernetes": frozenset({"issuer", "kubernetes_ca_cert", "pem_keys", "disable_local_ca_jwt"}),
    "jwt": frozenset(
        {
            "bound_issuer",
            "default_role",
            "jwks_ca_pem",
            "jwks_url",
            "jwt_supported_algs",
            "jwt_validation_pubkeys",
            "oidc_client_id",
            "oidc_discovery_ca_pem",
            "oidc_discovery_url",
        }
    ),
}


@dataclass(frozen=True)
class Write:
    """One request that changes something."""

    method: str
    path: str
    body: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Change:
    """One thing that differs. `before` (None: it is not there) and `after` hold no secret; `writes` do."""

    kind: str
    target: str
    before: Any
    after: Any
    writes: tuple[Write, ...] = field(repr=False)

    @property
    def action(self) -> str:
        """The verb."""
        return "create" if self.before is None else "update"

    def __str__(self) -> str:
        return f"{self.action} {self.kind} {self.target}"


def plan(declared: Declaration, found: Observed) -> list[Change]:
    """Return what differs, in the order in which it is to be changed. Raises OpenBaoError with all that must not be."""
    problems = _problems(declared, found)
    if problems:
        raise OpenBaoError("the server is not as the declaration takes it to be:\n- " + "\n- ".join(problems))
    changes = [
        *(_policy(name, text, found.policies.get(name)) for name, text in declared.policies.items()),
        *(change for one in declared.mounts for change in _mount(one, found)),
        *(change for one in declared.auth_methods for change in _method(one, found)),
        *_audit(declared, found),
        *(_secret(one, found) for one in declared.secrets),
    ]
    return [change for change in changes if change is not None]


def _problems(declared: Declaration, found: Observed) -> list[str]:
    problems = []
    for one in declared.mounts:
        there = found.mounts.get(one.path)
        if there is not None:
            problems += _other_engine(one, there)
    for method in declared.auth_methods:
        there = found.methods.get(method.path)
        if there is not None and there["type"] != method.type:
            problems.append(
                f"auth_methods: {method.path} is of type {there['type']} there, wanted {method.type}. A method is never"
                " replaced, which would end all logins by it: choose another path, or disable it by hand"
            )
    for device in declared.audit:
        there = found.audit.get(device.path)
        if there is not None and (there["type"], there.get("options")) != (device.type, dict(device.options)):
            problems.append(
                f"audit: {device.path} is there with other settings, and cannot be changed but by removing it"
            )
    for secret in declared.secrets:
        declared_here = any(one.path == secret.mount for one in declared.mounts)
        if str(secret) not in found.secrets and not declared_here:
            problems.append(
                f"secrets: {secret}: {secret.mount} is no KV engine of version 2 there, and is not declared"
            )
    known = {*declared.policies, *found.policy_names}
    problems += [
        f"auth_methods: {', '.join(sorted(roles))} names the policy {name}, which neither is declared nor is there"
        for name, roles in sorted(named_policies(declared).items())
        if name not in known
    ]
    return problems


def _other_engine(one: Mount, there: Mapping[str, Any]) -> list[str]:
    if there["type"] != one.type:
        return [
            f"mounts: {one.path} is of type {there['type']} there, wanted {one.type}. An engine is never replaced, which would"
            " destroy what it holds: choose another path, or disable it by hand"
        ]
    version = int((there.get("options") or {}).get("version") or 1)
    if one.type == "kv" and version != one.version:
        return [
            f"mounts: {one.path} is kv of version {version} there, wanted {one.version}. Between versions there is no way back:"
            " change it by hand (`bao kv enable-versioning`), or declare the version that it has"
        ]
    return []


def _policy(name: str, text: str, there: str | None) -> Change | None:
    if there is not None and there.strip() == text.strip():
        return None
    return Change("policy", name, there, text, (Write("PUT", f"sys/policies/acl/{name}", {"policy": text}),))


def _mount(one: Mount, found: Observed) -> list[Change]:
    there = found.mounts.get(one.path)
    wanted = {**({"description": one.description} if one.description else {}), **one.tune}
    changes = []
    if there is None:
        options = {"options": {"version": str(one.version)}} if one.type == "kv" else {}
        body = {"type": one.type, "description": one.description, "config": _lease(one.tune), **options}
        shown = {"type": one.type, **options, **wanted}
        changes.append(Change("mount", one.path, None, shown, (Write("POST", f"sys/mounts/{one.path}", body),)))
    elif before := _tuned(wanted, there):
        body = {**_lease(one.tune), **({"description": one.description} if one.description else {})}
        changes.append(Change("mount", one.path, before, wanted, (Write("POST", f"sys/mounts/{one.path}/tune", body),)))
    settings = found.kv.get(one.path, {})
    if one.kv and any(not same(value, settings.get(name)) for name, value in one.kv.items()):
        before = {name: settings.get(name) for name in one.kv}
        write = Write("POST", f"{one.path}/config", one.kv)
        changes.append(Change("settings of", one.path, before, dict(one.kv), (write,)))
    return changes


def _method(one: AuthMethod, found: Observed) -> list[Change]:
    there = found.methods.get(one.path)
    described = str((there or {}).get("description") or "")
    said = one.description or _DIGEST.sub("", described)
    digest = _digest(one, found.cluster)
    description = f"{said} [settings {digest}]".strip() if digest else said
    configured = there is not None and (
        not one.config or _configured(one, found.configs.get(one.path), description == described)
    )
    changes = []
    wanted = {"description": said, **one.tune}
    shown_before = None
    writes: list[Write] = []
    if there is None:
        body = {"type": one.type, "description": said, "config": _lease(one.tune)}
        writes.append(Write("POST", f"sys/auth/{one.path}", body))
    else:
        shown_before = _tuned(wanted, {**there, "description": _DIGEST.sub("", described)})
        if shown_before:
            writes.append(Write("POST", f"sys/auth/{one.path}/tune", {**_lease(one.tune), "description": said}))
    if writes:
        changes.append(Change("auth method", one.path, shown_before, {"type": one.type, **wanted}, tuple(writes)))
    if one.config and not configured:
        changes.append(_config(one, found, said, description))
    elif shown_before and digest:
        # the description was written anew, without what it told of the settings
        changes[-1] = Change(
            "auth method",
            one.path,
            shown_before,
            wanted,
            (Write("POST", f"sys/auth/{one.path}/tune", {**_lease(one.tune), "description": description}),),
        )
    return [*changes, *_roles(one, found)]


def _configured(one: AuthMethod, there: Mapping[str, Any] | None, same_secrets: bool) -> bool:
    if there is None:
        return False
    hidden = _WRITE_ONLY.get(one.type, frozenset())
    if any(not same(value, there.get(name)) for name, value in one.config.items() if name not in hidden):
        return False
    # a configuration is replaced as a whole, so what is declared no more goes with the next write
    if any(there.get(name) for name in _CONFIG_SETTINGS.get(one.type, ()) if name not in one.config):
        return False
    if one.type == "kubernetes" and "token_reviewer_jwt_set" in there:
        has = bool(there["token_reviewer_jwt_set"])
        if has != bool(one.config.get("token_reviewer_jwt")):
            return False
    return same_secrets or not any(one.config.get(name) for name in hidden)


def _config(one: AuthMethod, found: Observed, said: str, description: str) -> Change:
    there = found.configs.get(one.path)
    hidden = _WRITE_ONLY.get(one.type, frozenset())
    secret = any(one.config.get(name) for name in hidden)
    tune = f"sys/auth/{one.path}/tune"
    writes = [Write("POST", f"auth/{one.path}/config", dict(one.config))]
    if secret:
        # Killed in the middle, the description claims nothing of settings that are not there.
        writes = [
            Write("POST", tune, {"description": said}),
            *writes,
            Write("POST", tune, {"description": description}),
        ]
    before = None
    if there is not None:
        names = {*one.config, *(_CONFIG_SETTINGS.get(one.type, frozenset()) & {name for name in there if there[name]})}
        before = {name: HIDDEN if name in hidden else there.get(name) for name in sorted(names)}
    after = {name: HIDDEN_OTHER if name in hidden else value for name, value in sorted(one.config.items())}
    return Change("configuration of", f"auth/{one.path}", before, after, tuple(writes))


def _roles(one: AuthMethod, found: Observed) -> list[Change]:
    changes = []
    for name, settings in one.roles.items():
        there = found.roles.get((one.path, name))
        body = dict(settings)
        if there is not None:
            stale = [key for key in sorted(_ROLE_SETTINGS[one.type]) if key not in settings and there.get(key)]
            body.update({key: emptied(there[key]) for key in stale})
            if all(same(value, there.get(key)) for key, value in body.items()):
                continue
        before = None if there is None else {key: there.get(key) for key in sorted(body)}
        after = {key: body[key] for key in sorted(body)}
        write = Write("POST", f"auth/{one.path}/role/{name}", body)
        changes.append(Change("role", f"auth/{one.path}/{name}", before, after, (write,)))
    return changes


def _audit(declared: Declaration, found: Observed) -> list[Change]:
    changes = []
    for one in declared.audit:
        if one.path not in found.audit:
            body = {"type": one.type, "description": one.description, "options": dict(one.options)}
            write = Write("PUT", f"sys/audit/{one.path}", body)
            changes.append(Change("audit device", one.path, None, body, (write,)))
    return changes


def _secret(one: Secret, found: Observed) -> Change | None:
    there, version = found.secrets.get(str(one), (None, 0))
    if there is not None and _canonical(there) == _canonical(one.data):
        return None
    # with the version that was looked at, so that what somebody else writes in between is not lost
    write = Write("POST", f"{one.mount}/data/{one.path}", {"data": dict(one.data), "options": {"cas": version}})
    before = None if there is None else dict.fromkeys(sorted(there), HIDDEN)
    after = {
        name: HIDDEN if there is None or there.get(name) == value else HIDDEN_OTHER
        for name, value in sorted(one.data.items())
    }
    return Change("secret", str(one), before, after, (write,))


def secret_texts(declared: Declaration) -> list[str]:
    """Return everything in a declaration that must be in no message."""
    found: list[str] = []
    for one in declared.secrets:
        found += _texts(one.data)
    for method in declared.auth_methods:
        hidden = _WRITE_ONLY.get(method.type, frozenset())
        found += _texts([value for name, value in method.config.items() if name in hidden])
    return found


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def _tuned(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a mount as they are where one of them differs, else nothing."""
    has = {**(there.get("config") or {}), "description": there.get("description") or ""}
    if all(same(value, has.get(name)) for name, value in wanted.items()):
        return {}
    return {name: has.get(name) for name in wanted}


def _lease(tune: Mapping[str, Any]) -> dict[str, str]:
    return {name: f"{int(seconds(value) or 0)}s" for name, value in tune.items()}


def _digest(one: AuthMethod, cluster: str) -> str:
    """Return what tells settings that the server never answers from others; "" where none is declared.

    It can be read by who may list the auth methods, so it is slow to make and differs from server to server.
    """
    hidden = _WRITE_ONLY.get(one.type, frozenset())
    secret = {name: value for name, value in one.config.items() if name in hidden and value}
    if not secret:
        return ""
    salt = f"stagecraft.gitops {cluster} auth/{one.path}".encode()
    made = hashlib.scrypt(_canonical(secret).encode(), salt=salt, n=1 << 14, r=8, p=1, dklen=16)
    return made.hex()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def words(changes: Iterable[Change]) -> list[dict[str, str]]:
    """Return changes for a result."""
    return [{"kind": one.kind, "target": one.target, "action": one.action} for one in changes]
