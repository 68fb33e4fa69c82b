# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Known secrets, and the bytes that each of them may have become on its way into a file. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.errors import LeakScanError

#: Shorter values are everywhere by chance; they are named as weak instead.
SHORTEST = 8
#: Shorter lines of a longer value say little by themselves (``kind: Config``).
_LONG_LINE = 16
#: Lines that many keys have in common: headings of PEM, and what an OpenSSH key begins with (its name and "none").
_HEADINGS = ("-----", "Proc-Type:", "DEK-Info:", "b3BlbnNzaC1rZXktdjEA", "PuTTY-User-Key-File-", "Version: GnuPG")
#: Lines that files of a kind have in common, whatever is secret in them: of Kubernetes' objects and kubeconfigs (an address may hold a
#: password, which is before an @), of Google's accounts, of age's identities, and first lines.
_COMMON = re.compile(
    r"""
    (?:-[ ])? ["']? (?:apiVersion|kind|current-context|insecure-skip-tls-verify|certificate-authority(?:-data)?) ["']? [ ]* : .*
    | (?:-[ ])? ["']? server ["']? [ ]* : [^@]*
    | "type" [ ]* : [ ]* "(?:service_account|authorized_user)" ,?
    | "(?:auth_uri|token_uri|auth_provider_x509_cert_url|universe_domain)" [ ]* : .*
    | \# [ ] (?:created:[ ][0-9T:Z.+-]+ | public[ ]key:[ ]age1[0-9a-z]+)
    | <\?xml[ ].* | \#!.* | %YAML[ ].*
    """,
    re.VERBOSE,
)
#: A line of fewer characters that differ is a rule or a row of stars.
_FEWEST_CHARACTERS = 4
#: What stands beside a key in one value, and is for everybody.
_PUBLIC = re.compile(r"-----BEGIN ((?:[A-Z]+ )*(?:CERTIFICATE|PUBLIC KEY))-----.*?-----END \1-----", re.DOTALL)
_DEEPEST_INDENT = 16
AS_IT_IS = "as it is"


@dataclass(frozen=True)
class Secret:
    """A known value. `name` says where it stands in its source, such as ``production: shop/db.password``."""

    environment: str
    name: str
    value: bytes = field(repr=False)

    def __str__(self) -> str:
        """Its environment and name, never its value."""
        return f"{self.environment}: {self.name}" if self.environment else self.name


@dataclass(frozen=True)
class Needle:
    """Bytes to look for. `form` says how they come from the value."""

    secret: Secret
    form: str
    text: bytes = field(repr=False)


@dataclass(frozen=True)
class Needles:
    """What to look for where: in the text as it is, in runs of base64 (with + and /), in runs of lower-case hex."""

    plain: tuple[Needle, ...]
    base64: tuple[Needle, ...]
    hex: tuple[Needle, ...]


def read(environments: Mapping[str, Any]) -> list[Secret]:
    """Return all texts of a mapping of environments, each with its path. Raises LeakScanError for another shape."""
    if not isinstance(environments, Mapping) or not all(isinstance(v, Mapping) for v in environments.values()):
        raise LeakScanError(
            "secrets: wanted a mapping of environments, each a mapping of names to values, found something else"
        )
    return [
        Secret(str(environment), name, value)
        for environment, values in environments.items()
        for name, value in _leaves(values, "")
    ]


def weak(secrets: Iterable[Secret]) -> list[Secret]:
    """Return those that are too short to be looked for; white space around a value does not count."""
    return [secret for secret in secrets if secret.value and len(secret.value.strip()) < SHORTEST]


def shared(secrets: Iterable[Secret], allowed: Collection[str]) -> list[list[Secret]]:
    """Return secrets of several environments with the same value, but for those whose names are all among `allowed`."""
    groups: dict[bytes, list[Secret]] = {}
    for secret in secrets:
        value = _core(secret.value)
        if len(value) >= SHORTEST:
            groups.setdefault(hashlib.sha256(value).digest(), []).append(secret)
    return [
        group
        for group in groups.values()
        if len({secret.environment for secret in group}) > 1 and not all(secret.name in allowed for secret in group)
    ]


def needles(secrets: Iterable[Secret]) -> Needles:
    """Return everything to look for. A value that two environments share is looked for once."""
    plain: dict[bytes, Needle] = {}
    encoded: dict[bytes, Needle] = {}
    hexadecimal: dict[bytes, Needle] = {}
    for secret in secrets:
        value = _core(secret.value)
        if len(value) < SHORTEST:
            continue
        for part, of in ((value, ""), *((line, "one of its lines") for line in _lines(value))):
            for form, text in _plain_forms(part):
                plain.setdefault(text, Needle(secret, _of(form, of), text))
            for text in base64_forms(part):
                encoded.setdefault(text, Needle(secret, _of("base64", of), text))
            text = part.hex().encode()
            hexadecimal.setdefault(text, Needle(secret, _of("hex", of), text))
        for text in _indented(value):
            plain.setdefault(text, Needle(secret, "indented", text))
    return Needles(tuple(plain.values()), tuple(encoded.values()), tuple(hexadecimal.values()))


def base64_forms(value: bytes) -> list[bytes]:
    """Return what stands for `value` alone wherever it begins in a longer text that was encoded: three alignments."""
    forms = []
    for before in range(3):
        text = base64.b64encode(bytes(before) + value)
        first = -(-8 * before // 6)
        last = 8 * (before + len(value)) // 6
        forms.append(text[first:last])
    return forms


def _plain_forms(value: bytes) -> Iterator[tuple[str, bytes]]:
    yield AS_IT_IS, value
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return
    for form, changed in _escaped(text):
        if changed.encode() != value:
            yield form, changed.encode()


def _core(value: bytes) -> bytes:
    """Return a value without the white space around it: what holds the one holds the other, in every form."""
    core = value.strip()
    return core if len(core) >= SHORTEST else value


def _lines(value: bytes) -> list[bytes]:
    """Return the lines of a value that tell it by themselves; none of a value of one line.

    Whoever copies a part of a key copies some of its lines, and in a block of YAML each line is indented, so that the value
    is nowhere as a whole.
    """
    if b"\n" not in value and b"\r" not in value:
        return []
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return []
    lines = (line.strip() for line in _PUBLIC.sub("", text).splitlines())
    return [line.encode() for line in dict.fromkeys(lines) if len(line) >= _LONG_LINE and not _common(line)]


def _common(line: str) -> bool:
    """Say whether a line, without the white space around it, tells nothing: others have it, too."""
    return (
        line.startswith(_HEADINGS) or _COMMON.fullmatch(line) is not None or len(set(line) - {" "}) < _FEWEST_CHARACTERS
    )


def _indented(value: bytes) -> Iterator[bytes]:
    """Return what a value of short lines is in a block of YAML; no line of it could be looked for by itself."""
    lines = value.splitlines()
    own = [line for line in map(bytes.strip, lines) if not _common(line.decode("utf-8", "replace"))]
    if len(lines) > 1 and own and all(len(line) < _LONG_LINE for line in own):
        for depth in range(1, _DEEPEST_INDENT + 1):
            # an empty line is not indented
            yield lines[0] + b"".join(b"\n" + (b" " * depth + line if line else b"") for line in lines[1:])


def _of(form: str, part: str) -> str:
    if not part:
        return form
    return part if form == AS_IT_IS else f"{form} of {part}"


def _escaped(text: str) -> Iterator[tuple[str, str]]:
    for quoted in (quote(text, safe=""), quote(text, safe="/"), quote_plus(text)):
        yield "URL", quoted
        yield "URL", _lower_percent(quoted)
    for ascii_only in (True, False):
        yield "JSON", json.dumps(text, ensure_ascii=ascii_only)[1:-1]
    yield "YAML", text.replace("'", "''")


def _lower_percent(quoted: str) -> str:
    head, *parts = quoted.split("%")
    return head + "".join(f"%{part[:2].lower()}{part[2:]}" for part in parts)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, bytes]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{number}]")
    elif isinstance(value, bytes):
        yield path, value
    elif isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        yield path, str(value).encode()
