# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take from a kubeconfig file what is needed to log in to one API server."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import kubeconfig, kubeconfig_file, kubeconfig_text
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeconfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_UNSUPPORTED = {
    "exec": "a credential plugin (exec)",
    "auth-provider": "an auth-provider",
    "username": "a user name with a password",
}


@dataclass(frozen=True)
class Login:
    """Server, trust and identity. PEM texts are decoded; `where` is "context NAME of FILE" for messages.

    `certificate_authority` None trusts the controller's own CAs; `insecure` trusts anybody, as the admin wrote it.
    """

    server: str
    where: str
    certificate_authority: str | None = None
    client_certificate: str | None = field(default=None, repr=False)
    client_key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    tls_server_name: str | None = None
    insecure: bool = False


def read_login(path: Path, context: str | None = None) -> Login:
    """Read the login of `context` (None: the current one) from the kubeconfig at `path`. Raises KubeconfigError."""
    seen = kubeconfig_file.observe(path)
    if seen.text is None:
        raise KubeconfigError(
            f"{seen.path}: there is no kubeconfig. Set `kubeconfig` to one, or let the role "
            "stagecraft.gitops.kubeconfig write it."
        )
    data = kubeconfig_text.load(seen.text, str(seen.path)).data
    name = context or str(data.get("current-context") or "")
    where = f"context {name!r} of {seen.path}"
    body = _entry(data, "contexts", "context", name)
    if body is None:
        known = ", ".join(sorted(str(entry["name"]) for entry in data.get("contexts") or [])) or "none"
        raise KubeconfigError(
            f"{seen.path}: wanted the {'context ' + repr(name) if name else 'current context'}, but the file has "
            f"{known}. Set `context`, or let the role stagecraft.gitops.kubeconfig add it."
        )
    cluster = _entry(data, "clusters", "cluster", body.get("cluster"))
    user = _entry(data, "users", "user", body.get("user"))
    missing = [kind for kind, found in (("cluster", cluster), ("user", user)) if found is None]
    if cluster is None or user is None:
        raise KubeconfigError(
            f"{where}: its {' and '.join(f'{kind} {body.get(kind)!r}' for kind in missing)} is not in the file. The "
            "role stagecraft.gitops.kubeconfig repairs the entry."
        )
    return _login(cluster, user, where, seen.path.parent)


def _login(cluster: Mapping[str, Any], user: Mapping[str, Any], where: str, directory: Path) -> Login:
    unsupported = [what for key, what in _UNSUPPORTED.items() if user.get(key)]
    if unsupported:
        raise KubeconfigError(
            f"{where} logs in by {unsupported[0]}, which cannot be used here. Use a context with a client certificate "
            "or a token, such as the role stagecraft.gitops.kubeconfig writes."
        )
    if cluster.get("proxy-url"):
        raise KubeconfigError(
            f"{where} asks for a proxy, which cannot be used here; stagecraft_api_access: ssh may do."
        )
    server = str(cluster.get("server") or "")
    try:
        kubeconfig.check_server(server)
        token = user.get("token")
        if not token and user.get("tokenFile"):
            token = _file(directory, str(user["tokenFile"])).strip()
        return Login(
            server=server.rstrip("/"),
            where=where,
            certificate_authority=_pem(cluster, "certificate-authority", directory),
            client_certificate=_pem(user, "client-certificate", directory),
            client_key=_pem(user, "client-key", directory),
            token=str(token) if token else None,
            tls_server_name=str(cluster["tls-server-name"]) if cluster.get("tls-server-name") else None,
            insecure=cluster.get("insecure-skip-tls-verify") is True,
        )
    except KubeconfigError as error:
        raise KubeconfigError(f"{where}: {error}") from error


def tls_context(login: Login) -> ssl.SSLContext:
    """Return the TLS settings of `login`. Raises KubeconfigError when its certificates or key cannot be used."""
    try:
        context = ssl.create_default_context(cadata=login.certificate_authority)
        # Kubernetes' own certificates are not all what RFC 5280 asks of a public CA (missing key identifiers).
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if login.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if login.client_certificate and login.client_key:
            with _nameless(f"{login.client_certificate.rstrip()}\n{login.client_key.rstrip()}\n") as pair:
                context.load_cert_chain(pair)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise KubeconfigError(
            f"{login.where}: its certificates or key cannot be used: {getattr(error, 'reason', None) or error}."
            " The role stagecraft.gitops.kubeconfig writes the entry anew."
        ) from error
    return context


@contextmanager
def _nameless(content: str) -> Iterator[str]:
    """Yield a path to `content`, for Python reads keys from files alone: in memory, so that nothing is left of it where we are killed.

    Where the system has no such files, it is one that only we can read, for as long as that takes.
    """
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("login"), "w", encoding="ascii") as stream:
            stream.write(content)
            stream.flush()
            yield f"/proc/self/fd/{stream.fileno()}"
        return
    with tempfile.NamedTemporaryFile("w", encoding="ascii") as stream:
        stream.write(content)
        stream.flush()
        yield stream.name


def _entry(data: Mapping[str, Any], section: str, kind: str, name: Any) -> dict[str, Any] | None:
    for entry in data.get(section) or []:
        body = entry.get(kind)
        if entry["name"] == name:
            return body if isinstance(body, dict) else {}
    return None


def _pem(body: Mapping[str, Any], key: str, directory: Path) -> str | None:
    """Return the PEM text embedded as `key`-data, or else that of the file `key` (relative to `directory`)."""
    embedded = body.get(f"{key}-data")
    if embedded:
        try:
            return base64.b64decode(str(embedded), validate=True).decode("ascii")
        except (binascii.Error, ValueError) as error:
            raise KubeconfigError(
                f"{key}-data is not base64 of PEM. The role stagecraft.gitops.kubeconfig repairs the entry."
            ) from error
    return _file(directory, str(body[key])) if body.get(key) else None


def _file(directory: Path, name: str) -> str:
    try:
        return (directory / name).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise KubeconfigError(f"the file {directory / name} that it names cannot be read: {error}.") from error
