# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The escrow: what initialisation answered, encrypted by age. It is proved to be writable before the question is asked.

It is written twice. First it says that the server is about to be initialised; that file, written, read back and opened,
is the proof. Then it holds the answer. A file of the first kind beside an initialised server tells that a run was killed
in between, and the answer with it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError

_SCHEMA = "stagecraft.gitops/openbao-escrow/1"


@dataclass(frozen=True)
class Escrow:
    """What is known of one server. `keys` unseal it, or where it unseals itself are its recovery keys.

    `root_token` is "" once it was revoked; `role_id` and `secret_id` then log the configuration in. `recipients` are those
    that it is encrypted to, as `file.comparable` writes them; empty where that was not noted.
    """

    environment: str
    url: str
    state: Literal["asked", "answered"]
    seal: str = ""
    threshold: int = 0
    keys: tuple[str, ...] = field(default=(), repr=False)
    root_token: str = field(default="", repr=False)
    role_id: str = field(default="", repr=False)
    secret_id: str = field(default="", repr=False)
    recipients: tuple[str, ...] = ()


def read(path: Path, identities: Sequence[Any], environment: str) -> Escrow | None:
    """Read the escrow; None where there is none. Raises AgeError, OpenBaoError."""
    data = file.read(path)
    if data is None:
        return None
    text = file.decrypt(data, identities, str(path))
    try:
        found = json.loads(text)
        if found.pop("schema") != _SCHEMA:
            raise ValueError
        escrow = Escrow(**{**found, "keys": tuple(found["keys"]), "recipients": tuple(found.get("recipients", ()))})
    except (ValueError, KeyError, TypeError, AttributeError):
        raise OpenBaoError(f"{path}: it opens, but holds no keys of OpenBao in the form of this collection") from None
    if escrow.environment != environment:
        raise OpenBaoError(
            f"{path}: it holds the keys of {escrow.environment}, wanted those of {environment}. Name its own escrow"
        )
    return escrow


def write(path: Path, escrow: Escrow, recipients: Sequence[str], identities: Sequence[Any]) -> None:
    """Write the escrow, read it back and open it. Raises AgeError."""
    file.write(path, encode(escrow, recipients), recipients, identities)


def encode(escrow: Escrow, recipients: Sequence[str]) -> bytes:
    """Return what is encrypted, with a note of whom it is encrypted to: age does not tell."""
    noted = {**vars(escrow), "keys": list(escrow.keys), "recipients": list(file.comparable(recipients))}
    return json.dumps({"schema": _SCHEMA, **noted}, indent=1).encode()
