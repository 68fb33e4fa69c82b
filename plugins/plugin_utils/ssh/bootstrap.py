# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a host with a password to a host with a key: what is there, what is missing, and how to do it without lock-out.

`observe` reads, `plan` is pure, `install` and `harden` carry out. The caller logs in by the key between the two, on a
second connection, and keeps the first until a third one shows that the hardened sshd lets it in as well.
"""

from __future__ import annotations

import base64
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .connection import NO_PRIVILEGE, Privilege, run_script
from .errors import SshError
from .host_keys import HostKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    import paramiko

DROP_IN = "/etc/ssh/sshd_config.d/00-stagecraft.conf"
_INCLUDE = f"Include {DROP_IN}"
_END = "STAGECRAFT-END-OF-FILE"
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")

_OBSERVE = r"""
LC_ALL=C; export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export PATH
entry=$(getent passwd USER) && printf '@passwd %s\n' "$entry"
home=$(printf %s "$entry" | cut -d: -f6)
if [ -n "$home" ] && [ -r "$home/.ssh/authorized_keys" ]; then
  sed 's/^/@key /; $a\' "$home/.ssh/authorized_keys"
  printf '@modes %s\n' "$(stat -c '%U:%a' "$home/.ssh" "$home/.ssh/authorized_keys" | tr '\n' ' ')"
fi
for tool in sudo visudo useradd; do command -v $tool >/dev/null 2>&1 && printf '@tool %s\n' $tool; done
[ -r SUDOERS ] && sed 's/^/@sudoers /' SUDOERS
[ -r DROP_IN ] && sed 's/^/@dropin /' DROP_IN
grep -qiE '^[[:space:]]*Include[[:space:]].*(sshd_config\.d/\*|00-stagecraft)' /etc/ssh/sshd_config &&
  echo '@include yes'
sshd -T -C user=USER,host=localhost,addr=127.0.0.1 2>/dev/null | sed 's/^/@sshd /'
echo @finished
"""
_WRITE = r"""
# put PATH MODE OWNER: standard input to a file, whole or not at all
put() {
  temporary=$1.stagecraft.$$
  cat >"$temporary" && chmod "$2" "$temporary" && chown "$3" "$temporary" && mv -f "$temporary" "$1"
}
"""
_RELOAD = r"""
reload() {
  if [ -d /run/systemd/system ]; then
    for unit in ssh sshd; do
      if systemctl is-active --quiet $unit.service; then systemctl reload $unit.service; return; fi
    done
    return 0  # socket activation: the next connection reads the new configuration
  fi
  pid=$(cat /run/sshd.pid /var/run/sshd.pid 2>/dev/null | head -n 1)
  [ -n "$pid" ] && kill -HUP "$pid"
}
"""


@dataclass(frozen=True, slots=True)
class Access:
    """How hosts are to be reached from now on: by ``keys`` (lines of authorized_keys) as ``user``."""

    user: str
    keys: tuple[str, ...]
    sudo: bool = True
    disable_password_login: bool = True
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class AccessState:
    """What a host has of it. ``sshd`` holds the settings in force, by lower-case name; empty where sshd cannot tell."""

    exists: bool = False
    home: str = ""
    shell: str = ""
    keys: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    sudoers: str = ""
    drop_in: str | None = None
    included: bool = False
    sshd: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to do: ``step`` is user, keys, modes, sudo or sshd; before and after are for the admin's eyes."""

    step: str
    before: str
    after: str


def key_identity(line: str) -> HostKey | None:
    """Type and text of the key in a line of authorized_keys, options and comment left out; None when there is none."""
    fields = line.split()
    for place, word in enumerate(fields[:-1]):
        if re.fullmatch(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+", word):
            try:
                blob = base64.b64decode(fields[place + 1], validate=True)
            except ValueError:  # not base64, or not even ASCII
                continue
            if blob[4 : 4 + len(word)] == word.encode():
                return HostKey(word, fields[place + 1])
    return None


def sudoers_path(user: str) -> str:
    """Name the file that lets the user become root without a password."""
    return f"/etc/sudoers.d/stagecraft-{user}"


def check_wanted(wanted: Access) -> None:
    """Refuse what cannot be right before any host is contacted. SshError with all problems."""
    problems = []
    if not _USER.fullmatch(wanted.user):
        problems.append(f"{wanted.user!r} is not a user name (lower case, digits, - and _, at most 32)")
    if not wanted.keys:
        problems.append("no public key was given, so nobody could log in any more")
    problems += [
        f"{line[:60]!r} is not a public key as in an id_ed25519.pub"
        for line in wanted.keys
        if key_identity(line) is None
    ]
    if problems:
        raise SshError(f"the access that was asked for cannot work: {'; '.join(problems)}. Nothing was contacted.")


def observe(client: paramiko.SSHClient, user: str, rights: Privilege = NO_PRIVILEGE) -> AccessState:
    """Read, as root, all that `plan` needs."""
    script = _OBSERVE.replace("USER", user).replace("SUDOERS", sudoers_path(user)).replace("DROP_IN", DROP_IN)
    return parse(run_script(client, script, rights).stdout)


def parse(text: str) -> AccessState:
    """Read the output of the script. SshError when it is cut short."""
    lines = [line[1:].partition(" ")[::2] for line in text.splitlines() if line.startswith("@")]
    if not lines or lines[-1][0] != "finished":
        raise SshError(f"the host's answer about its users is incomplete; it ends with {text[-200:]!r}.")

    def every(key: str) -> list[str]:
        return [value for name, value in lines if name == key]

    passwd = (every("passwd") or [""])[0].split(":")
    drop_in = every("dropin")
    return AccessState(
        exists=len(passwd) == 7,
        home=passwd[5] if len(passwd) == 7 else "",
        shell=passwd[6] if len(passwd) == 7 else "",
        keys=tuple(every("key")),
        modes=tuple((every("modes") or [""])[0].split()),
        tools=tuple(every("tool")),
        sudoers="\n".join(every("sudoers")),
        drop_in="\n".join(drop_in) + "\n" if drop_in else None,
        included=bool(every("include")),
        sshd={name.lower(): value for name, _unused, value in (line.partition(" ") for line in every("sshd"))},
    )


def plan(state: AccessState, wanted: Access) -> list[Change]:
    """List what is missing; empty when the host is as it should be. SshError when it cannot be made so."""
    changes = []
    regular = wanted.user != "root"
    problems = []
    if not state.exists:
        if "useradd" not in state.tools:
            problems.append("there is no useradd to make the user with")
        changes.append(Change("user", "absent", f"{wanted.user}, shell /bin/sh or bash, no password"))
    lines = _authorized_keys(state, wanted)
    if lines != list(state.keys):
        changes.append(Change("keys", _fingerprints(state.keys), _fingerprints(lines)))
    elif state.modes != (f"{wanted.user}:700", f"{wanted.user}:600"):
        changes.append(Change("modes", " ".join(state.modes), f"{wanted.user}:700 {wanted.user}:600"))
    if regular and wanted.sudo and state.sudoers != _sudoers(wanted.user):
        if "sudo" not in state.tools:
            problems.append("sudo is not installed: install it, or take root as the user")
        changes.append(Change("sudo", state.sudoers or "absent", _sudoers(wanted.user)))
    if wanted.disable_password_login:
        if not state.sshd:
            problems.append("`sshd -T` gives no answer, so nobody can tell whether passwords are accepted")
        before = {name: state.sshd.get(name, "") for name in _hardening()}
        after = {name: value for name, value in _hardening().items() if not _in_force(name, before[name], value)}
        if after:
            changes.append(Change("sshd", _settings({name: before[name] for name in after}), _settings(after)))
    if problems:
        raise SshError(f"the host cannot be given to {wanted.user}: {'; '.join(problems)}.")
    return changes


def install(
    client: paramiko.SSHClient, state: AccessState, wanted: Access, changes: Sequence[Change], rights: Privilege
) -> None:
    """Make the user, the keys and the right to become root. The way in that exists stays as it is."""
    steps = {change.step for change in changes}
    user = wanted.user
    script = ["set -e", "umask 077", "PATH=$PATH:/usr/sbin:/sbin", _WRITE]
    if "user" in steps:
        # "*" is no password; without it the account would be locked ("!"), which sshd without PAM refuses by key, too.
        script.append(f"shell=/bin/bash; [ -x $shell ] || shell=/bin/sh; useradd -m -p '*' -s $shell {user}")
    script.append(f"home=$(getent passwd {user} | cut -d: -f6); group=$(id -g {user})")
    if steps & {"user", "keys"}:
        text = "".join(f"{line}\n" for line in _authorized_keys(state, wanted))
        script.append('mkdir -p "$home/.ssh"')
        script.append(f'put "$home/.ssh/authorized_keys" 600 {user}:$group <<"{_END}"\n{text}{_END}')
        script.append('if command -v restorecon >/dev/null 2>&1; then restorecon -R "$home/.ssh"; fi')
    if steps & {"user", "keys", "modes"}:
        script.append(f'chown {user}:$group "$home/.ssh" "$home/.ssh/authorized_keys"')
        script.append('chmod 700 "$home/.ssh"; chmod 600 "$home/.ssh/authorized_keys"')
    if "sudo" in steps:
        path = sudoers_path(user)
        # A broken file in sudoers.d shuts everybody out of sudo: checked under a name that sudo does not read.
        script.append(f"printf '%s\\n' {shlex.quote(_sudoers(user))} | put {path}.new~ 440 root:root")
        script.append(f"visudo -cqf {path}.new~ || {{ rm -f {path}.new~; exit 3; }}")
        script.append(f"mv -f {path}.new~ {path}")
    run_script(client, "\n".join(script) + "\n", rights)


def harden(client: paramiko.SSHClient, state: AccessState, rights: Privilege) -> None:
    """Refuse passwords from now on. The old configuration is put back when sshd does not accept the new one."""
    script = [
        "set -e",
        "umask 022",
        "PATH=$PATH:/usr/sbin:/sbin",
        _WRITE,
        _RELOAD,
        "mkdir -p /etc/ssh/sshd_config.d",
        f'put {DROP_IN} 644 root:root <<"{_END}"\n{_drop_in()}{_END}',
    ]
    if not state.included:
        # The first value counts in sshd_config: the line goes before all others.
        script.append(f"{{ echo '{_INCLUDE}'; cat /etc/ssh/sshd_config; }} | put /etc/ssh/sshd_config 644 root:root")
    script.append(f"if ! sshd -t; then\n{_restore(state)}\nexit 4\nfi")
    script.append("reload")
    run_script(client, "\n".join(script) + "\n", rights)


def soften(client: paramiko.SSHClient, state: AccessState, rights: Privilege) -> None:
    """Put sshd's configuration back as `observe` found it, over the connection that is still open."""
    run_script(client, "\n".join([_WRITE, _RELOAD, _restore(state), "reload"]) + "\n", rights)


def _restore(state: AccessState) -> str:
    lines = [f"rm -f {DROP_IN}"]
    if state.drop_in is not None:
        lines = [f'put {DROP_IN} 644 root:root <<"{_END}"\n{state.drop_in}{_END}']
    if not state.included:
        lines.append(f"sed '1{{\\|^{_INCLUDE}$|d;}}' /etc/ssh/sshd_config | put /etc/ssh/sshd_config 644 root:root")
    return "\n".join(lines)


def _authorized_keys(state: AccessState, wanted: Access) -> list[str]:
    """The lines that the file is to have: what is there stays, in its order, unless the wanted keys are exclusive."""
    wanted_keys = {identity: line for line in wanted.keys if (identity := key_identity(line)) is not None}
    kept = [
        line
        for line in state.keys
        if not wanted.exclusive or key_identity(line) in wanted_keys or key_identity(line) is None
    ]
    # A key that is there with options (restrict, from=, command=) may not let us in: it counts only if it stands plain.
    plain = {identity for line in kept if (identity := key_identity(line)) and line.split()[0] == identity.type}
    return [*kept, *(line.strip() for identity, line in wanted_keys.items() if identity not in plain)]


def _fingerprints(lines: Sequence[str]) -> str:
    found = [identity.fingerprint for line in lines if (identity := key_identity(line)) is not None]
    return ", ".join(found) or "none"


def _sudoers(user: str) -> str:
    return f"{user} ALL=(ALL:ALL) NOPASSWD: ALL"


def _hardening() -> dict[str, str]:
    return {
        "passwordauthentication": "no",
        "kbdinteractiveauthentication": "no",
        "permitrootlogin": "prohibit-password",
        "pubkeyauthentication": "yes",
    }


def _in_force(name: str, found: str, wanted: str) -> bool:
    if name == "permitrootlogin":
        return found in {"prohibit-password", "without-password", "no", "forced-commands-only"}
    return found == wanted


def _drop_in() -> str:
    return (
        "# Written by stagecraft.gitops.bootstrap_user: logins are by key only.\n"
        "PasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\n"
        "PermitRootLogin prohibit-password\n"
        "PubkeyAuthentication yes\n"
    )


def _settings(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {value or 'unknown'}" for name, value in values.items())
