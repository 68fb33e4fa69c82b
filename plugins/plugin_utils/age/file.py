# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypt to recipients, decrypt with identities, and write a file that is known to open. Plaintext never reaches a disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import missing
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age.errors import AgeError

try:
    import pyrage
except ImportError as error:
    pyrage = missing("pyrage", error)

LEAST_RECIPIENTS = 2
_BEGIN, _END = b"-----BEGIN AGE ENCRYPTED FILE-----", b"-----END AGE ENCRYPTED FILE-----"


def check_recipients(recipients: Sequence[str]) -> list[Any]:
    """Return the recipients as the library wants them. Raises AgeError with all that are none, or are too few."""
    problems, read = [], []
    wanted = comparable(recipients)
    for text in wanted:
        try:
            read.append(_recipient(text))
        except pyrage.RecipientError as error:
            problems.append(f"{text[:24]!r} is no age recipient (age1... or an SSH public key): {error}")
    if len(wanted) < LEAST_RECIPIENTS:
        problems.append(
            f"wanted {LEAST_RECIPIENTS} different recipients at least, found {len(wanted)}: with the loss of the only"
            " identity everything in it would be lost"
        )
    if problems:
        raise AgeError("recipients of the backup: " + "; ".join(problems))
    return read


def comparable(recipients: Sequence[str]) -> tuple[str, ...]:
    """Return recipients each once, in a fixed order and without the comments of SSH keys: those of two lists can be compared.

    A file of age does not tell to whom it is encrypted, so whoever has to know keeps this inside it.
    """
    fields = [recipient.split() for recipient in recipients]
    return tuple(sorted({" ".join(one[:2] if one[:1] and one[0].startswith("ssh-") else one) for one in fields}))


def read_identities(text: str, where: str) -> list[Any]:
    """Read an identity file: age identities a line each, or one SSH private key. Raises AgeError."""
    if "PRIVATE KEY-----" in text:
        try:
            return [pyrage.ssh.Identity.from_buffer(text.encode())]
        except pyrage.IdentityError:
            raise AgeError(
                f"{where}: the SSH private key cannot be used (is it encrypted with a passphrase?)"
            ) from None
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        found = [pyrage.x25519.Identity.from_str(line) for line in lines]
    except pyrage.IdentityError:
        raise AgeError(f"{where}: wanted lines AGE-SECRET-KEY-1..., found something else") from None
    if not found:
        raise AgeError(f"{where}: wanted an age identity, found none")
    return found


def identities_of(files: Sequence[str]) -> list[Any]:
    """Read identity files. Raises AgeError."""
    found: list[Any] = []
    for name in files:
        path = Path(name).expanduser()
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise AgeError(f"identity_files: {path} cannot be read: {error}") from None
        found += read_identities(text, str(path))
    return found


def encrypt(plaintext: bytes, recipients: Sequence[str]) -> bytes:
    """Return an armored age file. Raises AgeError."""
    return bytes(pyrage.encrypt(plaintext, check_recipients(recipients), armored=True))


def decrypt(data: bytes, identities: Sequence[Any], where: str) -> bytes:
    """Open an armored age file. Raises AgeError: not whole, not for these identities, changed, or no age file."""
    if not data.strip().startswith(_BEGIN):
        raise AgeError(f"{where}: wanted a backup (an armored age file), found something else")
    if not data.strip().endswith(_END):
        raise AgeError(
            f"{where}: the backup ends in the middle ({len(data)} bytes): it was not written or copied as a whole. Take"
            " another copy"
        )
    try:
        return bytes(pyrage.decrypt(data, identities))
    except pyrage.DecryptError as error:
        if "No matching keys" in str(error):
            raise AgeError(
                f"{where}: the backup is not encrypted to the identities at hand. Name another one"
            ) from None
        raise AgeError(f"{where}: the backup was changed or damaged ({error}). Take another copy") from None


def read(path: Path) -> bytes | None:
    """Read a file; None where there is none. Raises AgeError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AgeError(f"{path}: the backup cannot be read: {error.strerror}") from None


def write(path: Path, plaintext: bytes, recipients: Sequence[str], identities: Sequence[Any]) -> None:
    """Encrypt, write, read back, open, compare, and only then put the file in the place of the old one. Raises AgeError.

    The bytes that are tested are those read back from the disk. The old file stays until the new one has passed.
    """
    data = encrypt(plaintext, recipients)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            if decrypt(temporary.read_bytes(), identities, str(path)) != plaintext:
                raise AgeError(f"{path}: what was written is not what is read back. Is the disk in order?")
            temporary.replace(path)
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise AgeError(f"{path}: the backup cannot be written: {error.strerror}") from None


def _recipient(text: str) -> Any:
    return pyrage.ssh.Recipient.from_str(text) if text.startswith("ssh-") else pyrage.x25519.Recipient.from_str(text)
