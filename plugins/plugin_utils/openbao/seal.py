# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep a server from a seal that it was not moved to: restarted with it, it stays sealed or does not start (OpenBao 2.7)."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Status
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.escrow import Escrow


def differs(kept: Escrow | None, wanted: str) -> bool:
    """Say whether a server has keys in escrow, and another seal than `wanted`."""
    return kept is not None and kept.state == "answered" and kept.seal not in ("", wanted)


def check_moved(kept: Escrow, status: Status | None, wanted: str, path: Path) -> None:
    """Raise OpenBaoError unless a server whose seal `differs` was moved to `wanted` by hand. `status` None: no answer came.

    A server that is still to be moved says the new seal, too, as soon as it was restarted with it; but it is sealed then.
    """
    if status is not None and status.initialized and not status.sealed and status.seal == wanted:
        return
    raise OpenBaoError(
        f"wanted the seal {wanted}, and the server is unsealed by {kept.seal}, says {path}. Restarted with another seal it"
        f" stays sealed, or does not start. Leave it at {kept.seal}, or move it by hand first: save it; give its configuration"
        f' the new seal ({_how(kept.seal, wanted)}); restart it; send as many keys of the escrow as its threshold by "bao operator'
        ' unseal -migrate"; then run this again'
    )


def _how(old: str, new: str) -> str:
    if new == "shamir":
        return f'disabled = "true" in the seal {old} that is there'
    if old == "shamir":
        return f"the seal {new}"
    return f'the seal {new}, and disabled = "true" in the seal {old}'
