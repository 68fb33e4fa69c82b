# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which sha256 an artefact must have, decided without fetching it.

In order of authority: the catalogue; the environment's lock file, which holds what upstream said when first asked;
the lock file of a mirror or bundle; upstream's own checksum file. Statements that differ are an error, never a choice,
with one exception: a mirror built from sources, which the admin trusts explicitly, has hashes of its own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .catalogue import Entry, mirror_path
from .errors import DigestMismatch, DigestUnknown, MissingArtifact
from .lock import Lock, LockedFile
from .transport import Transport

if TYPE_CHECKING:
    from .source import Source

_GNU_LINE = re.compile(r"\\?([0-9a-fA-F]{64}) [ *](.+)")
_LOOSE_LINE = re.compile(r"([0-9a-fA-F]{64})\s+\*?(.+)")
_BSD_LINE = re.compile(r"SHA256 \((.+)\) = ([0-9a-fA-F]{64})")


def expected_sha256(entry: Entry, source: Source, lock: Lock, transport: Transport | None = None) -> str:
    """Decide the sha256 that the file of `entry` from `source` must have (64 hex digits, lower case).

    May fetch a checksum file or a mirror's lock file; what is learnt so goes into `lock`, which is saved unless it is
    read-only. For an image it is the sha256 of its OCI archive. Raises DigestUnknown for an image of upstream that
    was never pulled, SourceError, MissingArtifact or DigestMismatch.
    """
    transport = transport or Transport()
    own = source.lock(transport)
    if own is not None:
        return _stated(entry, source, own, lock)
    known = _known(entry, lock)
    if known is not None:
        return known
    if entry.checksum_url is None:
        if source.kind == "upstream":
            raise DigestUnknown(f"{entry}: the digest of its archive is known (and locked) once it has been pulled")
        raise MissingArtifact(f"{entry}: {source} has no lock file, and nothing else states the digest of {entry.path}")
    return _ask(entry, entry.checksum_url, source, lock, transport)


def _known(entry: Entry, lock: Lock) -> str | None:
    """Tell what the catalogue or the environment's lock file says; an error when they differ."""
    remembered = lock.get(entry.path)
    if entry.sha256 is not None and remembered is not None and remembered.sha256 != entry.sha256:
        raise DigestMismatch(
            f"{entry}: the catalogue has sha256 {entry.sha256}, the lock file {lock.path} {remembered.sha256};"
            f" remove {entry.path} from the lock file if the catalogue is right"
        )
    return entry.sha256 or (remembered.sha256 if remembered else None)


def _stated(entry: Entry, source: Source, own: Lock, lock: Lock) -> str:
    """Tell what the source's lock file says, held against what we know where the files should be upstream's."""
    stated = own.get(entry.path)
    if stated is None:
        raise MissingArtifact(
            f"{entry}: {source} does not hold it: its lock file has no {entry.path}."
            f" {'Build or fill the mirror' if source.kind == 'mirror' else 'Make the bundle'} again for this"
            " environment, or set the version to one that it has"
        )
    if own.origin == "built":
        return stated.sha256
    known = _known(entry, lock)
    if known is None:
        lock.record(
            entry.path, LockedFile(stated.sha256, stated.size, stated.digest, f"the lock file of the {source.kind}")
        )
        lock.save()
    elif known != stated.sha256:
        by = "the catalogue" if entry.sha256 else f"the lock file {lock.path}"
        raise DigestMismatch(
            f"{entry}: {by} has sha256 {known}, {source} {stated.sha256} for {entry.path}. One of them is not"
            " upstream's file: fill the mirror again, and do not use it until they agree"
        )
    if entry.digest and stated.digest and entry.digest != stated.digest:
        raise DigestMismatch(f"{entry}: the catalogue has image digest {entry.digest}, {source} {stated.digest}")
    return stated.sha256


def _ask(entry: Entry, checksum_url: str, source: Source, lock: Lock, transport: Transport) -> str:
    if source.is_local:
        text = source.file(mirror_path(checksum_url)).read_text(encoding="utf-8", errors="replace")
    else:
        body = transport.get(source.url(mirror_path(checksum_url), checksum_url)).body
        text = body.decode("utf-8", "replace")
    sha256 = parse_checksum(text, entry.checksum_name, checksum_url)
    lock.record(entry.path, LockedFile(sha256, checked=f"upstream's checksum file {checksum_url}"))
    lock.save()
    return sha256


def parse_checksum(text: str, name: str, where: str) -> str:
    """Find the sha256 of the file called exactly `name` in the text of a checksum file.

    Reads the formats of sha256sum (GNU and BSD) and a file that holds nothing but one hash. Raises MissingArtifact when
    the name is not in it, DigestMismatch when it is there with two different hashes.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) == 1 and re.fullmatch(r"[0-9a-fA-F]{64}", lines[0]):
        return lines[0].lower()
    found: dict[str, set[str]] = {}
    for line in lines:
        if bsd := _BSD_LINE.fullmatch(line):
            found.setdefault(bsd[1], set()).add(bsd[2].lower())
        elif match := _GNU_LINE.fullmatch(line) or _LOOSE_LINE.fullmatch(line):
            found.setdefault(match[2].removeprefix("./"), set()).add(match[1].lower())
    digests = found.get(name, set())
    if not digests:
        raise MissingArtifact(
            f"{where}: no line for a file called exactly {name!r}; it lists"
            f" {', '.join(sorted(found)) or 'no checksums'}"
        )
    if len(digests) > 1:
        raise DigestMismatch(f"{where}: two different hashes for {name!r}: {' and '.join(sorted(digests))}")
    return digests.pop()
