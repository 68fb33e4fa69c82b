# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find known secrets, private keys and Secrets in clear in texts. Pure. What is found is named, never shown.

Searching for many short texts in megabytes is fast with ``bytes.find`` and slow with one large regular expression. Faster
still is not to search: a text of groups of eight bytes that holds a needle of eleven holds the first four bytes of a group
that are the needle's, and which there are is found out once for all needles.
"""

from __future__ import annotations

import binascii
import re
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.needles import (
    AS_IT_IS,
    Needle,
    Needles,
    Secret,
)

_SEPARATOR = b"\n\0\n"
_DEEPEST = 3
#: From and up to how many bytes groups are worth their time and memory.
_GROUPED = (1 << 16, 1 << 25)
#: From this length on a text has the first four bytes of a group of eight in it, wherever it begins.
_SHORTEST_GROUPED = 11
#: How many bytes are searched at a time.
_BATCH = 1 << 23
#: From the length on that base64 of base64 of the shortest value has; what is shorter is found without decoding.
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/_-]{15,}")
#: Base64 that is wrapped at a fixed width, as in PEM or in a block of YAML.
_WRAPPED = re.compile(rb"(?:^[ \t]*[A-Za-z0-9+/]{40,}\r?\n)+[ \t]*[A-Za-z0-9+/]+", re.MULTILINE)
_INNER_RUN = re.compile(rb"[A-Za-z0-9+/_-]{11,}")
_HEX_RUN = re.compile(rb"[0-9A-Fa-f]{16,}")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
#: The end of a line, as it is or escaped: in JSON, in a quoted string, in JSON within JSON.
_LINE_END = rb"(?:\s|\\+[nrt])+"
#: A literal that must be there for the costly expression to be tried.
PRIVATE_KEYS: tuple[tuple[bytes, re.Pattern[bytes]], ...] = (
    (
        b"PRIVATE KEY-----",
        re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----" + _LINE_END + rb"[A-Za-z0-9+/=]{16}"),
    ),
    (
        b"PGP PRIVATE KEY BLOCK-----",
        re.compile(
            rb"-----BEGIN PGP PRIVATE KEY BLOCK-----"
            + _LINE_END
            + rb"(?:[A-Za-z]{1,20}: [^\n\\]{0,200}"
            + _LINE_END
            + rb"){0,9}[A-Za-z0-9+/=]{16}"
        ),
    ),
    (b"AGE-SECRET-KEY-", re.compile(rb"AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{50}")),
    *(
        (prefix, re.compile(rb"\b" + prefix + rb"[A-Za-z0-9]{36}"))
        for prefix in (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_")
    ),
    (b"github_pat_", re.compile(rb"\bgithub_pat_[A-Za-z0-9_]{50}")),
    (b"glpat-", re.compile(rb"\bglpat-[A-Za-z0-9_-]{20}")),
    (b"AKIA", re.compile(rb"\bAKIA[0-9A-Z]{16}\b")),
)
_SECRET_KIND = re.compile(rb"""["']?\bkind["']?\s*:\s*["']?Secret["']?\s*(?:[,}\r\n#]|\Z)""")
_PLACEHOLDER = re.compile(r"\s*(\$\{[^}]*\}\s*)*\Z")
_NOT_SECRET_TYPES = ("kubernetes.io/service-account-token",)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Text(NamedTuple):
    """Something to search: a file of a commit, a message. `where` identifies it for the caller."""

    where: str
    data: bytes


@dataclass(frozen=True)
class Hit:
    """Something that was found in a text. `line` counts from 1; `what` is a sentence without the value."""

    where: str
    line: int
    rule: str
    what: str


def _groups(data: bytes) -> set[int] | None:
    """Return the first four of every eight bytes, with - and _ as + and /; None where that is not worth it."""
    if not _GROUPED[0] <= len(data) <= _GROUPED[1]:
        return None
    return set(memoryview(data.translate(_TO_STANDARD))[: len(data) // 4 * 4].cast("I")[::2])


class _Joined:
    """Pieces of texts behind each other in one buffer, so that each needle is looked for once.

    A piece is (number of the text, offset in it, bytes).
    """

    def __init__(self, pieces: Iterable[tuple[int, int, bytes]], separator: bytes = _SEPARATOR) -> None:
        self.starts: list[int] = []
        self.origins: list[tuple[int, int]] = []
        parts, position = [], 0
        for number, offset, piece in pieces:
            self.starts.append(position)
            self.origins.append((number, offset))
            parts.append(piece)
            position += len(piece) + len(separator)
        self.data = separator.join(parts)
        self.groups = _groups(self.data)

    def in_standard_base64(self) -> _Joined:
        """The same pieces with the characters that base64 has in URLs replaced; their groups are the same ones."""
        made = _Joined(())
        made.starts, made.origins, made.groups = self.starts, self.origins, self.groups
        made.data = self.data.translate(_TO_STANDARD)
        return made

    def find(self, needle: bytes) -> Iterator[tuple[int, int]]:
        """Return (number of the text, offset in it) of the first hit in each piece."""
        for piece, inside in self._hits(needle):
            number, offset = self.origins[piece]
            yield number, offset + inside

    def _hits(self, needle: bytes) -> Iterator[tuple[int, int]]:
        """Return (piece, offset in it) of the first hit in each piece."""
        if self.groups is not None and len(needle) >= _SHORTEST_GROUPED:
            words = needle.translate(_TO_STANDARD)
            if not any(int.from_bytes(words[start : start + 4], sys.byteorder) in self.groups for start in range(8)):
                return
        place = self.data.find(needle)
        while place >= 0:
            piece = bisect_right(self.starts, place) - 1
            yield piece, place - self.starts[piece]
            if piece + 1 == len(self.starts):
                return
            place = self.data.find(needle, self.starts[piece + 1])


class _Decoded(_Joined):
    """What runs of base64 hold. A hit is told by the beginning of its run."""

    def __init__(self, runs: Iterable[tuple[int, int, bytes]]) -> None:
        starts, origins, parts, position = [], [], [], 0
        for number, offset, run in runs:
            # four times A is three zero bytes: runs do not touch each other
            padded = run + b"AAAAAAAA"[: 4 + -len(run) % 4]
            starts.append(position)
            origins.append((number, offset))
            parts.append(padded)
            position += len(padded) // 4 * 3
        whole = binascii.a2b_base64(b"".join(parts).translate(_TO_STANDARD))
        super().__init__([(0, 0, whole)])
        self.starts, self.origins = starts, origins

    def find(self, needle: bytes) -> Iterator[tuple[int, int]]:
        """Return (number of the text, offset of the run in it)."""
        for piece, _inside in self._hits(needle):
            yield self.origins[piece]

    def inner_runs(self) -> list[tuple[int, int, bytes]]:
        """Return runs of base64 within what was decoded."""
        found = []
        for match in _INNER_RUN.finditer(self.data):
            number, offset = self.origins[bisect_right(self.starts, match.start()) - 1]
            found.append((number, offset, match[0]))
        return found


class _Found:
    """The first place of each secret in each text: what stands there as it is stands there in other forms, too."""

    def __init__(self) -> None:
        self.places: dict[tuple[int, Secret], tuple[int, str]] = {}

    def note(self, number: int, offset: int, secret: Secret, form: str) -> None:
        earlier = self.places.get((number, secret))
        if earlier is None or offset < earlier[0]:
            self.places[number, secret] = (offset, form)

    def look(self, joined: _Joined, needles: Iterable[Needle]) -> None:
        for needle in needles:
            for number, offset in joined.find(needle.text):
                self.note(number, offset, needle.secret, needle.form)


def known(texts: Sequence[Text], wanted: Needles) -> list[Hit]:
    """Find known secrets: as they are, escaped, as hex, as base64 at any alignment, and in base64 within base64."""
    found = _Found()
    for pieces in _batches(texts):
        joined = _Joined(pieces)
        found.look(joined, wanted.plain)
        found.look(joined.in_standard_base64(), wanted.base64)
        in_hex = ((n, m.start(), m[0].lower()) for n, _start, data in pieces for m in _HEX_RUN.finditer(data))
        found.look(_Joined(in_hex), wanted.hex)
        runs = _runs(pieces)
        for depth in range(1, _DEEPEST + 1):
            decoded = _Decoded(runs)
            for needle in wanted.plain:
                for number, offset in decoded.find(needle.text):
                    found.note(number, offset, needle.secret, _nested(needle.form, depth))
            runs = decoded.inner_runs()
    return [
        Hit(
            texts[number].where,
            _line(texts[number].data, offset),
            "known-secret",
            f"the secret {secret} stands here ({form})",
        )
        for (number, secret), (offset, form) in found.places.items()
    ]


def private_keys(texts: Sequence[Text]) -> list[Hit]:
    """Find private keys and access tokens by their looks."""
    found = []
    for text in texts:
        for literal, pattern in PRIVATE_KEYS:
            if literal in text.data:
                found += [
                    Hit(
                        text.where,
                        _line(text.data, match.start()),
                        "private-key",
                        "a private key or access token stands here",
                    )
                    for match in pattern.finditer(text.data)
                ]
    return found


def clear_secrets(texts: Sequence[Text]) -> list[Hit]:
    """Find Secrets whose values can be read."""
    found = []
    for text in texts:
        if b"Secret" not in text.data or not _SECRET_KIND.search(text.data):
            continue
        loader = _LOADER(text.data)
        try:
            while loader.check_node():
                node = loader.get_node()
                content = loader.construct_document(node)
                found += [
                    Hit(text.where, node.start_mark.line + 1, "secret-in-clear", f"Secret {name} can be read here")
                    for name in _readable(content)
                ]
        except (yaml.YAMLError, ValueError):
            # such as a template; that it is no YAML is for others to say
            found.append(
                Hit(
                    text.where,
                    _line(text.data, 0),
                    "secret-in-clear",
                    "this looks like a Secret, and cannot be read as YAML",
                )
            )
        finally:
            loader.dispose()
    return found


def is_readable(content: Any) -> bool:
    """Say whether an object is a Secret with values that everybody can read."""
    if not isinstance(content, dict) or content.get("kind") != "Secret" or content.get("apiVersion") != "v1":
        return False
    if content.get("type") in _NOT_SECRET_TYPES or isinstance(content.get("sops"), dict):
        return False
    values = [
        value
        for field in ("data", "stringData")
        if isinstance(content.get(field), dict)
        for value in content[field].values()
    ]
    return any(is_clear(value) for value in values)


def is_clear(value: Any) -> bool:
    """Say whether a value is one: not empty, not encrypted, not only variables that Flux replaces."""
    text = "" if value is None else str(value)
    return bool(text) and not text.startswith("ENC[") and not _PLACEHOLDER.match(text)


def _readable(content: Any) -> Iterator[str]:
    items = content.get("items") if isinstance(content, dict) and content.get("kind") == "List" else [content]
    for item in items if isinstance(items, list) else []:
        if is_readable(item):
            metadata = item.get("metadata") if isinstance(item.get("metadata"), dict) else {}
            yield f"{metadata.get('namespace', '')}/{metadata.get('name', '')}".strip("/")


def _batches(texts: Sequence[Text]) -> Iterator[list[tuple[int, int, bytes]]]:
    """Return the texts as pieces, a few megabytes at a time."""
    batch: list[tuple[int, int, bytes]] = []
    size = 0
    for number, text in enumerate(texts):
        if batch and size + len(text.data) > _BATCH:
            yield batch
            batch, size = [], 0
        batch.append((number, 0, text.data))
        size += len(text.data)
    yield batch


def _runs(pieces: Iterable[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """Return runs of base64, and those that were wrapped put together."""
    found = []
    for number, _start, data in pieces:
        found += [(number, match.start(), match[0]) for match in _BASE64_RUN.finditer(data)]
        found += [(number, match.start(), b"".join(match[0].split())) for match in _WRAPPED.finditer(data)]
    return found


def _nested(form: str, depth: int) -> str:
    return " of ".join(["base64"] * depth + ([] if form == AS_IT_IS else [form]))


def _line(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1
