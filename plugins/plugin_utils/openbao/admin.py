# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the collection itself logs in: by the root token until the server is configured, then by a role of its own.

The role may do everything, for who may write policies could give himself anything. But its tokens live for minutes and are
revoked at the end of a run, and its one credential stands in the escrow alone. Then the root token is revoked, and goes
out of the escrow. Order: role, credential, escrow, login, other credentials, root token, escrow; killed between any two,
the next run goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import escrow as escrows
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.api import Api
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Server
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.declaration import OWN, AuthMethod, Declaration
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.escrow import Escrow

Step = Literal["credential", "remove_other_credentials", "revoke_root_token"]

ROLE = "ansible"
_ROLE_PATH = f"auth/{OWN}/role/{ROLE}"
_POLICY = 'path "*" {\n  capabilities = ["create", "read", "update", "patch", "delete", "list", "sudo"]\n}\n'


@dataclass(frozen=True)
class Entry:
    """How one got in: with the root token or by the collection's own role."""

    api: Api
    by: Literal["root", "role"]


def declared() -> Declaration:
    """Return what the collection itself needs on a server."""
    settings: dict[str, Any] = {
        "bind_secret_id": True,
        "token_policies": [OWN],
        "token_no_default_policy": False,
        "token_ttl": "20m",
        "token_max_ttl": "1h",
    }
    method = AuthMethod(OWN, "approle", "login of the Ansible collection stagecraft.gitops", {}, {}, {ROLE: settings})
    return Declaration(auth_methods=[method], policies={OWN: _POLICY})


def enter(server: Server, kept: Escrow) -> Entry:
    """Log in with what the escrow has. Raises OpenBaoError."""
    secrets = (kept.root_token, kept.secret_id, *kept.keys)
    if kept.secret_id:
        token = _login(server, kept)
        if token:
            return Entry(Api(server, token, own=True, secrets=secrets), "role")
    if _valid(server, kept.root_token):
        return Entry(Api(server, kept.root_token, secrets=secrets), "root")
    raise OpenBaoError(
        f"{server.url}: neither the credential of the role {OWN} in the escrow is taken nor the root token there"
        f" ({'revoked' if kept.root_token else 'removed after it was revoked'}). Is it the escrow of this server, which was"
        f" written for {kept.url}? With a token from elsewhere, use token_file"
    )


def plan(api: Api, kept: Escrow, by: Literal["root", "role"]) -> list[Step]:
    """Say what is to be done so that the root token is not needed any more. Raises OpenBaoError."""
    steps: list[Step] = []
    if by == "root":
        steps.append("credential")
    elif len(_accessors(api)) > 1:
        steps.append("remove_other_credentials")
    if kept.root_token:
        steps.append("revoke_root_token")
    return steps


def apply(
    server: Server,
    api: Api,
    kept: Escrow,
    steps: Sequence[Step],
    path: Path,
    recipients: Sequence[str],
    identities: Sequence[Any],
) -> None:
    """Carry the steps out; the collection's role is there. Raises AgeError, OpenBaoError."""
    if "credential" in steps:
        kept = _make_credential(api, kept)
        escrows.write(path, kept, recipients, identities)
    if "credential" in steps or "remove_other_credentials" in steps:
        token = _login(server, kept)
        if not token:
            raise OpenBaoError(f"{server.url}: wanted to log in as the role {OWN} that was just made, and it refuses")
        with Api(server, token, own=True, secrets=(kept.secret_id,)) as mine:
            _remove_others(mine, kept)
    if "revoke_root_token" in steps:
        if _valid(server, kept.root_token):
            root = Api(server, kept.root_token)
            root.write("POST", "auth/token/revoke-self", {}, "revoke the root token")
        escrows.write(path, replace(kept, root_token=""), recipients, identities)


def _make_credential(api: Api, kept: Escrow) -> Escrow:
    role_id = (api.get(f"{_ROLE_PATH}/role-id") or {})["role_id"]
    made = api.write("POST", f"{_ROLE_PATH}/secret-id", {}, f"make a credential of the role {OWN}").data
    return replace(kept, role_id=str(role_id), secret_id=str(made["secret_id"]))


def _remove_others(api: Api, kept: Escrow) -> None:
    mine = api.write(
        "POST", f"{_ROLE_PATH}/secret-id/lookup", {"secret_id": kept.secret_id}, "look at the credential"
    ).data["secret_id_accessor"]
    for accessor in _accessors(api):
        if accessor != mine:
            api.write(
                "POST",
                f"{_ROLE_PATH}/secret-id-accessor/destroy",
                {"secret_id_accessor": accessor},
                "remove a credential that nobody has",
            )


def _accessors(api: Api) -> list[str]:
    return api.keys(f"{_ROLE_PATH}/secret-id")


def _login(server: Server, kept: Escrow) -> str:
    body: Mapping[str, str] = {"role_id": kept.role_id, "secret_id": kept.secret_id}
    reply = server.send("POST", f"auth/{OWN}/login", body)
    if reply.status >= 500:
        raise OpenBaoError(f"{server.url}: wanted to log in, and it cannot ({reply.status}): {reply.errors}")
    return str((reply.body.get("auth") or {}).get("client_token") or "")


def _valid(server: Server, token: str) -> bool:
    return bool(token) and server.send("GET", "auth/token/lookup-self", token=token).status == 200
