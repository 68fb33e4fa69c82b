# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host is meant: Ansible's variables, OpenSSH's options and the admin's ssh_config, read as OpenSSH would."""

from __future__ import annotations

import getpass
import re
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._libraries import missing

from .errors import TargetError
from .host_keys import SSH_PORT, known_hosts_name

try:
    import paramiko
except ImportError as error:
    paramiko = missing("paramiko", error)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KnownHostsPolicy = Literal["reject", "accept-new", "off"]

# What OpenSSH reads when nobody names files; the first is the one that is written.
DEFAULT_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts")
DEFAULT_SSH_CONFIG = "~/.ssh/config"

# Ansible's variables for each setting; where several are set, the last one wins, as in Ansible's own plugin.
VARIABLES: dict[str, tuple[str, ...]] = {
    "host": ("inventory_hostname", "ansible_host", "ansible_ssh_host"),
    "port": ("ansible_port", "ansible_ssh_port"),
    "user": ("ansible_user", "ansible_ssh_user"),
    "password": ("ansible_password", "ansible_ssh_pass", "ansible_ssh_password"),
    "key_file": ("ansible_private_key_file", "ansible_ssh_private_key_file"),
    "key_text": ("ansible_private_key", "ansible_ssh_private_key"),
    "key_passphrase": ("ansible_private_key_passphrase", "ansible_ssh_private_key_passphrase"),
    "ssh_args": ("ansible_ssh_args",),
    "common_args": ("ansible_ssh_common_args",),
    "extra_args": ("ansible_ssh_extra_args",),
    "host_key_checking": ("ansible_host_key_checking", "ansible_ssh_host_key_checking"),
    "timeout": ("ansible_ssh_timeout",),
    "become": ("ansible_become",),
    "become_user": ("ansible_become_user", "ansible_sudo_user"),
    "become_method": ("ansible_become_method",),
    "become_password": ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"),
    "connection": ("ansible_connection",),
    "agent": ("stagecraft_ssh_agent",),
}
_CONNECTIONS = ("ssh", "smart", "ansible.builtin.ssh", "paramiko", "paramiko_ssh", "ansible.netcommon.libssh")
_STRICT: dict[str, KnownHostsPolicy] = {
    "yes": "reject",
    "true": "reject",
    "ask": "reject",
    "accept-new": "accept-new",
    "no": "off",
    "off": "off",
    "false": "off",
}
# OpenSSH's one-letter options that take an argument; what they stand for, where it matters here.
_WITH_ARGUMENT = {
    **dict.fromkeys("BbcDEeILmOQRSWw", ""),
    "i": "identityfile",
    "p": "port",
    "l": "user",
    "J": "proxyjump",
}
_MULTIPLE = ("identityfile",)
_HOP = re.compile(
    r"(?:ssh://)?(?:(?P<user>[^@]+)@)?"
    r"(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:\[\]]+))"
    r"(?::(?P<port>\d+))?/?"
)


@dataclass(frozen=True, slots=True)
class SshTarget:
    """Where and how to log in.

    ``known_hosts`` are files that are read for the host's key; ``policy`` says what happens with a host that is not in
    them: ``reject``, ``accept-new`` (write its key into the first file) or ``off`` (trust anybody, as the admin told
    OpenSSH to by StrictHostKeyChecking=no). A changed key is refused by the first two. ``timeout`` and ``keepalive``
    are in seconds. ``become`` runs commands and file transfers as root by sudo. ``jump`` is the host to go through.
    """

    host: str
    port: int = SSH_PORT
    user: str = "root"
    key_file: str | None = None
    password: str | None = field(default=None, repr=False)
    known_hosts: tuple[str, ...] = DEFAULT_KNOWN_HOSTS
    policy: KnownHostsPolicy = "reject"
    name: str = ""
    more_key_files: tuple[str, ...] = ()
    key_passphrase: str | None = field(default=None, repr=False)
    allow_agent: bool = False
    host_key_alias: str | None = None
    timeout: float = 10.0
    keepalive: int = 15
    become: bool = False
    become_password: str | None = field(default=None, repr=False)
    jump: SshTarget | None = None

    @property
    def label(self) -> str:
        """``inventory name (user@host port N)``, as it stands in messages."""
        address = f"{self.user}@{self.host} port {self.port}"
        return f"{self.name} ({address})" if self.name and self.name != self.host else address

    @property
    def key_name(self) -> str:
        """The name under which known_hosts files list this host."""
        return self.host_key_alias or known_hosts_name(self.host, self.port)


def target_from_vars(
    task_vars: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any] | None = None,
    become: bool | None = None,
    ssh_config: str | None = DEFAULT_SSH_CONFIG,
) -> SshTarget:
    """Build the target from a host's variables (``task_vars`` or ``hostvars[name]``), already templated.

    ``defaults`` are values by the names in `VARIABLES`, for what the variables leave open (ansible.cfg, command line).
    ``become`` overrides ``ansible_become``. ``ssh_config`` is the admin's own file; None to read none.
    TargetError, with all problems in one message, when the variables describe no host that we can reach.
    """
    settings = dict(defaults or {})
    settings.update(_settings(task_vars))
    name = str(task_vars.get("inventory_hostname") or settings.get("host") or "")
    problems = _refusals(settings)
    if problems:
        raise TargetError(f"{name or 'the host'} cannot be reached by SSH: {'; '.join(problems)}.")
    alias = str(settings["host"])
    given, config = _options(settings, ssh_config)
    options = {**_config_lookup(config, alias), **given}
    timeout = float(settings.get("timeout") or _one(options, "connecttimeout") or 10)
    wants_root = bool(_boolean(settings.get("become"))) if become is None else become
    target = SshTarget(
        host=_one(options, "hostname") or alias,
        port=_port(settings.get("port", _one(options, "port") or SSH_PORT), name),
        user=str(settings.get("user") or _one(options, "user") or getpass.getuser()),
        key_file=_text(settings.get("key_file")),
        password=_text(settings.get("password")),
        known_hosts=_known_hosts(options),
        policy=_policy(settings, options, name),
        name=name,
        key_passphrase=_text(settings.get("key_passphrase")),
        allow_agent=bool(_boolean(settings.get("agent"))),
        host_key_alias=_one(options, "hostkeyalias"),
        timeout=timeout,
        become=wants_root,
        become_password=_text(settings.get("become_password")),
    )
    more = tuple(_expand(path, target) for path in options.get("identityfile", []))
    target = replace(
        target,
        key_file=_expand(target.key_file, target) if target.key_file else None,
        more_key_files=more,
        known_hosts=tuple(_expand(path, target) for path in target.known_hosts),
    )
    return replace(target, jump=_jump(options, target, config))


def _settings(task_vars: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for setting, names in VARIABLES.items():
        for name in names:
            value = task_vars.get(name)
            if value is not None and value != "":
                found[setting] = value
    return found


def _refusals(settings: Mapping[str, Any]) -> list[str]:
    problems = []
    connection = settings.get("connection")
    if connection is not None and connection not in _CONNECTIONS:
        problems.append(f"ansible_connection is {connection!r}, wanted is ssh")
    if not settings.get("host"):
        problems.append("neither ansible_host nor inventory_hostname is set")
    for setting, value in settings.items():
        if isinstance(value, str) and "{{" in value:
            problems.append(f"{VARIABLES[setting][-1]} is still a template ({value})")
    if settings.get("key_text") and not settings.get("key_file"):
        problems.append(
            "ansible_ssh_private_key holds the key itself; put it in a file and name that in "
            "ansible_ssh_private_key_file"
        )
    if _boolean(settings.get("become")):
        method = settings.get("become_method", "sudo")
        if str(method).rpartition(".")[2] != "sudo":
            problems.append(f"ansible_become_method is {method!r}, only sudo is supported here")
        if str(settings.get("become_user", "root")) != "root":
            problems.append(f"ansible_become_user is {settings['become_user']!r}, only root is supported here")
    return problems


def _options(settings: Mapping[str, Any], ssh_config: str | None) -> tuple[dict[str, list[str]], str | None]:
    """OpenSSH's options from the three argument strings, first one wins, and the configuration file that counts."""
    options: dict[str, list[str]] = {}
    for setting in ("ssh_args", "common_args", "extra_args"):
        text = _text(settings.get(setting)) or ""
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise TargetError(f"{VARIABLES[setting][0]} cannot be read ({error}): {text}") from error
        parsed, config, _rest = parse_arguments(words)
        ssh_config = config or ssh_config
        for key, values in parsed.items():
            if key in _MULTIPLE:
                options.setdefault(key, []).extend(values)
            else:
                options.setdefault(key, values)
    return options, ssh_config


def parse_arguments(words: Sequence[str]) -> tuple[dict[str, list[str]], str | None, list[str]]:
    """Read ssh's command line: options by lower-case name, the -F file, and what is neither (host, command).

    Of an option given twice the first counts, except those that add up (IdentityFile).
    """
    options: dict[str, list[str]] = {}
    rest: list[str] = []
    config: str | None = None

    def put(key: str, value: str) -> None:
        if key in _MULTIPLE:
            options.setdefault(key, []).append(value)
        elif key:
            options.setdefault(key, [value])

    queue = list(words)
    while queue:
        word = queue.pop(0)
        if not word.startswith("-") or len(word) < 2:
            rest.append(word)
            continue
        letter, value = word[1], word[2:]
        if letter not in _WITH_ARGUMENT and letter not in "oF":
            if value:
                queue.insert(0, "-" + value)
            continue
        if not value and queue:
            value = queue.pop(0)
        if letter == "F":
            config = config or value
        elif letter == "o":
            key, _unused, setting = re.sub(r"\s*=\s*|\s+", "=", value.strip(), count=1).partition("=")
            put(key.lower(), setting.strip().strip('"'))
        else:
            put(_WITH_ARGUMENT[letter] or ("forwardstdio" if letter == "W" else ""), value)
    return options, config, rest


def _config_lookup(path: str | None, alias: str) -> dict[str, list[str]]:
    if path is None or path == "none" or not Path(path).expanduser().is_file():
        return {}
    try:
        parsed = paramiko.SSHConfig.from_path(str(Path(path).expanduser()))
        found: Mapping[str, Any] = parsed.lookup(alias)
    except (paramiko.SSHException, OSError, ImportError, UnicodeDecodeError) as error:
        raise TargetError(
            f"{path} has something in it that is not understood here: {error}. Put the host's settings in the "
            "inventory and `-F /dev/null` in ansible_ssh_common_args."
        ) from error
    return {key: list(value) if isinstance(value, list) else [str(value)] for key, value in found.items()}


def _jump(options: Mapping[str, list[str]], target: SshTarget, config: str | None) -> SshTarget | None:
    command = _one(options, "proxycommand")
    chain = _one(options, "proxyjump")
    if chain and chain.lower() != "none":
        jump: SshTarget | None = None
        for hop in chain.split(","):
            jump = replace(_hop(hop.strip(), {}, target, config), jump=jump)
        return jump
    if not command or command.lower() == "none":
        return None
    words = shlex.split(command)
    if words and Path(words[0]).name == "ssh":
        given, own_config, rest = parse_arguments(words[1:])
        if _one(given, "forwardstdio") in {"%h:%p", "[%h]:%p"} and len(rest) == 1 and "proxyjump" not in given:
            return _hop(rest[0], given, target, own_config or config)
    raise TargetError(
        f"{target.label} is reached by a ProxyCommand that cannot be used here: {command}. "
        "Write it as ProxyJump: ansible_ssh_common_args: -o ProxyJump=user@gateway"
    )


def _hop(text: str, given: Mapping[str, list[str]], target: SshTarget, config: str | None) -> SshTarget:
    """Read a jump host. What neither it nor ssh_config says about keys is taken from the host behind it."""
    found = _HOP.fullmatch(text)
    if found is None:
        raise TargetError(f"the jump host {text!r} of {target.label} is not understood; wanted is [user@]host[:port].")
    alias = found["v6"] or found["host"]
    options = {**_config_lookup(config, alias), **given}
    identities = tuple(_expand(path, target) for path in options.get("identityfile", []))
    return SshTarget(
        host=_one(options, "hostname") or alias,
        port=_port(found["port"] or _one(options, "port") or SSH_PORT, text),
        user=found["user"] or _one(options, "user") or getpass.getuser(),
        key_file=None if identities else target.key_file,
        more_key_files=identities or target.more_key_files,
        key_passphrase=target.key_passphrase,
        known_hosts=_known_hosts(options) if "userknownhostsfile" in options else target.known_hosts,
        policy=_policy({}, options, text) if "stricthostkeychecking" in options else target.policy,
        allow_agent=target.allow_agent,
        host_key_alias=_one(options, "hostkeyalias"),
        timeout=target.timeout,
        name=f"jump host {text}",
    )


def _known_hosts(options: Mapping[str, list[str]]) -> tuple[str, ...]:
    own = shlex.split(_one(options, "userknownhostsfile") or "") or list(DEFAULT_KNOWN_HOSTS[:2])
    everyone = shlex.split(_one(options, "globalknownhostsfile") or "") or [DEFAULT_KNOWN_HOSTS[2]]
    return tuple(path for path in [*own, *everyone] if path not in {"none", "/dev/null"}) or ("/dev/null",)


def _policy(settings: Mapping[str, Any], options: Mapping[str, list[str]], name: str) -> KnownHostsPolicy:
    checking = settings.get("host_key_checking")
    strict = _one(options, "stricthostkeychecking")
    if strict is None:
        return "off" if checking is not None and not _boolean(checking) else "reject"
    if strict.lower() not in _STRICT:
        raise TargetError(
            f"StrictHostKeyChecking={strict} of {name} is not understood; known are {', '.join(_STRICT)}."
        )
    return _STRICT[strict.lower()]


def _expand(path: str, target: SshTarget) -> str:
    """``~`` and OpenSSH's tokens in a file's name."""
    tokens = {
        "%": "%",
        "d": str(Path.home()),
        "h": target.host,
        "n": target.name or target.host,
        "p": str(target.port),
        "r": target.user,
        "u": getpass.getuser(),
    }
    replaced = re.sub(r"%([%dhnpru])", lambda found: tokens[found[1]], path)
    return str(Path(replaced).expanduser())


def _one(options: Mapping[str, list[str]], key: str) -> str | None:
    values = options.get(key)
    return values[0] if values else None


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _boolean(value: Any) -> bool | None:
    if isinstance(value, str):
        return value.strip().lower() in {"1", "true", "yes", "on", "y", "t"}
    return None if value is None else bool(value)


def _port(value: Any, name: str) -> int:
    try:
        port = int(value)
    except (TypeError, ValueError):
        port = 0
    if not 0 < port < 65536:
        raise TargetError(f"the SSH port of {name} is {value!r}; wanted is a number from 1 to 65535 (ansible_port).")
    return port
