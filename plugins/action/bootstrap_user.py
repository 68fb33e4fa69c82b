# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.bootstrap_user; the module of the same name holds the documentation."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh import bootstrap
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh._action import SshAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.connection import (
    Privilege,
    connect,
    privilege,
    run,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import (
    AuthenticationError,
    SshError,
    TargetError,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import paramiko
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.target import SshTarget

# How long sshd may take to listen again after it was told to read its configuration.
_RELOAD_SECONDS = 15.0


class ActionModule(SshAction):
    """Turn a first login into a login by key, without ever closing the way in before the new one is proved."""

    argument_spec = ArgumentSpec(
        options={
            "user": {"type": "str"},
            "public_keys": {"type": "list", "elements": "str", "default": [], "no_log": False},
            "private_key_file": {"type": "path", "no_log": False},
            "login_user": {"type": "str"},
            "login_password": {"type": "str", "no_log": True},
            "login_key_file": {"type": "path", "no_log": False},
            "sudo": {"type": "bool", "default": True},
            "disable_password_login": {"type": "bool", "default": True, "no_log": False},
            "exclusive": {"type": "bool", "default": False},
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Observe by whatever way in there is, plan, and apply with a proof between the steps."""
        base = self.target(task_vars, become=False)
        later = _later(base, options)
        wanted = bootstrap.Access(
            user=later.user,
            keys=tuple(options["public_keys"]) or _public_key(later),
            sudo=options["sudo"],
            disable_password_login=options["disable_password_login"],
            exclusive=options["exclusive"],
        )
        bootstrap.check_wanted(wanted)
        with contextlib.ExitStack() as stack:
            client, way_in, by_key = _enter(later, _first(base, options), stack)
            rights = privilege(client, way_in)
            state = bootstrap.observe(client, wanted.user, rights)
            changes = bootstrap.plan(state, wanted)
            if changes and not self.check_mode:
                _apply((client, rights), later, state, wanted, changes)
        result: dict[str, Any] = {
            "changed": bool(changes),
            "user": wanted.user,
            "private_key_file": later.key_file or "",
            "logged_in_by": "key" if by_key else "first login",
            "changes": [{"step": item.step, "before": item.before, "after": item.after} for item in changes],
        }
        if self._task.diff:
            result["diff"] = [
                {
                    "before_header": item.step,
                    "after_header": item.step,
                    "before": f"{item.before}\n",
                    "after": f"{item.after}\n",
                }
                for item in changes
            ]
        return result


def _later(base: SshTarget, options: Mapping[str, Any]) -> SshTarget:
    """The way in that is wanted: by key, as the wanted user."""
    user = options["user"] or base.user
    key_file = options["private_key_file"] or base.key_file
    if key_file is None and not base.allow_agent:
        raise TargetError(
            f"{base.label}: which key is to open the host? Give private_key_file or set ansible_ssh_private_key_file."
        )
    return replace(base, user=user, key_file=key_file, password=None, become=user != "root")


def _first(base: SshTarget, options: Mapping[str, Any]) -> SshTarget:
    """The way in that the provider gave."""
    user = options["login_user"] or base.user
    password = options["login_password"] or base.password
    key_file = options["login_key_file"] or (None if password else base.key_file)
    return replace(
        base,
        user=user,
        password=password,
        key_file=key_file,
        more_key_files=() if password else base.more_key_files,
        become=user != "root",
        become_password=base.become_password or password,
    )


def _public_key(target: SshTarget) -> tuple[str, ...]:
    path = Path(f"{target.key_file}.pub").expanduser()
    try:
        return (path.read_text(encoding="utf-8").strip(),)
    except OSError as error:
        raise TargetError(
            f"the public key {path} cannot be read ({error.strerror}). Give public_keys, or make the file: "
            f"ssh-keygen -y -f {target.key_file} > {path}"
        ) from error


def _enter(
    later: SshTarget, first: SshTarget, stack: contextlib.ExitStack
) -> tuple[paramiko.SSHClient, SshTarget, bool]:
    """Log in by the key if that works already, else as the provider says."""
    try:
        client = stack.enter_context(connect(later))
        privilege(client, later)
    except AuthenticationError as refused:
        try:
            return stack.enter_context(connect(first)), first, False
        except AuthenticationError as error:
            raise AuthenticationError(f"neither way in is open. By key: {refused} First login: {error}") from error
    return client, later, True


def _apply(
    connection: tuple[paramiko.SSHClient, Privilege],
    later: SshTarget,
    state: bootstrap.AccessState,
    wanted: bootstrap.Access,
    changes: list[bootstrap.Change],
) -> None:
    client, rights = connection
    if any(change.step != "sshd" for change in changes):
        bootstrap.install(client, state, wanted, changes, rights)
    _prove(later, "the key was installed, but it does not open the host; password logins were left as they are")
    if not any(change.step == "sshd" for change in changes):
        return
    bootstrap.harden(client, state, rights)
    try:
        _prove(later, "sshd was told to refuse passwords, and then the key did not open the host any more")
        _settled(bootstrap.plan(bootstrap.observe(client, wanted.user, rights), wanted), later)
    except SshError:
        bootstrap.soften(client, state, rights)
        raise


def _settled(left: list[bootstrap.Change], later: SshTarget) -> None:
    if left:
        raise SshError(
            f"{later.label} does not keep to its new settings; in force are still: {left[0].before}. Something else in "
            "/etc/ssh/sshd_config sets them, before its Include line or in a Match block; take it out. The "
            "configuration was put back."
        )


def _prove(later: SshTarget, otherwise: str) -> None:
    """Log in by the key on a connection of its own and become root there.

    An sshd that reads its configuration again does not listen for a moment: only what lasts is a failure.
    """
    deadline = time.monotonic() + _RELOAD_SECONDS
    while True:
        try:
            with connect(later) as client:
                privilege(client, later)
                run(client, "true", timeout=later.timeout)
        except UnreachableError as error:
            if time.monotonic() > deadline:
                raise UnreachableError(f"{otherwise}: {error}") from error
            time.sleep(0.1)
        except SshError as error:
            raise AuthenticationError(f"{otherwise}: {error}") from error
        else:
            return
