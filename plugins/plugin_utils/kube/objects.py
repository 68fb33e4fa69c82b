# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read fields of objects as an API server returns them. Pure; a missing field is an empty value, never an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]
_LONGEST = 600


@dataclass(frozen=True, order=True)
class Ref:
    """What names one object: `group` "" is the core group, `namespace` "" a cluster-wide object."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """`Kind namespace/name`, as messages name it."""
        return f"{self.kind} {self.namespace + '/' if self.namespace else ''}{self.name}"


def ref(item: Object) -> Ref:
    """Return what names `item`."""
    metadata = mapping(item, "metadata")
    group = str(item.get("apiVersion") or "").rpartition("/")[0]
    return Ref(
        group, str(item.get("kind") or ""), str(metadata.get("namespace") or ""), str(metadata.get("name") or "")
    )


def mapping(body: Mapping[str, Any] | None, *keys: str) -> Mapping[str, Any]:
    """Return the mapping below `keys`, or an empty one."""
    value: Any = body
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def listed(body: Mapping[str, Any], *keys: str) -> list[Any]:
    """Return the list below `keys`, or an empty one."""
    value = mapping(body, *keys[:-1]).get(keys[-1])
    return value if isinstance(value, list) else []


def text(body: Mapping[str, Any], *keys: str) -> str:
    """Return the text below `keys`, or ""."""
    value = mapping(body, *keys[:-1]).get(keys[-1])
    return "" if value is None else str(value)


def condition(item: Object, kind: str) -> Mapping[str, Any]:
    """Return the status condition of type `kind`, or an empty mapping."""
    found = (c for c in listed(item, "status", "conditions") if isinstance(c, Mapping) and c.get("type") == kind)
    return next(found, {})


def is_true(body: Mapping[str, Any]) -> bool:
    """Say whether a condition is there and True."""
    return body.get("status") == "True"


def is_false(body: Mapping[str, Any]) -> bool:
    """Say whether a condition is there and False."""
    return body.get("status") == "False"


def generation(item: Object) -> int:
    """Return the number of the wanted state; 0 for kinds that do not count."""
    return int(mapping(item, "metadata").get("generation") or 0)


def one_line(said: str) -> str:
    """Return a server's words on one line, cut where nobody reads on."""
    flat = " ".join(said.split())
    return flat if len(flat) <= _LONGEST else flat[: _LONGEST - 3] + "..."
