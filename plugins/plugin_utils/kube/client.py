# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection to one API server: JSON in, JSON out, directly or through SSH.

The transport is urllib3 alone. The `kubernetes` package does no more for requests by path, costs a quarter of a second
more to import in every run, and has no way in for a connection that somebody else opened.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlencode, urlsplit

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import missing
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import channel
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.credentials import Login, read_login, tls_context
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError, KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh import connection as ssh_connection
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import SshError

try:
    import urllib3
except ImportError as error:
    urllib3 = missing("urllib3", error)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    import paramiko

_NAME_MISMATCH = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_BODY_LIMIT = 2000
_CHUNK = 65536


@dataclass(frozen=True)
class ApiAccess:
    """Where an API server is and how to get there.

    `context` None takes the file's current context. With `access` "ssh" the server's port is opened on the far end of
    an SSH connection to `ssh`, a control plane. `timeout` is in seconds, for one connection and for one answer.
    """

    kubeconfig: Path
    context: str | None = None
    access: Literal["direct", "ssh"] = "direct"
    ssh: ssh_connection.SshTarget | None = None
    timeout: float = 10.0


class Watch:
    """Changes as they come: iterate over it for (type, object). `stop` ends it from another thread."""

    def __init__(self, response: urllib3.BaseHTTPResponse, explain: Callable[[Exception], ApiError]) -> None:
        self._response = response
        self._explain = explain

    def stop(self) -> None:
        """Let whoever iterates see the end."""
        with contextlib.suppress(OSError, ValueError, RuntimeError, AttributeError):
            self._response.shutdown()

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield changes until the server ends the watch. Raises ApiError."""
        rest = b""
        try:
            for chunk in self._response.stream(_CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield _event(json.loads(line))
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
            raise self._explain(error) from error


def _event(event: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    found = event.get("object") or {}
    if event.get("type") == "ERROR":
        raise ApiError(f"the watch ended: {found.get('message')}", found.get("code"), str(found.get("reason") or ""))
    return str(event["type"]), found


class ApiClient:
    """A connection that stays open between requests. Made by `connect`; use it in a `with` statement."""

    def __init__(self, login: Login, timeout: float, ssh: paramiko.SSHClient | None = None) -> None:
        self.login = login
        self._ssh = ssh
        self._timeout = timeout
        self._host = urlsplit(login.server).hostname or ""
        self._port = urlsplit(login.server).port or 443
        self._base = urlsplit(login.server).path.rstrip("/")
        self._headers = {"Accept": "application/json", "User-Agent": "stagecraft.gitops"}
        if login.token:
            self._headers["Authorization"] = f"Bearer {login.token}"
        self._pool = urllib3.HTTPSConnectionPool(
            self._host,
            self._port,
            ssl_context=tls_context(login),
            server_hostname=login.tls_server_name,
            timeout=urllib3.Timeout(connect=timeout, read=timeout),
            retries=False,
            maxsize=4,
        )
        self._pool.ConnectionCls = _connection_class(None if ssh is None else self._dial)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection, the one to the SSH host included."""
        self._pool.close()
        if self._ssh is not None:
            self._ssh.close()

    def get(self, path: str, **query: str | int) -> Any:
        """GET `path` and return the answer's JSON. ApiError for any other answer than a success."""
        return self.request("GET", path, query=query)

    def items(self, path: str, **query: str | int) -> list[dict[str, Any]]:
        """Return all objects of the list at `path`, however many pages the server makes of it."""
        found: list[dict[str, Any]] = []
        token = ""
        while True:
            more = {"continue": token} if token else {}
            page = self.get(path, limit=500, **query, **more)
            found += page.get("items") or []
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token:
                return found

    def text(self, path: str) -> str:
        """GET `path` and return the answer as text, for the endpoints that do not speak JSON (/readyz)."""
        return self._send("GET", path, None, "*/*").data.decode("utf-8", "replace")

    @contextlib.contextmanager
    def watch(self, path: str, resource_version: str, seconds: int, **query: str | int) -> Iterator[Watch]:
        """Follow the changes of the list at `path` from `resource_version` on, for so many seconds.

        Raises ApiError: `status` 410 when the version is too old to go on from.
        """
        options = {"watch": "1", "allowWatchBookmarks": "1", "timeoutSeconds": seconds}
        target = f"{path}?{urlencode({**query, **options, 'resourceVersion': resource_version})}"
        timeout = urllib3.Timeout(connect=self._timeout, read=seconds + self._timeout)
        response = self._send("GET", target, None, "application/json", timeout=timeout, preload_content=False)
        try:
            yield Watch(response, lambda error: self._unanswered(f"GET {self.login.server}{path}", error))
        finally:
            response.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        """Send one request and return the answer's JSON (None for an empty one).

        Raises ApiError: `status` None when no answer came, else the HTTP status with what the server said.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        data = None if body is None else json.dumps(body).encode()
        response = self._send(method, target, data, "application/json", content_type)
        try:
            return json.loads(response.data) if response.data else None
        except ValueError as error:
            raise ApiError(
                f"{method} {self.login.server}{path}: wanted JSON, found {response.data[:80]!r}. Is it an API server?",
                response.status,
            ) from error

    def _send(
        self,
        method: str,
        target: str,
        body: bytes | None,
        accept: str,
        content_type: str | None = None,
        **options: Any,
    ) -> urllib3.BaseHTTPResponse:
        what = f"{method} {self.login.server}{target.partition('?')[0]}"
        headers = self._headers | {"Accept": accept}
        if body is not None and content_type:
            headers["Content-Type"] = content_type
        try:
            response = self._pool.request(
                method, self._base + target, body=body, headers=headers, redirect=False, **options
            )
        except (urllib3.exceptions.HTTPError, OSError, KubeError, SshError) as error:
            raise self._unanswered(what, error) from error
        if not 200 <= response.status < 300:
            raise self._refused(what, response)
        return response

    def _dial(self) -> socket.socket:
        """Open a connection to the API server, from the SSH host where there is one."""
        if self._ssh is None:
            return socket.create_connection((self._host, self._port), self._timeout)
        return channel.as_socket(ssh_connection.open_channel(self._ssh, "127.0.0.1", self._port, self._timeout))

    def _unanswered(self, what: str, error: Exception) -> ApiError:
        root = _root(error)
        if isinstance(root, ssl.SSLCertVerificationError):
            return ApiError(f"{what}: {self._certificate_problem(root)}")
        if isinstance(root, SshError):
            return ApiError(f"{what} over SSH: {root}")
        if isinstance(root, ssl.SSLError):
            return ApiError(
                f"{what}: no TLS session came about: {root.reason or root}. Is {self._host}:{self._port} the API "
                "server's port, and is the client certificate still valid? The kubeconfig role renews the entry."
            )
        if isinstance(error, urllib3.exceptions.ReadTimeoutError):
            return ApiError(
                f"{what}: connected, but no answer within {self._timeout:g} s. Look at the API server's log and load."
            )
        reason = "nothing within the timeout" if isinstance(root, TimeoutError) else str(root) or type(root).__name__
        advice = (
            "Check that the control plane is up"
            if self._ssh is not None
            else "Check the address in the kubeconfig, that the control plane is up, and the firewalls between; "
            "where the port is closed on purpose, set stagecraft_api_access: ssh"
        )
        return ApiError(f"{what}: no API server answers at {self._host}:{self._port}: {reason}. {advice}.")

    def _certificate_problem(self, error: ssl.SSLCertVerificationError) -> str:
        wanted = self.login.tls_server_name or self._host
        if error.verify_code in _NAME_MISMATCH:
            names = self._certificate_names()
            return (
                f"the server's certificate is not for {wanted!r}; it is for {', '.join(names) or 'no name'}. Add "
                "the name to kubeadm_certificate_sans, or set tls_server_name to one of these."
            )
        return (
            f"the server's certificate is not trusted: {error.verify_message}. Its CA is not the one in "
            f"{self.login.where}: the cluster was made anew (run the kubeconfig role again), or another "
            "server answers at this address."
        )

    def _certificate_names(self) -> list[str]:
        """Ask once more, without the check of the name but with that of the CA, what the certificate is for."""
        context = tls_context(self.login)
        context.check_hostname = False
        names: list[str] = []
        with contextlib.suppress(OSError, SshError):
            plain = (
                self._dial()
                if self._ssh is not None
                else socket.create_connection((self._host, self._port), self._timeout)
            )
            with plain, context.wrap_socket(plain, server_hostname=self._host) as tls:
                certificate = tls.getpeercert() or {}
                alternatives: Any = certificate.get("subjectAltName", ())
                names = [str(name) for _kind, name in alternatives]
        return names

    def _refused(self, what: str, response: urllib3.BaseHTTPResponse) -> ApiError:
        said = response.data.decode("utf-8", "replace")
        status: Any = None
        with contextlib.suppress(ValueError):
            status = json.loads(said)
        status = status if isinstance(status, dict) else {}
        said = str(status.get("message") or said)
        said = said.strip()[:_BODY_LIMIT] or "(empty answer)"
        if self.login.token:
            said = said.replace(self.login.token, "(token)")
        advice = {
            401: f" The credentials of {self.login.where} are not, or no longer, valid: run the kubeconfig role again.",
            403: f" The user of {self.login.where} may not do this: use the admin's credentials, or grant it.",
        }.get(response.status, "")
        return ApiError(
            f"{what}: {response.status} {response.reason or ''}".rstrip() + f": {said}.{advice}",
            response.status,
            str(status.get("reason") or ""),
            (status.get("details") or {}).get("causes") or (),
        )


def connect(access: ApiAccess) -> ApiClient:
    """Read the credentials and open the way; the API server itself is contacted by the first request.

    Raises KubeconfigError for the file, and ApiError when the SSH host cannot be reached.
    """
    login = read_login(access.kubeconfig, access.context)
    if access.access == "direct":
        return ApiClient(login, access.timeout)
    if access.ssh is None:
        raise KubeError(
            "api_access is ssh, but there is no host to go through: put a control plane into the group control_plane, "
            "or set ssh_host."
        )
    try:
        return ApiClient(login, access.timeout, ssh_connection.connect(access.ssh))
    except SshError as error:
        raise ApiError(f"{login.server} over SSH: {error}") from error


def _connection_class(dial: Callable[[], socket.socket] | None) -> type[urllib3.connection.HTTPSConnection]:
    class Connection(urllib3.connection.HTTPSConnection):
        """Sends a request's head and body by one write; urllib3 makes two TLS records and two packets of them.

        ``dial`` opens the connection where it is not to go straight to the server.
        """

        _body = b""

        def _new_conn(self) -> socket.socket:
            return dial() if dial is not None else super()._new_conn()

        def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
            self._body = body or b""
            length = {} if body is None else {"Content-Length": str(len(body))}
            super().request(method, url, None, {**(headers or {}), **length}, **options)

        def send(self, data: Any) -> None:
            data, self._body = data + self._body, b""
            super().send(data)

    return Connection


def _root(error: BaseException) -> BaseException:
    """Return the error at the bottom: what the socket, TLS or SSH said."""
    while True:
        inner = getattr(error, "reason", None)
        below = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
        if below is None or isinstance(error, (ssl.SSLError, SshError, KubeError)):
            return error
        error = below
