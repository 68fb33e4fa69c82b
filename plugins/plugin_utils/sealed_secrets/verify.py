# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say of sealed secrets whether they can be opened, by which key, and what is wrong with those that cannot. No network.

No result and no message holds a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import crypto, manifest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.crypto import SCOPES, label
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError, UnsealError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.keys import Certificate, SealingKey
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.manifest import SealedSecret


@dataclass(frozen=True)
class Status:
    """What was found out about one SealedSecret.

    `keys` maps an item to the fingerprint of the key that opens it, "" where none was tried; `problems` are sentences.
    """

    sealed: SealedSecret
    keys: Mapping[str, str]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """All SealedSecrets of a set of files, and the files that could not be read."""

    found: tuple[Status, ...]
    unreadable: tuple[str, ...] = ()

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong, a sentence each."""
        return [*self.unreadable, *(problem for one in self.found for problem in one.problems)]

    @property
    def items(self) -> int:
        """How many ciphertexts there are."""
        return sum(len(one.sealed.items) for one in self.found)

    def opened_by(self) -> dict[str, int]:
        """How many ciphertexts each key opens, by its fingerprint."""
        counts: dict[str, int] = {}
        for one in self.found:
            for key in filter(None, one.keys.values()):
                counts[key] = counts.get(key, 0) + 1
        return dict(sorted(counts.items()))


def unsealed(sealed: SealedSecret, item: str, keys: Sequence[SealingKey]) -> tuple[bytes, str]:
    """Return one item's plaintext and the fingerprint of the key that opens it.

    Raises SealError: what was wanted, with the label, and which scope would fit where another one does.
    """
    try:
        blob = crypto.decode(sealed.items[item])
        plaintext, number = crypto.unseal([key.key for key in keys], blob, sealed.label)
    except UnsealError as error:
        other = _other_scope(sealed, item, keys)
        raise SealError(f"{sealed}, item {item}: {other or error}") from None
    except SealError as error:
        raise SealError(f"{sealed}, item {item}: {error}") from None
    return plaintext, keys[number].fingerprint


def opened(sealed: SealedSecret, keys: Sequence[SealingKey]) -> dict[str, bytes]:
    """Return all plaintexts of a SealedSecret. Raises SealError with everything that cannot be opened."""
    found: dict[str, bytes] = {}
    problems: list[str] = []
    for item in sealed.items:
        try:
            found[item], _key = unsealed(sealed, item, keys)
        except SealError as error:
            problems.append(str(error))
    if problems:
        raise SealError("\n".join(problems))
    return found


def report(files: Mapping[str, str], keys: Sequence[SealingKey], certificate: Certificate | None = None) -> Report:
    """Look at all SealedSecrets of files (path → text).

    Without private keys only the shape is looked at: base64, length, and whether the size of the key fits `certificate`.
    """
    found: list[Status] = []
    unreadable: list[str] = []
    for path, text in sorted(files.items()):
        try:
            sealed = manifest.find(text, path)
        except SealError as error:
            unreadable.append(str(error))
            continue
        found += [status(one, keys, certificate) for one in sealed]
    return Report(tuple(found), tuple(unreadable))


def not_by(found: Report, fingerprints: Iterable[str]) -> list[str]:
    """Name the items that none of some keys opens, such as those that are lost when the other keys go."""
    wanted = set(fingerprints)
    return [f"{one.sealed}, item {item}" for one in found.found for item, key in one.keys.items() if key not in wanted]


def status(sealed: SealedSecret, keys: Sequence[SealingKey], certificate: Certificate | None = None) -> Status:
    """Look at one SealedSecret, as `report` does."""
    problems = [f"{sealed}: {problem}" for problem in sealed.problems]
    by: dict[str, str] = {}
    for item in sealed.items:
        try:
            if keys:
                _value, by[item] = unsealed(sealed, item, keys)
            else:
                by[item] = ""
                _shape(sealed, item, certificate)
        except SealError as error:
            problems.append(str(error))
    return Status(sealed, by, tuple(problems))


def _shape(sealed: SealedSecret, item: str, certificate: Certificate | None) -> None:
    try:
        wrapped, _rest = crypto.split(crypto.decode(sealed.items[item]))
    except SealError as error:
        raise SealError(f"{sealed}, item {item}: {error}") from None
    if certificate is not None and len(wrapped) * 8 != certificate.key.key_size:
        raise SealError(
            f"{sealed}, item {item}: it was sealed for an RSA key of {len(wrapped) * 8} bits, and that of"
            f" {certificate.environment or certificate.fingerprint} has {certificate.key.key_size}"
        )


def _other_scope(sealed: SealedSecret, item: str, keys: Sequence[SealingKey]) -> str:
    """Find out whether a ciphertext fits another scope than the annotations say."""
    for scope in SCOPES:
        bound_to = label(scope, sealed.namespace, sealed.name)
        if scope == sealed.scope:
            continue
        try:
            crypto.unseal([key.key for key in keys], crypto.decode(sealed.items[item]), bound_to)
        except SealError:
            continue
        return (
            f"it was sealed with the scope {scope}, and the annotations of the SealedSecret say {sealed.scope} (label"
            f" {sealed.label.decode('utf-8', 'replace')!r}). Correct the annotations, or seal it anew"
        )
    return ""
