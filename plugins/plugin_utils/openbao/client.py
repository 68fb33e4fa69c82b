# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to a server: the few that it answers without a token by hvac, all others by their paths.

OpenBao and HashiCorp Vault answer them alike.
"""

from __future__ import annotations

import ipaddress
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import missing
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError

try:
    import hvac
    import requests
except ImportError as error:
    hvac = requests = missing("hvac", error)

T = TypeVar("T")
_PAUSE = 0.2


@dataclass(frozen=True)
class Status:
    """What a server says of itself. `seal` is "shamir", or what it unseals itself by, such as "static" or "transit".

    `progress` keys out of `threshold` were sent in an attempt to unseal it that is still open. `cluster` is "" as long as
    it is sealed.
    """

    initialized: bool
    sealed: bool
    seal: str
    shares: int
    threshold: int
    progress: int
    version: str
    cluster: str

    @property
    def unseals_itself(self) -> bool:
        """Say whether no key has to be sent to it."""
        return self.seal != "shamir"


@dataclass(frozen=True)
class Answer:
    """What initialisation answers, once. Both are in no representation."""

    keys: tuple[str, ...] = field(repr=False)
    root_token: str = field(repr=False)


@dataclass(frozen=True)
class Reply:
    """What a server answered to one request: the HTTP status, and its JSON (empty where there was none).

    It may hold secrets, so it is in no representation.
    """

    status: int
    body: dict[str, Any] = field(repr=False)

    @property
    def data(self) -> dict[str, Any]:
        """What was asked for; empty where there is none."""
        found = self.body.get("data")
        return found if isinstance(found, dict) else {}

    @property
    def errors(self) -> str:
        """What the server says is wrong."""
        return "; ".join(" ".join(str(one).split()) for one in self.body.get("errors") or ())


class Server:
    """One server at `url`; `ca_file` has the certificate of its authority ("" for the system's)."""

    def __init__(self, url: str, ca_file: str = "", timeout: float = 30.0) -> None:
        _check_url(url)
        self.url = url
        self._session = _session(ca_file)
        self._options: dict[str, Any] = {"verify": ca_file or True, "timeout": timeout, "allow_redirects": False}
        # an empty token, or one of the environment would be sent along
        self._client = hvac.Client(
            url=url,
            token="",
            session=self._session,
            verify=ca_file or True,
            timeout=timeout,
        )

    def status(self) -> Status:
        """Return what the server says of itself. Raises OpenBaoError."""
        found = self._ask("read its status", self._client.sys.read_seal_status)
        return Status(
            bool(found["initialized"]),
            bool(found["sealed"]),
            str(found["type"]),
            int(found["n"]),
            int(found["t"]),
            int(found["progress"]),
            str(found.get("version") or ""),
            str(found.get("cluster_id") or ""),
        )

    def initialize(self, shares: int, threshold: int, *, recovery: bool) -> Answer:
        """Initialise the server. The answer is given once and never again. Raises OpenBaoError."""
        kind = "recovery" if recovery else "secret"
        numbers = {f"{kind}_shares": shares, f"{kind}_threshold": threshold}
        found = self._ask("initialise it", lambda: self._client.sys.initialize(**numbers))
        keys = found.get("recovery_keys_base64" if recovery else "keys_base64") or ()
        return Answer(tuple(str(key) for key in keys), str(found["root_token"]))

    def reset_unseal(self) -> None:
        """Forget the keys that somebody sent and did not go on with. Raises OpenBaoError."""
        self._ask("start unsealing anew", lambda: self._client.sys.submit_unseal_key(reset=True))

    def send_key(self, key: str) -> bool:
        """Send one key; return whether the server is unsealed now. A wrong one is refused with the last. Raises OpenBaoError."""
        found = self._ask("unseal it", lambda: self._client.sys.submit_unseal_key(key=key))
        return not found["sealed"]

    def wait_until_active(self, seconds: float) -> None:
        """Wait until it serves requests. Raises OpenBaoError."""
        deadline = time.monotonic() + seconds
        while True:
            answer = self._ask("read its health", lambda: self._client.sys.read_health_status(method="GET"))
            # hvac returns what it says as a mapping when it is active, and the whole answer when it is not
            if isinstance(answer, dict):
                return
            if time.monotonic() > deadline:
                raise OpenBaoError(
                    f"{self.url}: wanted it to serve requests, found HTTP status {answer.status_code} after {seconds:g} s"
                    " (429: standby, 501: not initialised, 503: sealed). Look at its log"
                )
            time.sleep(_PAUSE)

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None, token: str = "") -> Reply:
        """Send one request to `path` below ``/v1/``; return the answer, a refusal too. Raises OpenBaoError: none came."""
        answer = self._ask(f"{method} {path}", lambda: self._send(method, path, token, json=body))
        try:
            found = answer.json() if answer.content else {}
        except ValueError:
            found = {}
        return Reply(answer.status_code, found if isinstance(found, dict) else {})

    def download(self, path: str, token: str) -> tuple[int, bytes]:
        """Return the HTTP status of an answer that is no JSON, and its bytes. Raises OpenBaoError: none came."""
        answer = self._ask(f"GET {path}", lambda: self._send("GET", path, token))
        return answer.status_code, bytes(answer.content)

    def upload(self, path: str, data: bytes, token: str) -> Reply:
        """Send bytes that are no JSON. Raises OpenBaoError: no answer came."""
        answer = self._ask(f"POST {path}", lambda: self._send("POST", path, token, data=data))
        try:
            return Reply(answer.status_code, answer.json() if answer.content else {})
        except ValueError:
            return Reply(answer.status_code, {})

    def _send(self, method: str, path: str, token: str, **content: Any) -> requests.Response:
        headers = {"X-Vault-Request": "true", **({"X-Vault-Token": token} if token else {})}
        return self._session.request(
            method, f"{self.url.rstrip('/')}/v1/{quote(path)}", headers=headers, **content, **self._options
        )

    def _ask(self, what: str, do: Callable[[], T]) -> T:
        try:
            return do()
        except requests.exceptions.SSLError as error:
            raise OpenBaoError(
                f"{self.url}: wanted to {what}, and its certificate is not trusted: {_root(error)}. Name the certificate of"
                " its authority (ca_file)"
            ) from None
        except requests.exceptions.RequestException as error:
            raise OpenBaoError(
                f"{self.url}: wanted to {what}, and no answer came: {_root(error)}. Does it run?"
            ) from None
        except hvac.exceptions.VaultError as error:
            said = "; ".join(str(one) for one in (getattr(error, "errors", None) or [error]))
            raise OpenBaoError(f"{self.url}: wanted to {what}, and it refuses: {said}") from None


def _session(ca_file: str) -> requests.Session:
    """Return a session that takes certificates of a private authority which lack what Python 3.13 asks for."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise OpenBaoError(f"ca_file: {ca_file} cannot be read as certificates: {error}") from None
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT

    class Adapter(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options, ssl_context=context)

    session = requests.Session()
    session.mount("https://", Adapter())
    # a token in the environment or a netrc file is none of ours
    session.trust_env = False
    return session


def _check_url(url: str) -> None:
    """Refuse an address over which keys would be sent in clear."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if parts.scheme not in ("http", "https") or not host:
        raise OpenBaoError(f"{url!r} is no address of a server: write https://HOST:8200")
    if parts.scheme == "http" and not loopback:
        raise OpenBaoError(f"{url}: keys would be sent in clear. Give the server a certificate and write https://")


def _root(error: BaseException) -> str:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return " ".join(str(error).split())[:300]
