# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the merge of one cluster's admin credentials into a kubeconfig text, and its removal.

Pure: text in, text out. Only the entries called NAME (cluster, context) and NAME-admin (user) are ever written, and of
these only the fields that carry the connection: a namespace, a proxy or an extension that the admin added stays.
The rest of the text is kept byte for byte, comments included.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import kubeconfig_text
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeconfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Fields of each entry that decide where to connect and as whom; the first tuple is written, the second must not be
#: there beside it, because kubectl would prefer it or refuse the pair.
_CLUSTER_FIELDS = ("server", "certificate-authority-data", "tls-server-name")
_CLUSTER_FOREIGN = ("certificate-authority", "insecure-skip-tls-verify")
_USER_FIELDS = ("client-certificate-data", "client-key-data", "token")
_USER_FOREIGN = ("client-certificate", "client-key", "tokenFile", "username", "password", "exec", "auth-provider")
_CONTEXT_FIELDS = ("cluster", "user")

#: Shown in a diff as it is; all other values of a user entry are secret.
_PUBLIC_DIGEST = ("certificate-authority-data", "client-certificate-data")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._@-]{0,251}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Credentials:
    """How to reach one API server as its admin. `*_data` are base64 of PEM, as a kubeconfig holds them."""

    server: str
    certificate_authority_data: str
    client_certificate_data: str | None = field(default=None, repr=False)
    client_key_data: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    tls_server_name: str | None = None


@dataclass(frozen=True)
class Change:
    """One difference: `kind` is cluster, user, context, current-context or mode; `action` add, update or remove."""

    kind: str
    name: str
    action: str

    def as_dict(self) -> dict[str, str]:
        """Return the change as a plain dictionary for a task result."""
        return {"kind": self.kind, "name": self.name, "action": self.action}


@dataclass(frozen=True)
class Plan:
    """What to do with the file: `text` is its new content, or None where nothing would be left in it.

    `before` and `after` hold our own entries as a diff may show them: secrets replaced by a remark.
    """

    text: str | None = field(repr=False)
    changes: tuple[Change, ...]
    before: str
    after: str
    current_context: str
    dangling: tuple[str, ...] = ()


def user_name(name: str) -> str:
    """Return the name of the user entry that belongs to cluster `name`."""
    return f"{name}-admin"


def check_name(name: str) -> None:
    """Raise KubeconfigError when `name` cannot be a cluster and context name."""
    if not _NAME.fullmatch(name):
        raise KubeconfigError(
            f"the name {name!r} cannot be used for a cluster and context: wanted letters, digits, '.', '_', '@' or "
            "'-', beginning and ending with a letter or digit. Set `name`, for example to the environment's name."
        )


def check_server(server: str) -> None:
    """Raise KubeconfigError when `server` is not an https URL of an API server."""
    try:
        parts = urlsplit(server)
        port_ok = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        port_ok = False
        parts = urlsplit("")
    if not port_ok or parts.scheme != "https" or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise KubeconfigError(
            f"the server address {server!r} cannot be used: wanted https://HOST:PORT, for example https://192.0.2.10:6443."
        )


def read_source(text: str, where: str, server: str | None = None, tls_server_name: str | None = None) -> Credentials:
    """Take the credentials of the current (or only) context out of an admin kubeconfig.

    `where` names the text's origin in messages; `server` and `tls_server_name` replace what it says.
    Raises KubeconfigError when anything is missing or is not what a kubeconfig embeds.
    """
    data = kubeconfig_text.load(text, where).data
    contexts = {entry["name"]: entry.get("context") or {} for entry in data.get("contexts") or []}
    wanted = data.get("current-context") or (next(iter(contexts)) if len(contexts) == 1 else "")
    if wanted not in contexts:
        raise KubeconfigError(
            f"{where}: no usable context: current-context is {wanted!r}, contexts are {sorted(contexts) or 'none'}. "
            "Take the file that the installer wrote, for kubeadm /etc/kubernetes/admin.conf."
        )
    context = contexts[wanted]
    cluster = _named(data, "clusters", "cluster", context.get("cluster"), where)
    user = _named(data, "users", "user", context.get("user"), where)

    problems: list[str] = []
    authority = _pem(cluster, "certificate-authority-data", "CERTIFICATE", problems)
    certificate = _pem(user, "client-certificate-data", "CERTIFICATE", problems, required="token" not in user)
    key = _pem(user, "client-key-data", "PRIVATE KEY", problems, required="token" not in user)
    address = server or str(cluster.get("server") or "")
    if not address:
        problems.append("cluster.server is missing")
    if problems:
        raise KubeconfigError(
            f"{where}: the credentials of context {wanted!r} are not complete: {'; '.join(problems)}. They must "
            "be embedded in the file (…-data), as kubeadm and K3s write them; a path means nothing elsewhere."
        )
    check_server(address)
    token = user.get("token")
    return Credentials(
        server=address,
        certificate_authority_data=authority or "",
        client_certificate_data=certificate,
        client_key_data=key,
        token=str(token) if token else None,
        tls_server_name=tls_server_name or cluster.get("tls-server-name"),
    )


def plan(text: str | None, where: str, name: str, credentials: Credentials | None, set_current: bool = False) -> Plan:
    """Plan the file's new content.

    `text` is what the file holds now (None: there is no file); `credentials` None asks for removal of everything that
    belongs to `name`. The current context is set when there is none or `set_current` asks for it, and is cleared on
    removal only if it was ours. Raises KubeconfigError for a damaged file.
    """
    check_name(name)
    old = kubeconfig_text.load(text if text is not None else "", where)
    wanted = _wanted(old.data, name, credentials)
    current = str(old.data.get("current-context") or "")
    new_current = current
    if credentials is None:
        new_current = "" if current == name else current
    elif set_current or not current:
        new_current = name

    changes: list[Change] = []
    new_text = old.text
    for section, kind, entry_name in _sections(name):
        have = [entry for entry in old.data.get(section) or [] if entry["name"] == entry_name]
        want = wanted[kind]
        if want is None:
            if have:
                changes.append(Change(kind, entry_name, "remove"))
                new_text = kubeconfig_text.remove(new_text, where, section, entry_name)
        elif have != [want]:
            changes.append(Change(kind, entry_name, "update" if have else "add"))
            new_text = kubeconfig_text.put(new_text, where, section, want)
    if new_current != current:
        changes.append(Change("current-context", new_current, "update" if new_current else "remove"))
        new_text = kubeconfig_text.put_current_context(new_text, where, new_current)

    new = kubeconfig_text.load(new_text, where) if changes else old
    _prove(old.data, new.data, name, wanted, current=new_current, where=where)
    left = None if credentials is None and not old.has_comments and _is_bare(new.data) else new_text
    return Plan(
        text=left if (text is not None or changes) else None,
        changes=tuple(changes),
        before=_show(old.data, old.data, name),
        after=_show(new.data, old.data, name),
        current_context=new_current,
        dangling=_dangling(new.data, name) if credentials is None and changes else (),
    )


def _sections(name: str) -> tuple[tuple[str, str, str], ...]:
    return (("clusters", "cluster", name), ("users", "user", user_name(name)), ("contexts", "context", name))


def _wanted(data: Mapping[str, Any], name: str, credentials: Credentials | None) -> dict[str, dict[str, Any] | None]:
    """Return the wanted entry of each kind, with what the admin added to it; None where there must be none."""
    if credentials is None:
        return {"cluster": None, "user": None, "context": None}
    values: dict[str, dict[str, str | None]] = {
        "cluster": {
            "server": credentials.server,
            "certificate-authority-data": credentials.certificate_authority_data,
            "tls-server-name": credentials.tls_server_name,
        },
        "user": {
            "client-certificate-data": credentials.client_certificate_data,
            "client-key-data": credentials.client_key_data,
            "token": credentials.token,
        },
        "context": {"cluster": name, "user": user_name(name)},
    }
    ours = {
        "cluster": _CLUSTER_FIELDS + _CLUSTER_FOREIGN,
        "user": _USER_FIELDS + _USER_FOREIGN,
        "context": _CONTEXT_FIELDS,
    }
    wanted: dict[str, dict[str, Any] | None] = {}
    for section, kind, entry_name in _sections(name):
        have: Mapping[str, Any] = next((e for e in data.get(section) or [] if e["name"] == entry_name), {})
        body = have.get(kind)
        kept = {k: v for k, v in body.items() if k not in ours[kind]} if isinstance(body, dict) else {}
        written = {k: v for k, v in values[kind].items() if v}
        wanted[kind] = {**{k: v for k, v in have.items() if k != kind}, "name": entry_name, kind: {**kept, **written}}
    return wanted


def _prove(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    name: str,
    wanted: Mapping[str, dict[str, Any] | None],
    *,
    current: str,
    where: str,
) -> None:
    """Check that the edited text holds exactly the old data with our entries replaced; else refuse to write it."""
    expected = {k: v for k, v in old.items() if k not in ("clusters", "users", "contexts", "current-context")}
    found = {k: v for k, v in new.items() if k not in ("clusters", "users", "contexts", "current-context")}
    same = old == {} or expected == found
    same = same and str(new.get("current-context") or "") == current
    for section, kind, entry_name in _sections(name):
        before = [e for e in old.get(section) or [] if e["name"] != entry_name]
        after = [e for e in new.get(section) or [] if e["name"] != entry_name]
        entries = [e for e in new.get(section) or [] if e["name"] == entry_name]
        same = same and before == after and entries == ([wanted[kind]] if wanted[kind] is not None else [])
    if not same:
        raise KubeconfigError(
            f"{where}: this file's YAML is written in a way that cannot be edited without touching entries of others. "
            "Nothing was changed. Let kubectl write it in its own form first: "
            "`kubectl config view --raw > NEW`, compare, and put NEW in its place."
        )


def _is_bare(data: Mapping[str, Any]) -> bool:
    """Say whether nothing is left that anybody could miss."""
    return not any(value for key, value in data.items() if key not in ("apiVersion", "kind"))


def _dangling(data: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the contexts of others that still refer to the removed cluster or user."""
    names = []
    for entry in data.get("contexts") or []:
        body = entry.get("context")
        if isinstance(body, dict) and (body.get("cluster") == name or body.get("user") == user_name(name)):
            names.append(str(entry["name"]))
    return tuple(names)


def _show(data: Mapping[str, Any], reference: Mapping[str, Any], name: str) -> str:
    """Render our entries for a diff: digests for certificates, a remark for secrets (`changed` against reference)."""
    shown: dict[str, Any] = {}
    for section, kind, entry_name in _sections(name):
        earlier: Mapping[str, Any] = next((e for e in reference.get(section) or [] if e["name"] == entry_name), {})
        for entry in [e for e in data.get(section) or [] if e["name"] == entry_name]:
            body = entry.get(kind)
            earlier_body = earlier.get(kind)
            if not isinstance(body, dict):
                shown[f"{kind} {entry_name}"] = None if body is None else "(damaged)"
                continue
            known: Mapping[str, Any] = earlier_body if isinstance(earlier_body, dict) else body
            shown[f"{kind} {entry_name}"] = {k: _shown_value(kind, k, v, known.get(k)) for k, v in body.items()}
    current = str(data.get("current-context") or "")
    if current == name or str(reference.get("current-context") or "") == name or not current:
        shown["current-context"] = current
    else:
        shown["current-context"] = f"{current} (not this cluster)"
    return yaml.safe_dump(shown, default_flow_style=False, sort_keys=True, width=1000)


def _shown_value(kind: str, key: str, value: Any, earlier: Any) -> Any:
    if key in _PUBLIC_DIGEST:
        return f"(certificate, sha256 {hashlib.sha256(str(value).encode()).hexdigest()[:16]})"
    if kind == "user" and key not in ("client-certificate", "client-key", "tokenFile"):
        return "(secret)" if value == earlier else "(secret, new value)"
    return value


def _named(data: Mapping[str, Any], section: str, kind: str, name: Any, where: str) -> dict[str, Any]:
    for entry in data.get(section) or []:
        body = entry.get(kind)
        if entry["name"] == name and isinstance(body, dict):
            return body
    raise KubeconfigError(f"{where}: the context refers to {kind} {name!r}, but `{section}` has no such entry.")


def _pem(body: Mapping[str, Any], key: str, label: str, problems: list[str], required: bool = True) -> str | None:
    """Return body[key] when it is base64 of PEM with that label; add to `problems` when it is not."""
    value = body.get(key)
    if not value:
        if required:
            problems.append(f"{key} is missing")
        return None
    try:
        decoded = base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError):
        problems.append(f"{key} is not base64")
        return None
    if b"-----BEGIN" not in decoded or f"{label}-----".encode() not in decoded:
        problems.append(f"{key} is not a PEM {label.lower()}")
        return None
    return str(value)
