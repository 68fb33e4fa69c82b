# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON patches (RFC 6902) with what kustomize's library adds: negative numbers count from a list's end."""

from __future__ import annotations

from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.errors import BuildError, UnsupportedError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.check.resources import copied

_NEEDS = {
    "add": ("path", "value"),
    "remove": ("path",),
    "replace": ("path", "value"),
    "move": ("path", "from"),
    "copy": ("path", "from"),
    "test": ("path",),
}


def apply(target: Any, operations: list[Any]) -> None:
    """Change `target` by the operations, in their order."""
    for operation in operations:
        if not isinstance(operation, dict) or operation.get("op") not in _NEEDS:
            raise BuildError(f"an item of a JSON patch is no operation: {operation!r}. Give op, path and value")
        missing = [name for name in _NEEDS[operation["op"]] if name not in operation]
        if missing:
            raise BuildError(f"the {operation['op']} of a JSON patch has no {' and no '.join(missing)}")
        _apply(target, operation)


def _apply(target: Any, operation: dict[str, Any]) -> None:
    name, path = operation["op"], str(operation["path"])
    if name == "test":
        found = _get(target, path, missing=None)
        if found != operation.get("value"):
            raise BuildError(f"the test of {path} in a JSON patch does not hold")
    elif name == "add":
        _add(target, path, copied(operation["value"]))
    elif name == "remove":
        _remove(target, path)
    elif name == "replace":
        _replace(target, path, copied(operation["value"]))
    else:
        value = copied(_get(target, str(operation["from"])))
        if name == "move":
            _remove(target, str(operation["from"]))
        _add(target, path, value)


def _steps(path: str) -> list[str]:
    if not path.startswith("/"):
        raise BuildError(f"the path {path or '(empty)'} of a JSON patch does not begin with /")
    return [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]


def _parent(target: Any, path: str) -> tuple[Any, str]:
    *above, last = _steps(path)
    for step in above:
        target = _child(target, step, path)
    if not isinstance(target, (dict, list)):
        raise _nothing_at(path)
    return target, last


def _nothing_at(path: str) -> BuildError:
    return BuildError(f"a JSON patch wants to change {path}, which the object does not have. Correct the path")


def _index(target: list[Any], step: str, path: str) -> int:
    try:
        number = int(step)
    except ValueError:
        raise BuildError(f"{step} in the path {path} of a JSON patch is no number of a list's item") from None
    if not -len(target) <= number < len(target):
        raise _nothing_at(path)
    return number


def _child(target: Any, step: str, path: str) -> Any:
    if isinstance(target, dict):
        if step not in target:
            raise _nothing_at(path)
        return target[step]
    if isinstance(target, list):
        return target[_index(target, step, path)]
    raise _nothing_at(path)


_RAISE = object()


def _get(target: Any, path: str, missing: Any = _RAISE) -> Any:
    try:
        parent, last = _parent(target, path)
        return _child(parent, last, path)
    except BuildError:
        if missing is _RAISE:
            raise
        return missing


def _add(target: Any, path: str, value: Any) -> None:
    parent, last = _parent(target, path)
    if isinstance(parent, dict):
        parent[last] = value
    elif last == "-":
        parent.append(value)
    else:
        number = int(last) if last.lstrip("-").isdigit() else -1
        if last.startswith("-"):
            raise UnsupportedError("an add to a list by a number from its end")
        if not 0 <= number <= len(parent):
            raise _nothing_at(path)
        parent.insert(number, value)


def _remove(target: Any, path: str) -> None:
    parent, last = _parent(target, path)
    if isinstance(parent, dict):
        if last not in parent:
            raise _nothing_at(path)
        del parent[last]
    else:
        del parent[_index(parent, last, path)]


def _replace(target: Any, path: str, value: Any) -> None:
    parent, last = _parent(target, path)
    if isinstance(parent, dict):
        parent[last] = value  # kustomize's library replaces also what is not there
    else:
        parent[_index(parent, last, path)] = value
