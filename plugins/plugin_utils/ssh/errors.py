# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong on the way to a host, one class per thing that a caller may want to treat differently."""

from __future__ import annotations


class SshError(Exception):
    """Base of all errors of this package. The text says what was wanted, what was found, where, and what to do."""


class TargetError(SshError):
    """The host's variables do not describe a host that can be reached by SSH; nothing was contacted."""


class UnreachableError(SshError):
    """No SSH server answered at the address."""


class UnknownHostKeyError(SshError):
    """The host showed a key, but none is on file for it."""


class ChangedHostKeyError(SshError):
    """The host showed another key than the one on file, or a key that is marked as revoked."""


class AuthenticationError(SshError):
    """The host refused every credential that was offered."""


class RemoteCommandError(SshError):
    """A command on the host ended with a status other than zero."""

    def __init__(self, message: str, status: int, stdout: str, stderr: str) -> None:
        super().__init__(message)
        self.status = status
        self.stdout = stdout
        self.stderr = stderr


class TransferError(SshError):
    """A file could not be put on the host."""


class DigestMismatchError(TransferError):
    """The bytes are not those that the sha256 promises, here or on the host."""


class DiskFullError(TransferError):
    """The host has no room for the file."""
