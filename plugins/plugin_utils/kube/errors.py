# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong between the controller, a kubeconfig and an API server.

Each message says what was wanted, what was found, where, and what to do. None carries a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class KubeError(Exception):
    """Any failure of this package; the text is meant for the admin."""


class KubeconfigError(KubeError):
    """A kubeconfig that cannot be read, understood or written."""


class ApiError(KubeError):
    """The API server answered with an error, or could not be reached.

    `status` is the HTTP status, or None when there was no answer at all; `reason` and `causes` (reason, message, field)
    are those of the Status object that came with it.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        reason: str = "",
        causes: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Take the message for the admin and what the server said."""
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.causes = tuple(causes)

    @property
    def transient(self) -> bool:
        """Say whether asking again may help: no answer, or one of a server that starts, stops or has too much to do."""
        return self.status is None or self.status in (429, 500, 502, 503, 504)
