# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong between the controller, a kubeconfig and an API server.

Each message says what was wanted, what was found, where, and what to do. None carries a secret.
"""

from __future__ import annotations


class KubeError(Exception):
    """Any failure of this package; the text is meant for the admin."""


class KubeconfigError(KubeError):
    """A kubeconfig that cannot be read, understood or written."""


class ApiError(KubeError):
    """The API server answered with an error, or could not be reached.

    `status` is the HTTP status, or None when there was no answer at all.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        """Take the message for the admin and the HTTP status."""
        super().__init__(message)
        self.status = status
