# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One SSH connection to one host: where it goes, with which key, and whom it trusts."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import missing

from .errors import (
    AuthenticationError,
    RemoteCommandError,
    SshError,
    TargetError,
    UnknownHostKeyError,
    UnreachableError,
)
from .host_keys import (
    HostKey,
    KnownHost,
    check,
    edit_known_hosts,
    keys_of,
    plan_pin,
    prefer_key_types,
    read_known_hosts,
)
from .target import SshTarget, target_from_vars

try:
    import paramiko
except ImportError as error:
    paramiko = missing("paramiko", error)

if TYPE_CHECKING:
    from collections.abc import Sequence

    _Policy = paramiko.MissingHostKeyPolicy
else:
    _Policy = object  # paramiko only asks it for one method

__all__ = [
    "NO_PRIVILEGE",
    "CommandResult",
    "Privilege",
    "SshTarget",
    "connect",
    "open_channel",
    "privilege",
    "run",
    "run_script",
    "target_from_vars",
]

# What OpenSSH tries when nobody names a key.
DEFAULT_IDENTITIES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
# AES-GCM needs one pass over the data where AES-CTR with HMAC needs two.
_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr", "aes192-ctr")
_WINDOW = 32 * 1024 * 1024


class _CheckedKeys(_Policy):
    """Decides on every host key by our own reading of known_hosts (several keys of a type, hashes, revocations)."""

    def __init__(self, target: SshTarget, entries: Sequence[KnownHost]) -> None:
        self.target = target
        self.entries = entries
        self.shown: HostKey | None = None

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        self.shown = HostKey.of(key)
        if self.target.policy == "off":
            return
        try:
            check(self.entries, self.target.key_name, self.shown)
        except UnknownHostKeyError:
            if self.target.policy != "accept-new":
                raise
            path, name, shown = self.target.known_hosts[0], self.target.key_name, self.shown
            if path != os.devnull:
                edit_known_hosts(path, lambda text: plan_pin(text, path, name, [shown]))


def connect(target: SshTarget) -> paramiko.SSHClient:
    """Log in. The caller closes the client (a ``with`` statement does), and with it the way over a jump host.

    Raises UnreachableError, UnknownHostKeyError, ChangedHostKeyError, AuthenticationError or TargetError.
    """
    entries = [] if target.policy == "off" else read_known_hosts(target.known_hosts)
    known_types = [entry.key.type for entry in keys_of(entries, target.key_name) if not entry.marker]
    key_files = _key_files(target)

    def transport(sock: Any, *, disabled_algorithms: Any = None, **_more: Any) -> paramiko.Transport:
        made = paramiko.Transport(sock, default_window_size=_WINDOW, disabled_algorithms=disabled_algorithms)
        options = made.get_security_options()
        options.ciphers = tuple(name for name in _CIPHERS if name in options.ciphers)
        options.key_types = prefer_key_types(options.key_types, known_types)
        return made

    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(_CheckedKeys(target, entries))
    jump: paramiko.SSHClient | None = None
    try:
        if target.jump is not None:
            jump = connect(target.jump)
            sock: Any = open_channel(jump, target.host, target.port, timeout=target.timeout)
        else:
            sock = _tcp(target)
        client.connect(
            target.host,
            port=target.port,
            username=target.user,
            password=target.password,
            key_filename=cast("str | None", key_files or None),  # a list is taken too
            passphrase=target.key_passphrase,
            timeout=target.timeout,
            banner_timeout=target.timeout,
            auth_timeout=max(target.timeout, 15.0),
            allow_agent=target.allow_agent,
            look_for_keys=False,
            sock=sock,
            transport_factory=transport,
        )
        live = client.get_transport()
        if live is not None and target.keepalive:
            live.set_keepalive(target.keepalive)
        if jump is not None:
            _close_together(client, jump)
    except BaseException as error:
        client.close()
        if jump is not None:
            jump.close()
        translated = _translate(target, key_files, error)
        if translated is None:
            raise
        raise translated from error
    return client


def _translate(target: SshTarget, key_files: Sequence[str], error: BaseException) -> SshError | None:
    if isinstance(error, SshError) or not isinstance(error, Exception):
        return None
    if isinstance(error, paramiko.PasswordRequiredException):
        return AuthenticationError(
            f"a key for {target.label} is protected by a passphrase, and none was given ({', '.join(key_files)}). "
            "Set ansible_ssh_private_key_passphrase, or load the key into an agent and set stagecraft_ssh_agent: true."
        )
    if isinstance(error, paramiko.BadAuthenticationType | paramiko.AuthenticationException):
        offered = [f"key {path}" for path in key_files]
        offered += ["the keys of the SSH agent"] if target.allow_agent else []
        offered += ["a password"] if target.password is not None else []
        accepted = getattr(error, "allowed_types", None)
        return AuthenticationError(
            f"{target.label} refused the login. Offered: {', '.join(offered) or 'nothing (no key, no password)'}."
            + (f" The host takes: {', '.join(accepted)}." if accepted else "")
            + " Check ansible_user and ansible_ssh_private_key_file (or ansible_password for a first login); keys that"
            " only an agent holds are offered when stagecraft_ssh_agent is true."
        )
    if isinstance(error, paramiko.SSHException) and "No authentication methods available" in str(error):
        return AuthenticationError(
            f"there is nothing to log in to {target.label} with: no key file and no password is set and none of "
            f"{', '.join(DEFAULT_IDENTITIES)} exists. Set ansible_ssh_private_key_file (or ansible_password for "
            "a first login, or stagecraft_ssh_agent: true)."
        )
    if isinstance(error, paramiko.SSHException | EOFError | OSError):
        return UnreachableError(
            f"something answers at {target.label}, but no SSH session came about within {target.timeout:g} s: "
            f"{error or type(error).__name__}. Look at sshd's log on the host."
        )
    return None


def _tcp(target: SshTarget) -> socket.socket:
    try:
        sock = socket.create_connection((target.host, target.port), timeout=target.timeout)
    except OSError as error:
        raise UnreachableError(
            f"no SSH server answers at {target.label}: {error.strerror or error}. "
            "Check ansible_host and ansible_port, that the host is up, and the firewalls between."
        ) from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _key_files(target: SshTarget) -> list[str]:
    """Files to offer, expanded. One that was asked for by name must exist."""
    named = [target.key_file] if target.key_file else []
    missing = [name for name in named if not Path(name).expanduser().is_file()]
    if missing:
        raise TargetError(
            f"the private key {missing[0]} for {target.label} does not exist on the controller. "
            "Correct ansible_ssh_private_key_file."
        )
    wanted = [*named, *target.more_key_files]
    if not wanted and target.password is None and not target.allow_agent:
        wanted = list(DEFAULT_IDENTITIES)
    return [str(path) for path in (Path(name).expanduser() for name in wanted) if path.is_file()]


def _close_together(client: paramiko.SSHClient, jump: paramiko.SSHClient) -> None:
    """Let closing a client also close the connection to its jump host."""
    close_client = client.close

    def close() -> None:
        close_client()
        jump.close()

    client.close = close  # type: ignore[method-assign]


def open_channel(client: paramiko.SSHClient, host: str, port: int, timeout: float = 10.0) -> paramiko.Channel:
    """Open a TCP connection from the far host to ``host:port``; the channel behaves like a socket.

    UnreachableError when it is refused.
    """
    transport = client.get_transport()
    if transport is None or not transport.is_active():
        raise UnreachableError(f"the SSH connection through which {host}:{port} was to be reached is closed.")
    try:
        return transport.open_channel("direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=timeout)
    except paramiko.ChannelException as error:
        reason = {
            1: "its sshd forbids forwarding (AllowTcpForwarding, PermitOpen, or a `restrict` on the key)",
            2: "nothing accepts connections there",
        }.get(error.code, error.text)
        raise UnreachableError(f"{_peer(transport)} cannot open a connection to {host}:{port}: {reason}.") from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise UnreachableError(f"no connection to {host}:{port} through {_peer(transport)}: {error}") from error


def _peer(transport: paramiko.Transport) -> str:
    with contextlib.suppress(Exception):
        address = transport.getpeername()
        return f"the host at {address[0]}:{address[1]}"
    return "the SSH host"


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command on the host answered."""

    status: int
    stdout: str
    stderr: str


def run(
    client: paramiko.SSHClient,
    command: str,
    *,
    stdin: str | bytes = b"",
    timeout: float | None = None,
    check_status: bool = True,
) -> CommandResult:
    """Run one command line by the user's login shell and wait for it.

    ``timeout`` (seconds) bounds each wait for output. RemoteCommandError when it ends with a status other than zero
    and ``check_status`` is set; UnreachableError when the connection breaks or nothing comes for too long.
    """
    transport = client.get_transport()
    if transport is None:
        raise UnreachableError("the SSH connection is closed.")
    try:
        channel = transport.open_session(timeout=timeout)
        with contextlib.closing(channel):
            channel.settimeout(timeout)
            channel.exec_command(command)
            data = stdin.encode() if isinstance(stdin, str) else stdin
            output = _Collector(channel)
            output.feed(data)
            status = channel.recv_exit_status()
    except TimeoutError as error:
        raise UnreachableError(
            f"{_peer(transport)} gave no answer to `{_short(command)}` within {timeout:g} s." if timeout else str(error)
        ) from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise UnreachableError(
            f"the connection to {_peer(transport)} broke during `{_short(command)}`: {error or type(error).__name__}"
        ) from error
    result = CommandResult(status, output.text(output.out), output.text(output.err))
    if status != 0 and check_status:
        raise RemoteCommandError(
            f"`{_short(command)}` ended with status {status} on {_peer(transport)}: "
            f"{(result.stderr or result.stdout).strip() or 'no output'}",
            status,
            result.stdout,
            result.stderr,
        )
    return result


class _Collector:
    """Feeds standard input and drains both outputs of a channel in turn, so that no window ever fills and blocks."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self.channel = channel
        self.out = bytearray()
        self.err = bytearray()

    def feed(self, data: bytes) -> None:
        view = memoryview(data)
        while view and not self.channel.exit_status_ready():
            self._drain()
            sent = self.channel.send(bytes(view[:32768]))
            if sent == 0:
                break
            view = view[sent:]
        with contextlib.suppress(OSError):
            self.channel.shutdown_write()
        while chunk := self.channel.recv(65536):
            self.out += chunk
            self._drain()
        while chunk := self.channel.recv_stderr(65536):
            self.err += chunk

    def _drain(self) -> None:
        while self.channel.recv_ready():
            self.out += self.channel.recv(65536)
        while self.channel.recv_stderr_ready():
            self.err += self.channel.recv_stderr(65536)

    @staticmethod
    def text(data: bytearray) -> str:
        return data.decode("utf-8", errors="replace")


def _short(command: str) -> str:
    return command if len(command) <= 120 else command[:117] + "..."


@dataclass(frozen=True, slots=True)
class Privilege:
    """How commands become root: words to put before them, bytes to put first on their standard input."""

    words: str = ""
    secret: bytes = field(default=b"", repr=False)


NO_PRIVILEGE = Privilege()


def privilege(client: paramiko.SSHClient, target: SshTarget) -> Privilege:
    """Find out how commands of this target become root; nothing is needed for root and for one without ``become``.

    AuthenticationError when sudo refuses.
    """
    if not target.become or target.user == "root":
        return Privilege()
    probe = run(client, "sudo -n true", check_status=False)
    if probe.status == 0:
        return Privilege("sudo -n ")
    said = (probe.stderr or probe.stdout).strip() or f"status {probe.status}"
    if target.become_password is not None:
        secret = target.become_password.encode() + b"\n"
        test = run(client, "sudo -k -S -p '' true", stdin=secret, check_status=False)
        if test.status == 0:
            return Privilege("sudo -k -S -p '' ", secret)
        said = (test.stderr or test.stdout).strip() or f"status {test.status}"
    raise AuthenticationError(
        f"{target.label} cannot become root by sudo: {said}. Allow the user sudo without a password "
        "(playbooks/bootstrap-access.yml does), or set ansible_become_password."
    )


def run_script(
    client: paramiko.SSHClient, script: str, rights: Privilege = NO_PRIVILEGE, timeout: float | None = 120
) -> CommandResult:
    """Run a POSIX sh script; its text goes by standard input, so nothing of it shows in the host's process list."""
    return run(client, f"{rights.words}sh -s", stdin=rights.secret + script.encode(), timeout=timeout)
