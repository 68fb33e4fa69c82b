# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stops the gate, or one of its builds."""

from __future__ import annotations


class CheckError(Exception):
    """The check itself cannot be done; the text is meant for the admin."""


class UnsupportedError(Exception):
    """An overlay uses something that only the kustomize program can do; the text names it."""


class BuildError(Exception):
    """An overlay cannot be built: what is wrong, and at which path of the kustomization file."""

    def __init__(self, message: str, path: tuple[str | int, ...] = ()) -> None:
        """Take the message for the admin and the path of the value that is to blame."""
        super().__init__(message)
        self.path = path
