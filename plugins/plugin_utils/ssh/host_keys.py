# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host keys: read them off a server, look them up in known_hosts files, and edit such files without damaging them."""

from __future__ import annotations

import base64
import fcntl
import fnmatch
import hashlib
import hmac
import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import missing

from .errors import ChangedHostKeyError, SshError, UnknownHostKeyError, UnreachableError

try:
    import paramiko
except ImportError as error:
    paramiko = missing("paramiko", error)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

SSH_PORT = 22
# The order in which a key is asked for when the caller has no wish: what OpenSSH prefers.
KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
# A key type and the signature algorithms by which a server proves to own such a key.
_SIGNATURES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public host key: its type (``ssh-ed25519``) and its base64 text, as known_hosts files hold them."""

    type: str
    base64: str

    @property
    def fingerprint(self) -> str:
        """``SHA256:…`` without padding, as OpenSSH prints it."""
        digest = hashlib.sha256(base64.b64decode(self.base64)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    @classmethod
    def of(cls, key: paramiko.PKey) -> HostKey:
        """Take over a key of paramiko's."""
        return cls(key.get_name(), key.get_base64())


@dataclass(frozen=True, slots=True)
class KnownHost:
    """One line of a known_hosts file that names a key."""

    path: str
    line: int
    marker: Literal["", "@revoked", "@cert-authority"]
    patterns: tuple[str, ...]
    key: HostKey

    @property
    def where(self) -> str:
        """``file:line``."""
        return f"{self.path}:{self.line}"


def known_hosts_name(host: str, port: int) -> str:
    """Give the name under which known_hosts files list a host: bare on port 22, ``[host]:port`` otherwise."""
    return host if port == SSH_PORT else f"[{host}]:{port}"


def normalise_fingerprint(text: str) -> str:
    """``SHA256:…`` without padding from what people paste; SshError when it is no SHA256 fingerprint."""
    body = text.strip()
    if body.lower().startswith("sha256:"):
        body = body[7:]
    body = body.rstrip("=")
    try:
        digest = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except ValueError:
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise SshError(
            f"{text!r} is not a SHA256 fingerprint of a host key. Wanted is the form SHA256:… (43 characters), as "
            "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host's console prints it."
        )
    return "SHA256:" + body


def _pattern_matches(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        parts = pattern.split("|")
        if len(parts) != 4:
            return False
        try:
            salt, digest = base64.b64decode(parts[2]), base64.b64decode(parts[3])
        except ValueError:  # not base64, or not even ASCII
            return False
        return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)
    # Only * and ? are wild in known_hosts; brackets are literal there but not for fnmatch.
    return fnmatch.fnmatchcase(name.lower(), pattern.lower().replace("[", "[[]"))


def matches(patterns: Iterable[str], name: str) -> bool:
    """Whether a known_hosts host field stands for ``name``: any pattern does and no ``!pattern`` does."""
    found = False
    for pattern in patterns:
        if pattern.startswith("!"):
            if _pattern_matches(pattern[1:], name):
                return False
        elif _pattern_matches(pattern, name):
            found = True
    return found


def parse_known_hosts(text: str, path: str) -> list[KnownHost]:
    """List the key lines of a known_hosts file. Comments, blank and unreadable lines are left out, as OpenSSH does."""
    entries: list[KnownHost] = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        marker: Literal["", "@revoked", "@cert-authority"] = ""
        if fields[0] == "@revoked":
            marker, fields = "@revoked", fields[1:]
        elif fields[0] == "@cert-authority":
            marker, fields = "@cert-authority", fields[1:]
        if len(fields) < 3:
            continue
        try:
            base64.b64decode(fields[2], validate=True)
        except ValueError:  # not base64, or not even ASCII
            continue
        entries.append(KnownHost(path, number, marker, tuple(fields[0].split(",")), HostKey(fields[1], fields[2])))
    return entries


def read_known_hosts(paths: Iterable[str]) -> list[KnownHost]:
    """List the key lines of several files; a file that does not exist has none. SshError when one cannot be read."""
    entries: list[KnownHost] = []
    for name in paths:
        path = Path(name).expanduser()
        try:
            text = path.read_text(encoding="utf-8", errors="surrogateescape")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise SshError(f"cannot read the known_hosts file {path}: {error.strerror}") from error
        entries.extend(parse_known_hosts(text, str(path)))
    return entries


def keys_of(entries: Iterable[KnownHost], name: str) -> list[KnownHost]:
    """List the lines that stand for a host, revoked and certificate-authority lines included."""
    return [entry for entry in entries if matches(entry.patterns, name)]


def check(entries: Sequence[KnownHost], name: str, shown: HostKey) -> None:
    """Accept the key that a host showed, or say why not.

    UnknownHostKeyError when no line stands for the host, ChangedHostKeyError when lines do but hold other keys, or
    one of them revokes this key.
    """
    mine = keys_of(entries, name)
    for entry in mine:
        if entry.marker == "@revoked" and entry.key == shown:
            raise ChangedHostKeyError(
                f"{name} shows the {shown.type} key {shown.fingerprint}, which {entry.where} marks as revoked. "
                "Do not connect: whoever holds that key is not to be trusted. Give the host a new key on its console."
            )
    plain = [entry for entry in mine if not entry.marker]
    if any(entry.key == shown for entry in plain):
        return
    if not plain:
        raise UnknownHostKeyError(
            f"{name} shows the {shown.type} key {shown.fingerprint}, and no known_hosts file has a key for {name}. "
            "Compare the fingerprint with what the provider's console shows "
            "(`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`), then pin it: playbooks/bootstrap-access.yml with "
            f"access_host_fingerprint: {shown.fingerprint}"
        )
    same_type = [entry for entry in plain if entry.key.type == shown.type]
    expected = (same_type or plain)[0]
    raise ChangedHostKeyError(changed_message(name, expected, shown))


def changed_message(name: str, expected: KnownHost, shown: HostKey) -> str:
    """Say that a host shows another key than the pinned one, and what to do."""
    return (
        f"the host key of {name} has CHANGED. Pinned: {expected.key.type} {expected.key.fingerprint} at "
        f"{expected.where}. Shown now: {shown.type} {shown.fingerprint}. Either the host was installed anew, or "
        "somebody is between you and it. Compare the new fingerprint on the host's console "
        "(`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`). Only if it is the same, remove the old key with "
        f"`ssh-keygen -R '{name}' -f {expected.path}` and pin the new one: playbooks/bootstrap-access.yml with "
        f"access_host_fingerprint: {shown.fingerprint}"
    )


@dataclass(frozen=True, slots=True)
class PinPlan:
    """What is to happen to a known_hosts file: its text before and after; equal when there is nothing to do."""

    path: str
    before: str
    after: str

    @property
    def changed(self) -> bool:
        """Whether the file's text is to change."""
        return self.before != self.after


def plan_pin(text: str, path: str, name: str, keys: Sequence[HostKey]) -> PinPlan:
    """Add the lines for ``keys`` that the file does not have yet. Other lines keep every byte.

    Lines of this host with other keys are left alone: whoever asks to pin has called `check` before.
    """
    present = {entry.key for entry in keys_of(parse_known_hosts(text, path), name) if not entry.marker}
    lines = [f"{name} {key.type} {key.base64}\n" for key in dict.fromkeys(keys) if key not in present]
    joined = text if not text or text.endswith("\n") or not lines else text + "\n"
    return PinPlan(path, text, joined + "".join(lines))


def plan_unpin(text: str, path: str, name: str) -> PinPlan:
    """Remove a host's own keys: its name from lines that list several, the whole line where it stands alone.

    Patterns with wildcards, revoked keys and authorities are the admin's policy and stay.
    """
    numbers = {
        entry.line: entry
        for entry in parse_known_hosts(text, path)
        if not entry.marker and any(_names_exactly(pattern, name) for pattern in entry.patterns)
    }
    kept: list[str] = []
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        entry = numbers.get(number)
        if entry is None:
            kept.append(line)
            continue
        others = [pattern for pattern in entry.patterns if not _names_exactly(pattern, name)]
        if any(not pattern.startswith("!") for pattern in others):
            kept.append(line.replace(",".join(entry.patterns), ",".join(others), 1))
    return PinPlan(path, text, "".join(kept))


def _names_exactly(pattern: str, name: str) -> bool:
    return not any(wild in pattern for wild in "*?!") and _pattern_matches(pattern, name)


def decide(
    entries: Sequence[KnownHost],
    name: str,
    shown: HostKey,
    *,
    fingerprints: Sequence[str] = (),
    trust_on_first_use: bool = False,
    replace: bool = False,
) -> Literal["keep", "pin", "replace"]:
    """Say what to do about the key that a host showed, or raise why it is not to be trusted.

    ``fingerprints`` are those that the admin vouches for; when there are any, no other key is accepted, pinned or not.
    ``replace`` allows a vouched-for key to take the place of another one.
    """
    vouched = [normalise_fingerprint(text) for text in fingerprints]
    if vouched and shown.fingerprint not in vouched:
        raise ChangedHostKeyError(
            f"{name} shows the {shown.type} key {shown.fingerprint}, but the fingerprint that you gave is "
            f"{' or '.join(vouched)}. Either the fingerprint was copied wrongly or is of another host, or somebody is "
            "between you and it. Compare both with the host's console "
            "(`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`). Nothing was pinned."
        )
    try:
        check(entries, name, shown)
    except UnknownHostKeyError:
        if vouched or trust_on_first_use:
            return "pin"
        raise
    except ChangedHostKeyError:
        revoked = any(entry.marker == "@revoked" and entry.key == shown for entry in keys_of(entries, name))
        if vouched and replace and not revoked:
            return "replace"
        raise
    return "keep"


def edit_known_hosts(path: str, change: Callable[[str], PinPlan]) -> PinPlan:
    """Plan on the file's present text and put the new one in place by rename, while nobody else of us edits it.

    A new file gets 0600 and its directory 0700; an old one keeps its mode, and a symlink stays one.
    """
    named = Path(path).expanduser()
    target = named.resolve() if named.is_symlink() else named
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The directory is locked, not the file: the file is replaced. Forks for other hosts edit the same one.
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        plan = change(read_text(str(target)))
        if plan.changed:
            _replace(target, plan.after)
        return plan
    finally:
        os.close(directory)


def _replace(target: Path, text: str) -> None:
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.chmod(mode)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read_text(path: str) -> str:
    """Give a known_hosts file's text, empty when there is no such file."""
    try:
        return Path(path).expanduser().read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return ""


def scan_host_key(
    host: str,
    port: int = SSH_PORT,
    key_type: str | None = None,
    timeout: float = 10.0,
    sock: socket.socket | paramiko.Channel | None = None,
) -> HostKey:
    """Read the key that the server at an address proves to own, without logging in.

    ``key_type`` asks for one type; without it the server's best is taken. ``sock`` is used instead of a new connection
    (a jump host's channel). UnreachableError when nothing answers, SshError when the server has no key of that type.
    """
    where = known_hosts_name(host, port)
    if sock is None:
        try:
            sock = socket.create_connection((host, port), timeout=timeout)
        except OSError as error:
            raise UnreachableError(
                f"no SSH server answers at {host} port {port}: {error.strerror or error}. "
                "Check the address (ansible_host, ansible_port), that the host is up, and the firewalls between."
            ) from error
    transport = paramiko.Transport(sock)
    try:
        transport.banner_timeout = timeout
        order = prefer_key_types(transport.get_security_options().key_types, [key_type] if key_type else KEY_TYPES)
        if key_type:
            order = tuple(name for name in order if name in _SIGNATURES.get(key_type, (key_type,)))
            if not order:
                raise SshError(f"host key type {key_type!r} is not known; known are {', '.join(KEY_TYPES)}")
        transport.get_security_options().key_types = order
        transport.start_client(timeout=timeout)
        return HostKey.of(transport.get_remote_server_key())
    except paramiko.ssh_exception.IncompatiblePeer as error:
        raise SshError(f"{where} offers no host key of type {key_type or 'that is safe to use'}: {error}") from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise UnreachableError(
            f"something answers at {where}, but it does not speak SSH as it should: {error}"
        ) from error
    finally:
        transport.close()


def prefer_key_types(offered: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """Signature algorithms in an order that makes the server show a key of a wanted type if it has one."""
    available = tuple(offered)
    first = [name for key_type in wanted for name in _SIGNATURES.get(key_type, (key_type,)) if name in available]
    return tuple(dict.fromkeys([*first, *available]))
