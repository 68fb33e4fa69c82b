# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests with a token: an answer, or an error that says what was wanted, and none that shows a secret."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Reply, Server
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError

_PAUSE = 0.2
# What a KV engine says in the moments after it was mounted.
_NOT_YET = "Upgrading from non-versioned to versioned data"


class Api:
    """A server, and a token to ask it with. As a context, the token is revoked at the end where it is `own`."""

    def __init__(self, server: Server, token: str, *, own: bool = False, secrets: Iterable[str] = ()) -> None:
        self.server, self.token = server, token
        self._own = own
        self._secrets = [secret for secret in (token, *secrets) if len(secret) > 3]

    def __enter__(self) -> Api:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # of a process that is being killed no more requests are to be expected
        if self._own and (error is None or isinstance(error, Exception)):
            self.server.send("POST", "auth/token/revoke-self", token=self.token)

    def hide(self, secrets: Iterable[str]) -> None:
        """Keep these out of messages from now on."""
        self._secrets += [secret for secret in secrets if len(secret) > 3]

    def get(self, path: str) -> dict[str, Any] | None:
        """Return what stands at `path`; None where there is nothing. Raises OpenBaoError."""
        reply = self.server.send("GET", path, token=self.token)
        if reply.status == 404:
            return None
        return self._checked(reply, f"read {path}").data

    def keys(self, path: str) -> list[str]:
        """List the names below `path`. Raises OpenBaoError."""
        reply = self.server.send("LIST", path, token=self.token)
        if reply.status == 404:
            return []
        return [str(name) for name in self._checked(reply, f"list {path}").data.get("keys") or ()]

    def write(self, method: str, path: str, body: Mapping[str, Any], what: str, seconds: float = 10.0) -> Reply:
        """Send a request that changes something. Raises OpenBaoError.

        What a KV engine refuses because it is just being set up is sent again for `seconds`.
        """
        deadline = time.monotonic() + seconds
        while True:
            reply = self.server.send(method, path, body, self.token)
            if reply.status < 400 or _NOT_YET not in reply.errors or time.monotonic() > deadline:
                return self._checked(reply, what)
            time.sleep(_PAUSE)

    def _checked(self, reply: Reply, what: str) -> Reply:
        if reply.status < 400:
            return reply
        said = reply.errors or "(no reason given)"
        for secret in self._secrets:
            said = said.replace(secret, "(hidden)")
        raise OpenBaoError(
            f"{self.server.url}: wanted to {what}, and it refuses ({reply.status}): {said}{_advice(reply)}"
        )


def _advice(reply: Reply) -> str:
    if reply.status == 403:
        return ". The token may not do this, or is not valid any more"
    if "check-and-set" in reply.errors:
        return ". Somebody else wrote it in between: look at what stands there, and run this again"
    if "audit device via API" in reply.errors:
        return (
            ". OpenBao takes audit devices from its configuration file; the role openbao writes them there"
            " (openbao_audit)"
        )
    return ""
