# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make SecretStores and ExternalSecrets of what was declared. Everything that is wrong is told at once. No I/O.

Fields are those of external-secrets.io/v1. They were held against the definitions of operator 1.3.2, and of no other version.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

API_VERSION = "external-secrets.io/v1"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_INTERVAL = re.compile(r"(\d+(\.\d+)?(ns|us|ms|s|m|h))+|0")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_ARN = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/.+")

_STORE = frozenset({"name", "kind", "namespace", "namespaces", "namespace_labels", "refresh_interval", "vault", "aws"})
_VAULT = frozenset({"server", "path", "ca", "auth", "mount", "role", "service_account", "audience"})
_CA = frozenset({"kind", "name", "namespace", "key"})
_AWS = frozenset({"region", "role", "service_account", "access_key"})
_ACCESS_KEY = frozenset({"name", "namespace", "id_key", "secret_key"})
_SECRET = frozenset(
    {
        "name",
        "namespace",
        "store",
        "target",
        "type",
        "refresh_interval",
        "refresh_policy",
        "deletion_policy",
        "data",
        "extract",
    }
)
_ENTRY = frozenset({"key", "property", "version"})


class DeclarationError(Exception):
    """What was declared cannot be; the text is meant for the admin."""


def render(
    environment: str, stores: Sequence[Mapping[str, Any]], secrets: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the objects, stores first. Raises DeclarationError with everything that is wrong."""
    problems: list[str] = []
    if not _NAME.fullmatch(environment):
        problems.append(f"wanted the name of an environment, found {environment!r}")
    objects = [_store(one, environment, problems) for one in stores]
    known = {(one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]) for one in objects}
    made = [_secret(one, known, problems) for one in secrets]
    for name, count in Counter(_label(one) for one in (*objects, *made)).items():
        if count > 1:
            problems.append(f"{name} is declared {count} times")
    for target, count in Counter((one["metadata"]["namespace"], one["spec"]["target"]["name"]) for one in made).items():
        if count > 1:
            problems.append(f"{count} external secrets make the Secret {target[0]}/{target[1]}")
    if problems:
        raise DeclarationError("external secrets cannot be as declared:\n- " + "\n- ".join(dict.fromkeys(problems)))
    return [*objects, *made]


def _label(one: Mapping[str, Any]) -> str:
    namespace = one["metadata"].get("namespace")
    return f"{one['kind']} {f'{namespace}/' if namespace else ''}{one['metadata']['name']}"


# -- stores ---------------------------------------------------------------------------------------------------------------


def _store(one: Mapping[str, Any], environment: str, problems: list[str]) -> dict[str, Any]:
    name, kind = str(one.get("name") or ""), str(one.get("kind") or "ClusterSecretStore")
    namespace = str(one.get("namespace") or "")
    where = f"store {name or '(no name)'}"
    _unknown(one, _STORE, where, problems)
    _named(name, f"{where}: name", problems)
    cluster = kind == "ClusterSecretStore"
    metadata: dict[str, Any] = {"name": name}
    spec: dict[str, Any] = {"refreshInterval": _seconds(one.get("refresh_interval", 3600), where, problems)}
    if kind not in ("ClusterSecretStore", "SecretStore"):
        problems.append(f"{where}: wanted the kind ClusterSecretStore or SecretStore, found {kind}")
    if cluster:
        spec["conditions"] = _conditions(one, where, problems)
        if namespace:
            problems.append(f"{where}: a ClusterSecretStore has no namespace; with namespaces it says who may use it")
    else:
        metadata["namespace"] = namespace
        _named(namespace, f"{where}: namespace", problems)
        if one.get("namespaces") or one.get("namespace_labels"):
            problems.append(f"{where}: a SecretStore serves its own namespace alone")
    providers = [key for key in ("vault", "aws") if one.get(key)]
    if len(providers) != 1:
        problems.append(
            f"{where}: wanted either vault (for OpenBao, too) or aws, found {' and '.join(providers) or 'none'}"
        )
    elif providers == ["vault"]:
        spec["provider"] = {"vault": _vault(one["vault"], where, environment, problems, cluster=cluster)}
    else:
        spec["provider"] = {"aws": _aws(one["aws"], where, problems, cluster=cluster)}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def _conditions(one: Mapping[str, Any], where: str, problems: list[str]) -> list[dict[str, Any]]:
    """Return who may use a store of the whole cluster. Nobody by default: with it goes every secret that it can read."""
    names, labels = one.get("namespaces") or [], one.get("namespace_labels") or {}
    if not names and not labels:
        problems.append(f"{where}: say which namespaces may use it, by namespaces or namespace_labels")
    for name in names:
        _named(str(name), f"{where}: namespaces", problems)
    return [
        *([{"namespaces": [str(name) for name in names]}] if names else []),
        *([{"namespaceSelector": {"matchLabels": {str(k): str(v) for k, v in labels.items()}}}] if labels else []),
    ]


def _vault(
    one: Mapping[str, Any], where: str, environment: str, problems: list[str], *, cluster: bool
) -> dict[str, Any]:
    where = f"{where}, vault"
    _unknown(one, _VAULT, where, problems)
    server = str(one.get("server") or "")
    if urlsplit(server).scheme != "https" or not urlsplit(server).hostname:
        problems.append(f"{where}: wanted the server's address as https://HOST:8200, found {server!r}")
    method = str(one.get("auth") or "kubernetes")
    account = _account(one, where, problems, cluster=cluster)
    # A token for one environment is worth nothing in another.
    audience = str(one.get("audience") or f"openbao-{environment}")
    mount = str(one.get("mount") or f"{method}-{environment}")
    role = str(one.get("role") or "eso")
    if method == "kubernetes":
        auth: dict[str, Any] = {
            "mountPath": mount,
            "role": role,
            "serviceAccountRef": {**account, "audiences": [audience]},
        }
    elif method == "jwt":
        token = {"serviceAccountRef": {**account, "audiences": [audience]}}
        auth = {"path": mount, "role": role, "kubernetesServiceAccountToken": token}
    else:
        problems.append(f"{where}: wanted auth kubernetes or jwt, found {method}")
        auth = {}
    found: dict[str, Any] = {
        "server": server,
        "path": str(one.get("path") or "kv"),
        "version": "v2",
        "auth": {method: auth},
    }
    if one.get("ca"):
        found["caProvider"] = _ca(one["ca"], where, problems, cluster=cluster)
    return found


def _ca(one: Mapping[str, Any], where: str, problems: list[str], *, cluster: bool) -> dict[str, Any]:
    where = f"{where}, ca"
    _unknown(one, _CA, where, problems)
    kind = str(one.get("kind") or "ConfigMap")
    if kind not in ("ConfigMap", "Secret"):
        problems.append(f"{where}: wanted the kind ConfigMap or Secret, found {kind}")
    found = {"type": kind, "name": str(one.get("name") or ""), "key": str(one.get("key") or "ca.crt")}
    _named(found["name"], f"{where}: name", problems)
    if cluster:
        found["namespace"] = str(one.get("namespace") or "")
        _named(found["namespace"], f"{where}: namespace", problems)
    return found


def _account(one: Mapping[str, Any], where: str, problems: list[str], *, cluster: bool) -> dict[str, Any]:
    """Return the service account, written as NAMESPACE/NAME, or NAME in a store of one namespace."""
    given = str(one.get("service_account") or "")
    namespace, slash, name = given.rpartition("/")
    if bool(slash) != cluster:
        form = "NAMESPACE/NAME" if cluster else "NAME, of the store's own namespace"
        problems.append(f"{where}: wanted service_account as {form}, found {given!r}")
    _named(name, f"{where}: service_account", problems)
    return {"name": name, **({"namespace": namespace} if cluster else {})}


def _aws(one: Mapping[str, Any], where: str, problems: list[str], *, cluster: bool) -> dict[str, Any]:
    where = f"{where}, aws"
    _unknown(one, _AWS, where, problems)
    region = str(one.get("region") or "")
    if not _REGION.fullmatch(region):
        problems.append(f"{where}: wanted a region such as eu-central-1, found {region!r}")
    found: dict[str, Any] = {"service": "SecretsManager", "region": region}
    if one.get("role"):
        found["role"] = str(one["role"])
        if not _ARN.fullmatch(found["role"]):
            problems.append(f"{where}: wanted the role as arn:aws:iam::ACCOUNT:role/NAME, found {found['role']!r}")
    if bool(one.get("service_account")) == bool(one.get("access_key")):
        problems.append(f"{where}: wanted either service_account (IAM roles for service accounts) or access_key")
    elif one.get("service_account"):
        found["auth"] = {"jwt": {"serviceAccountRef": _account(one, where, problems, cluster=cluster)}}
    else:
        key = one["access_key"]
        _unknown(key, _ACCESS_KEY, f"{where}, access_key", problems)
        _named(str(key.get("name") or ""), f"{where}, access_key: name", problems)
        base = {"name": str(key.get("name") or "")}
        if cluster:
            base["namespace"] = str(key.get("namespace") or "")
            _named(base["namespace"], f"{where}, access_key: namespace", problems)
        found["auth"] = {
            "secretRef": {
                "accessKeyIDSecretRef": {**base, "key": str(key.get("id_key") or "access-key-id")},
                "secretAccessKeySecretRef": {**base, "key": str(key.get("secret_key") or "secret-access-key")},
            }
        }
    return found


# -- secrets --------------------------------------------------------------------------------------------------------------


def _secret(one: Mapping[str, Any], known: set[tuple[str, str, str]], problems: list[str]) -> dict[str, Any]:
    name, namespace = str(one.get("name") or ""), str(one.get("namespace") or "")
    where = f"secret {namespace or '(no namespace)'}/{name or '(no name)'}"
    _unknown(one, _SECRET, where, problems)
    _named(name, f"{where}: name", problems)
    _named(namespace, f"{where}: namespace", problems)
    wanted = str(one.get("store") or "")
    cluster, own = ("ClusterSecretStore", "", wanted), ("SecretStore", namespace, wanted)
    if cluster not in known and own not in known:
        names = sorted({entry[2] for entry in known})
        problems.append(
            f"{where}: there is no store {wanted!r} that serves it; declared are {', '.join(names) or 'none'}"
        )
    target = str(one.get("target") or name)
    _named(target, f"{where}: target", problems)
    policy, deletion = str(one.get("refresh_policy") or "Periodic"), str(one.get("deletion_policy") or "Retain")
    _one_of(policy, ("Periodic", "OnChange", "CreatedOnce"), f"{where}: refresh_policy", problems)
    _one_of(deletion, ("Retain", "Delete", "Merge"), f"{where}: deletion_policy", problems)
    interval = str(one.get("refresh_interval") or "1h")
    if not _INTERVAL.fullmatch(interval):
        problems.append(f"{where}: refresh_interval: wanted a time such as 1h, found {interval!r}")
    template = {"template": {"type": str(one["type"])}} if one.get("type") else {}
    spec: dict[str, Any] = {
        "refreshPolicy": policy,
        "refreshInterval": interval,
        "secretStoreRef": {"kind": own[0] if own in known else cluster[0], "name": wanted},
        # A path that is lost does not take a live Secret with it.
        "target": {"name": target, "creationPolicy": "Owner", "deletionPolicy": deletion, **template},
    }
    data, extract = one.get("data") or {}, one.get("extract") or []
    if not data and not extract:
        problems.append(
            f"{where}: wanted data (a key to where its value stands) or extract (paths with all their keys)"
        )
    if data:
        spec["data"] = [_entry(str(key), value, where, problems) for key, value in sorted(data.items())]
    if extract:
        spec["dataFrom"] = [{"extract": {"key": str(path)}} for path in extract]
    return {
        "apiVersion": API_VERSION,
        "kind": "ExternalSecret",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def _entry(key: str, value: Any, where: str, problems: list[str]) -> dict[str, Any]:
    if not _KEY.fullmatch(key):
        problems.append(f"{where}: {key!r} is no key of a Secret")
    if not isinstance(value, Mapping) or not value.get("key"):
        problems.append(f"{where}, {key}: wanted key (the path) and property, found {type(value).__name__}")
        return {"secretKey": key, "remoteRef": {"key": ""}}
    _unknown(value, _ENTRY, f"{where}, {key}", problems)
    return {"secretKey": key, "remoteRef": {str(name): str(part) for name, part in value.items()}}


def _unknown(one: Mapping[str, Any], known: frozenset[str], where: str, problems: list[str]) -> None:
    for name in one:
        if name not in known:
            close = difflib.get_close_matches(str(name), sorted(known), n=1)
            problems.append(f"{where}: there is no {name}" + (f"; write {close[0]}" if close else ""))


def _named(name: str, where: str, problems: list[str]) -> None:
    if not _NAME.fullmatch(name) or len(name) > 253:
        problems.append(f"{where}: {name!r} is no name of an object")


def _one_of(value: str, choices: Sequence[str], where: str, problems: list[str]) -> None:
    if value not in choices:
        problems.append(f"{where}: wanted {', '.join(choices)}, found {value}")


def _seconds(value: Any, where: str, problems: list[str]) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        problems.append(f"{where}: refresh_interval: wanted seconds, found {value!r}")
        return 0
