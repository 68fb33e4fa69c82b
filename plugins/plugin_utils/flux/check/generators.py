# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ConfigMaps and Secrets that kustomize generates, and the hash in their names."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import BuildError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.resources import Object, Resource

_KEY = re.compile(r"[-._a-zA-Z0-9]+\Z")
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*\Z")
_LINE = 70
_TO_LETTERS = str.maketrans("013ae", "ghkmt")
_SHAPES = (
    ("envs", list, "a list"),
    ("files", list, "a list"),
    ("literals", list, "a list"),
    ("options", dict, "a mapping"),
)
Read = Callable[[str], bytes]


def generate(kind: str, arguments: Mapping[str, Any], options: Mapping[str, Any], read: Read, file: str) -> Resource:
    """Return the object that an entry of configMapGenerator or secretGenerator describes."""
    for field, shape, noun in _SHAPES:
        if not isinstance(arguments.get(field) or shape(), shape):
            raise BuildError(f"{field} is not {noun}", (field,))
    name = arguments.get("name")
    if not name:
        raise BuildError("the entry has no name. Give it one", ("name",))
    pairs = _pairs(arguments, read)
    metadata: Object = {"name": str(name)}
    if arguments.get("namespace"):
        metadata["namespace"] = str(arguments["namespace"])
    content: Object = {"apiVersion": "v1", "kind": kind, "metadata": metadata}
    if kind == "Secret":
        content["type"] = str(arguments.get("type") or "Opaque")
        content["data"] = {key: _base64(value) for key, value in sorted(pairs.items())}
    else:
        texts, binaries = _texts(pairs)
        content.update({field: values for field, values in (("data", texts), ("binaryData", binaries)) if values})
    own = arguments.get("options") or {}
    for field in ("labels", "annotations"):
        merged = {key: value for one in (options, own) for key, value in _pairs_of(one.get(field)).items()}
        if merged:
            metadata[field] = {str(key): _text(value) for key, value in merged.items()}
    if options.get("immutable") or own.get("immutable"):
        content["immutable"] = True
    plain = bool(options.get("disableNameSuffixHash") or own.get("disableNameSuffixHash"))
    behavior = str(arguments.get("behavior") or "create")
    return Resource(content, file, hashed=not plain, behavior=behavior)


def _pairs_of(value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise BuildError("labels or annotations in the options are no mapping", ("options",))
    return value or {}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _texts(pairs: Mapping[str, bytes]) -> tuple[dict[str, str], dict[str, str]]:
    texts, binaries = {}, {}
    for key, value in sorted(pairs.items()):
        try:
            texts[key] = value.decode()
        except UnicodeDecodeError:
            binaries[key] = _base64(value)
    return texts, binaries


def _base64(value: bytes) -> str:
    encoded = base64.b64encode(value).decode()
    if len(encoded) < _LINE:
        return encoded
    return "".join(f"{encoded[start : start + _LINE]}\n" for start in range(0, len(encoded), _LINE))


def _pairs(arguments: Mapping[str, Any], read: Read) -> dict[str, bytes]:
    found: dict[str, bytes] = {}

    def add(key: str, value: bytes, path: tuple[str | int, ...]) -> None:
        if not _KEY.match(key):
            raise BuildError(f"{key!r} is no key: only letters, digits, - _ and . are allowed", path)
        if key in found:
            raise BuildError(f"the key {key} is there twice", path)
        found[key] = value

    environments = [*(arguments.get("envs") or ()), *([arguments["env"]] if arguments.get("env") else ())]
    for number, name in enumerate(environments):
        for key, text in variables(read(str(name)), str(name)):
            add(key, text.encode(), ("envs", number))
    for number, literal in enumerate(arguments.get("literals") or ()):
        key, sign, value = str(literal).partition("=")
        if not sign or not key:
            raise BuildError("the literal is not KEY=VALUE", ("literals", number))
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        add(key, value.encode(), ("literals", number))
    for number, source in enumerate(arguments.get("files") or ()):
        key, sign, path = str(source).rpartition("=")
        if sign and (not key or not path or "=" in key):
            raise BuildError(f"{source} is not KEY=FILE", ("files", number))
        add(key if sign else path.rsplit("/", 1)[-1], read(path), ("files", number))
    return found


def variables(data: bytes, file: str) -> list[tuple[str, str]]:
    """Return the pairs of a dotenv file as kustomize reads it: a line each, no quotes are taken off."""
    found = []
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        text = line.removesuffix(b"\r").decode(errors="replace").lstrip()
        if not text or text.startswith("#"):
            continue
        key, _unused, value = text.partition("=")
        if not _VARIABLE.match(key):
            raise BuildError(f"{file}:{number}: the line does not begin with the name of a variable. Write NAME=VALUE")
        found.append((key, value))
    return found


def merged(new: Resource, old: Resource) -> Resource:
    """Return a generated object of behavior merge or replace in place of the one that is there."""
    result = new.copy()
    for field in ("labels", "annotations"):
        both = {**(old.metadata.get(field) or {}), **(new.metadata.get(field) or {})}
        if both:
            result.metadata[field] = both
    if new.behavior == "merge":
        for field in ("data", "binaryData"):
            both = {**(old.content.get(field) or {}), **(new.content.get(field) or {})}
            if both:
                result.content[field] = both
    result.metadata["name"] = old.name
    if old.namespace:
        result.metadata["namespace"] = old.namespace
    result.previous, result.prefixes, result.suffixes = list(old.previous), list(old.prefixes), list(old.suffixes)
    result.hashed = new.hashed and old.hashed
    result.behavior = "create"
    return result


def suffix(content: Object) -> str:
    """Return the hash that kustomize appends to the name of a generated object."""
    kind = str(content["kind"])
    # kustomize means to hash the name as well, and looks it up where it is not.
    hashed: Object = {"kind": kind, "name": "", "data": content.get("data", "")}
    if kind == "Secret":
        hashed["type"] = content.get("type", "")
        if isinstance(content.get("stringData"), dict):
            hashed["stringData"] = content["stringData"]
    elif isinstance(content.get("binaryData"), dict):
        hashed["binaryData"] = content["binaryData"]
    text = json.dumps(hashed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return hashlib.sha256(text.encode()).hexdigest()[:10].translate(_TO_LETTERS)
