# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SealedSecret objects as they stand in files: read with the place of every ciphertext, written in one order. Pure.

Source of the format: NewSealedSecret, Seal and Unseal in pkg/apis/sealedsecrets/v1alpha1/sealedsecret_expansion.go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import mac
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.crypto import SCOPES, Scope, label
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError

GROUP = "bitnami.com"
API_VERSION = f"{GROUP}/v1alpha1"
KIND = "SealedSecret"
_DOMAIN = "sealedsecrets.bitnami.com"
#: Annotations that hold a whole object in clear; kubeseal takes them out, too.
_TELL_TALES = ("kubectl.kubernetes.io/last-applied-configuration", "kubecfg.ksonnet.io/last-applied-configuration")
_LARGEST = 1 << 20
_ITEM = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: Text that every YAML reader takes for text. Go's, which clusters use, takes more words and numbers for something else
#: than Python's does: y, n, 1e3, 0o7.
_PLAIN = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)\Z)[A-Za-z][A-Za-z0-9_./+=-]*", re.IGNORECASE)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # chosen by what is installed
    """Quotes every text that is not plain beyond doubt."""


def _represent_text(dumper: Any, text: str) -> Any:
    style = None if _PLAIN.fullmatch(text) else "|" if "\n" in text else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


class Span(NamedTuple):
    """Where a scalar stands in a text, in characters; `end` is behind its last one."""

    start: int
    end: int


@dataclass(frozen=True)
class SealedSecret:
    """One SealedSecret of a file. `content` is the whole object, `line` where it begins (from 1).

    `items` maps an item to its ciphertext (base64), `macs` to what the annotation says of it.
    """

    path: str
    line: int
    name: str
    namespace: str
    scope: Scope
    items: Mapping[str, str]
    macs: Mapping[str, str]
    content: Mapping[str, Any] = field(repr=False)
    spans: Mapping[str, Span] = field(repr=False)
    mac_span: Span | None = field(repr=False)
    problems: tuple[str, ...] = ()

    @property
    def label(self) -> bytes:
        """What binds its ciphertexts."""
        return label(self.scope, self.namespace, self.name)

    def __str__(self) -> str:
        """`SealedSecret namespace/name (path:line)`."""
        return f"{KIND} {self.namespace or '?'}/{self.name or '?'} ({self.path}:{self.line})"


@dataclass(frozen=True)
class Declared:
    """A Secret that is wanted in a file: its values are in no representation.

    `template_data` are Go templates that the controller fills with the items; `scope` binds the ciphertexts.
    """

    path: str
    name: str
    namespace: str
    items: Mapping[str, bytes] = field(repr=False)
    scope: Scope = "strict"
    type: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    template_data: Mapping[str, str] = field(default_factory=dict)
    immutable: bool = False
    allow_empty: bool = False

    @property
    def label(self) -> bytes:
        """What binds its ciphertexts."""
        return label(self.scope, self.namespace, self.name)

    def __str__(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


def scope_annotations(scope: Scope) -> dict[str, str]:
    """Return the annotation that tells the controller a scope; strict has none."""
    return {} if scope == "strict" else {f"{_DOMAIN}/{scope}": "true"}


def check(declared: Iterable[Declared]) -> list[str]:
    """Return everything that is wrong with what is wanted; no value is named."""
    problems: list[str] = []
    paths: dict[str, str] = {}
    names: dict[str, str] = {}
    for one in declared:
        where = f"secret {one}"
        if not _NAME.fullmatch(one.name):
            problems.append(f"{where}: {one.name!r} is no name of a Secret (lower-case letters, digits, - and .)")
        if not _NAMESPACE.fullmatch(one.namespace):
            problems.append(f"{where}: {one.namespace!r} is no name of a namespace (lower-case letters, digits and -)")
        problems += [
            f"{where}: {item!r} is no name of an item (letters, digits, -, _ and .)"
            for item in sorted(set(one.items) | set(one.template_data))
            if not _ITEM.fullmatch(item)
        ]
        if not one.items and not one.allow_empty:
            problems.append(f"{where}: it has no item. Declare one, or allow_empty")
        if sum(map(len, one.items.values())) > _LARGEST:
            problems.append(f"{where}: its values have more than {_LARGEST} bytes, which no Secret may hold")
        if one.path in paths:
            problems.append(f"{where}: its file {one.path} is that of secret {paths[one.path]} already")
        if str(one) in names:
            problems.append(f"{where}: it is declared twice")
        paths.setdefault(one.path, str(one))
        names.setdefault(str(one), one.path)
    return problems


def build(declared: Declared, ciphertexts: Mapping[str, str], macs: Mapping[str, str]) -> dict[str, Any]:
    """Return the object, its keys in the order in which they are written."""
    own = scope_annotations(declared.scope)
    metadata: dict[str, Any] = {"name": declared.name, "namespace": declared.namespace}
    annotations = {**own, **({mac.ANNOTATION: _compact(macs)} if macs else {})}
    if annotations:
        metadata["annotations"] = annotations
    inner: dict[str, Any] = {"name": declared.name, "namespace": declared.namespace}
    if declared.labels:
        inner["labels"] = dict(sorted(declared.labels.items()))
    passed = {key: value for key, value in declared.annotations.items() if key not in _TELL_TALES}
    if passed or own:
        inner["annotations"] = dict(sorted({**passed, **own}.items()))
    template: dict[str, Any] = {"metadata": inner}
    if declared.type:
        template["type"] = declared.type
    if declared.immutable:
        template["immutable"] = True
    if declared.template_data:
        template["data"] = dict(sorted(declared.template_data.items()))
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata,
        "spec": {"encryptedData": dict(sorted(ciphertexts.items())), "template": template},
    }


def render(content: Mapping[str, Any]) -> str:
    """Return the text of an object as it is written to a file of its own."""
    text = yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 20)
    return str(text)


def find(text: str, path: str) -> list[SealedSecret]:
    """Return the SealedSecrets of a file, which may hold other objects too. Raises SealError where it is no YAML."""
    if KIND not in text:
        return []
    found = []
    loader = _LOADER(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            content = loader.construct_document(node)
            if _is_sealed(content):
                found.append(_read(node, content, path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else path
        raise SealError(f"{where}: it cannot be read as YAML: {getattr(error, 'problem', None) or error}") from None
    finally:
        loader.dispose()
    return found


def replace(text: str, changes: Mapping[Span, str]) -> str:
    """Return `text` with scalars replaced; each keeps its quotes, and nothing else is touched."""
    for span in sorted(changes, reverse=True):
        text = text[: span.start] + _in_style(text[span.start : span.end], changes[span]) + text[span.end :]
    return text


def without_ciphertexts(sealed: SealedSecret) -> dict[str, Any]:
    """Return an object without what sealing changes: two that differ only in that are equal."""
    content = json.loads(json.dumps(sealed.content, default=str))
    content["spec"]["encryptedData"] = sorted(sealed.items)
    (content["metadata"].get("annotations") or {}).pop(mac.ANNOTATION, None)
    return dict(content)


def mac_text(macs: Mapping[str, str]) -> str:
    """Return the annotation's value."""
    return _compact(macs)


def _compact(macs: Mapping[str, str]) -> str:
    return json.dumps(dict(sorted(macs.items())), separators=(",", ":"))


def _in_style(old: str, new: str) -> str:
    if old[:1] == '"':
        return json.dumps(new, ensure_ascii=False)
    if old[:1] == "'":
        return "'" + new.replace("'", "''") + "'"
    plain = new if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9+/=]*", new) else "'" + new.replace("'", "''") + "'"
    return plain + "\n" if old[:1] in ("|", ">") else plain


def _is_sealed(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and content.get("kind") == KIND
        and str(content.get("apiVersion")).partition("/")[0] == GROUP
    )


def _read(node: Any, content: Mapping[str, Any], path: str) -> SealedSecret:
    metadata = _mapping(content.get("metadata"))
    annotations = _mapping(metadata.get("annotations"))
    spec = _mapping(content.get("spec"))
    encrypted = _mapping(spec.get("encryptedData"))
    problems = []
    name, namespace = str(metadata.get("name") or ""), str(metadata.get("namespace") or "")
    scope = _scope(annotations)
    if not name or (not namespace and scope != "cluster-wide"):
        problems.append("it has no name or no namespace, to which its ciphertexts are bound")
    if spec.get("data") is not None:
        problems.append("it has spec.data, which is deprecated and refused by our controller: seal it anew")
    if not encrypted:
        problems.append("it has no spec.encryptedData")
    wrong = sorted(str(item) for item, value in encrypted.items() if not isinstance(value, str))
    if wrong:
        problems.append(f"not text in spec.encryptedData: {', '.join(wrong)}")
    macs: Any = {}
    if mac.ANNOTATION in annotations:
        try:
            macs = json.loads(annotations[mac.ANNOTATION])
        except (ValueError, TypeError):
            problems.append(f"its annotation {mac.ANNOTATION} is no JSON")
    items = {str(item): value for item, value in encrypted.items() if isinstance(value, str)}
    places = _values(_below(node, ("spec", "encryptedData")))
    spans = {item: places[item] for item in items if item in places}
    return SealedSecret(
        path,
        node.start_mark.line + 1,
        name,
        namespace,
        scope,
        items,
        {str(item): str(value) for item, value in _mapping(macs).items()},
        content,
        spans,
        _values(_below(node, ("metadata", "annotations"))).get(mac.ANNOTATION),
        tuple(problems),
    )


def _scope(annotations: Mapping[str, Any]) -> Scope:
    """The controller's own order: cluster-wide wins; nothing but the text "true" counts."""
    for scope in reversed(SCOPES):
        if scope != "strict" and annotations.get(f"{_DOMAIN}/{scope}") == "true":
            return scope
    return "strict"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _below(node: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        node = next((value for name, value in pairs if name.value == key), None)
    return node


def _values(node: Any) -> dict[str, Span]:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return {
        str(name.value): Span(value.start_mark.index, value.end_mark.index)
        for name, value in pairs
        if isinstance(value, yaml.ScalarNode)
    }
