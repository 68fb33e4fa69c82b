# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The few requests that a server answers without a token, by hvac. OpenBao and HashiCorp Vault answer them alike."""

from __future__ import annotations

import ipaddress
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

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


class Server:
    """One server at `url`; `ca_file` has the certificate of its authority ("" for the system's)."""

    def __init__(self, url: str, ca_file: str = "", timeout: float = 30.0) -> None:
        _check_url(url)
        self.url = url
        # an empty token, or one of the environment would be sent along
        self._client = hvac.Client(
            url=url,
            token="",
            session=_session(ca_file),
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
