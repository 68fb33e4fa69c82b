# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Initialise a server so that its one answer cannot get lost, and unseal it.

Order: prove the escrow, ask, write the answer, open it again, unseal. Killed before the question nothing has happened;
killed after the answer was written the next run goes on. In between lies one write to a disk that has just been tried.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import escrow as escrows
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Server, Status
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.escrow import Escrow

Step = Literal["initialize", "encrypt_escrow_anew", "reset", "unseal"]
#: What a server says whose raft storage was made, and that was killed before it had keys (OpenBao 2.7).
_HALF_MADE = "cluster already has state"


@dataclass(frozen=True)
class Wanted:
    """How a server is to be initialised, and where its answer goes."""

    environment: str
    path: Path
    recipients: Sequence[str]
    shares: int = 3
    threshold: int = 2


def plan_initialize(status: Status, escrow: Escrow | None, wanted: Wanted) -> list[Step]:
    """Say what is to be done. Raises OpenBaoError where it must not be done."""
    if not 1 <= wanted.threshold <= wanted.shares or (wanted.threshold == 1 and wanted.shares > 1):
        raise OpenBaoError(
            f"wanted a threshold of 2 to {wanted.shares} of {wanted.shares} keys (or one key alone), found {wanted.threshold}"
        )
    answered = escrow is not None and escrow.state == "answered"
    if not status.initialized:
        if answered and escrow is not None:
            raise OpenBaoError(
                f"{wanted.path}: it holds the keys of {escrow.url}, and the server is not initialised: its data are gone, or"
                " it is another server. Restore a snapshot, or move the escrow away to begin anew"
            )
        return ["initialize", *(["unseal"] if not status.unseals_itself else [])]  # type: ignore[list-item]
    if escrow is None:
        raise OpenBaoError(
            f"{wanted.path}: wanted the keys of a server that is initialised, found no file. Name the escrow that was"
            " written then, or put the keys there"
        )
    if not answered:
        raise OpenBaoError(
            f"{wanted.path}: a run was killed between the question and its answer, or none came, and unless somebody else has"
            f" the keys of {escrow.url} they are lost. It holds nothing yet then: stop it, remove its data directory, remove"
            " this file, and run this again"
        )
    return [] if escrow.recipients == file.comparable(wanted.recipients) else ["encrypt_escrow_anew"]


def settled(server: Server, status: Status, seconds: float) -> Status:
    """Give a server that unseals itself the time for it, and return its status then. Raises OpenBaoError."""
    if status.initialized and status.sealed and status.unseals_itself:
        with suppress(OpenBaoError):
            server.wait_until_active(seconds)
        return server.status()
    return status


def plan_unseal(status: Status, escrow: Escrow) -> list[Step]:
    """Say what is to be done to a server of which the keys are at hand. Raises OpenBaoError."""
    if not status.initialized:
        raise OpenBaoError(
            "wanted to unseal a server, and it is not initialised. Run openbao_init, or restore a snapshot"
        )
    if not status.sealed:
        return []
    if status.unseals_itself:
        raise OpenBaoError(
            f"the server unseals itself by {status.seal}, and is sealed: no key can be sent to it. Look at its log, and whether"
            " it reaches what it unseals itself by"
        )
    if escrow.state != "answered" or len(escrow.keys) < status.threshold:
        raise OpenBaoError(
            f"wanted {status.threshold} keys to unseal the server, the escrow has {len(escrow.keys)}. Name the right one"
        )
    return ["reset", "unseal"] if status.progress else ["unseal"]


def initialize(server: Server, status: Status, wanted: Wanted, identities: Sequence[Any]) -> Escrow:
    """Prove the escrow, ask, and write the answer. Raises AgeError, OpenBaoError."""
    asked = Escrow(wanted.environment, server.url, "asked", status.seal, wanted.threshold)
    escrows.write(wanted.path, asked, wanted.recipients, identities)
    try:
        answer = server.initialize(wanted.shares, wanted.threshold, recovery=status.unseals_itself)
    except OpenBaoError as error:
        raise OpenBaoError(_unanswered(server, error, wanted.path)) from None
    answered = replace(asked, state="answered", keys=answer.keys, root_token=answer.root_token)
    try:
        escrows.write(wanted.path, answered, wanted.recipients, identities)
    except BaseException as error:  # noqa: BLE001 - also an interrupt: this is the only copy of the answer
        raise OpenBaoError(_rescued(answered, wanted, str(error) or type(error).__name__)) from None
    return answered


def unseal(server: Server, status: Status, escrow: Escrow, steps: Sequence[Step], seconds: float) -> None:
    """Send the keys, and wait until the server serves requests. Raises OpenBaoError."""
    if "reset" in steps:
        server.reset_unseal()
    threshold = status.threshold or escrow.threshold
    try:
        unsealed = any(server.send_key(key) for key in escrow.keys[:threshold])
    except OpenBaoError as error:
        with suppress(OpenBaoError):
            server.reset_unseal()
        raise OpenBaoError(
            f"{error}. Are these the keys of this server? The escrow was written for {escrow.url}"
        ) from None
    if not unsealed:
        raise OpenBaoError(
            f"{server.url}: it took {threshold} keys and is still sealed. Does somebody else unseal it, too?"
        )
    server.wait_until_active(seconds)


def _unanswered(server: Server, error: OpenBaoError, path: Path) -> str:
    """Say what became of a question without an answer. The escrow stays: who gave up waiting may still be answered."""
    told = str(error) if str(error).endswith(("?", ".")) else f"{error}."
    if _HALF_MADE in told:
        return (
            f"{told} It was stopped in the middle of its initialisation before, has no keys, and cannot go on. It holds nothing: stop"
            f" it, remove its data directory, remove {path}, and run this again"
        )
    try:
        initialized = server.status().initialized
    except OpenBaoError as second:
        return (
            f"{told} Then it did not say either whether it is initialised ({second}). {path} stays, and says that it"
            " was asked: run this again when it answers"
        )
    if initialized:
        return (
            f"{told} It is initialised now, and unless somebody else has its keys they are lost. It holds nothing yet then: stop it,"
            f" remove its data directory, remove {path}, and run this again"
        )
    return (
        f"{told} It says that it is not initialised, unless it is still at it. {path} stays, and says that it was asked:"
        " run this again"
    )


def _rescued(answered: Escrow, wanted: Wanted, why: str) -> str:
    """Put the answer, encrypted, where anything can be written, else into the text; return what to tell the admin."""
    data = file.encrypt(escrows.encode(answered, wanted.recipients), wanted.recipients)
    told = f"{wanted.path}: THE SERVER IS INITIALISED and its keys could not be written there ({why})."
    tried = []
    for folder in _places(wanted.path):
        try:
            saved = _save(data, folder)
        except OSError as error:
            tried.append(f"{folder} ({error.strerror or error})")
        else:
            return f"{told} They are, encrypted to the same recipients, in {saved}: move that file to {wanted.path} now"
    return (
        f"{told} Nor could they in {', '.join(tried)}. THIS IS THE ONLY COPY, encrypted to the same recipients. Make room, and"
        f" write it there now, by umask 077; printf '%b' 'TEXT' > {wanted.path}, where TEXT is everything from the first to"
        f" the last dash:\n{data.decode()}"
    )


def _places(path: Path) -> list[Path]:
    """Return folders that might be written, first those whose files outlive a restart."""
    places = [path.parent, Path(os.path.expanduser("~"))]
    # on a full disk it finds none
    with suppress(OSError):
        places.append(Path(tempfile.gettempdir()))
    return list(dict.fromkeys(places))


def _save(data: bytes, folder: Path) -> str:
    """Write a file that only its owner can read, and return its name. Raises OSError, and leaves no part of it then."""
    descriptor, name = tempfile.mkstemp(prefix="openbao-keys-", suffix=".age", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if Path(name).read_bytes() != data:
            raise OSError("what was written is not what is read back")
    except OSError:
        with suppress(OSError):
            Path(name).unlink()
        raise
    return name
