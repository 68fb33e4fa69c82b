# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets that stand readable in the repository. What they are is never part of a message."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import BuildError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.generators import variables
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.resources import Object, label
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.secret_names import secret_by
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.search import (
    Text,
    is_clear,
    is_readable,
    private_keys,
)

_FIX = "Encrypt it (a SealedSecret, or SOPS), or fetch it by an ExternalSecret; then change the secret: Git keeps its history"
_ENVIRONMENT_FILE = re.compile(r"(^|/)\.env(\.[^/]+)?\Z")


def is_encrypted(content: Object) -> bool:
    """Say whether SOPS encrypted an object."""
    return isinstance(content.get("sops"), dict)


def in_object(content: Object) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    """Return the path, rule and message of each secret that an object carries in clear."""
    kind = content.get("kind")
    if kind == "Secret":
        if is_readable(content):
            for field in ("data", "stringData"):
                values = content.get(field)
                if isinstance(values, dict) and any(is_clear(value) for value in values.values()):
                    message = f"{label(content)} is readable for everybody who can read the repository. {_FIX}"
                    yield (field,), "secret-in-clear", message
                    return
    elif kind == "ConfigMap" and isinstance(content.get("data"), dict):
        for key, value in content["data"].items():
            if by := secret_by(str(key), value):
                message = f"{label(content)} holds {key}, which by its {by} is a secret. Put it into a Secret. {_FIX}"
                yield ("data", key), "secret-in-configmap", message


def in_file(path: str, data: bytes) -> Iterator[tuple[int, str, str]]:
    """Return the line, rule and message of each secret that a file of any kind carries."""
    for found in private_keys([Text(path, data)]):
        yield found.line, "secret-in-clear", f"a private key or access token is readable in the repository. {_FIX}"
    if _ENVIRONMENT_FILE.search(path) and b"sops_version=" not in data:
        yield from _in_variables(path, data)


def _in_variables(path: str, data: bytes) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(data.splitlines(), 1):
        try:
            pairs = variables(line, path)
        except BuildError:
            message = "this line is not NAME=VALUE, so kustomize refuses the file. Correct it"
            yield number, "environment-file", message
            continue
        for key, value in pairs:
            if by := secret_by(key, value):
                message = f"{key} by its {by} is a secret, and {path} becomes a ConfigMap. Remove it from here. {_FIX}"
                yield number, "secret-in-clear", message
