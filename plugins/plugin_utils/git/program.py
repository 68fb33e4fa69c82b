# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The system's git, run for one remote: with its keys and nobody's configuration of a repository, and its words explained."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._addresses import without_credentials
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import BranchMovedError, GitError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Remote

_SILENT = (
    "The line to the server is cut or too slow: check the network and the firewalls between this machine and the address,"
    " and that the Git server runs; then run this again, which goes on from whatever has arrived there"
)
_REASONS = (
    (
        "Host key verification failed",
        "its host key is not the one in the pinned known_hosts. Ask its admin for the key"
        " before you change what is pinned: this is what an attack looks like, too",
    ),
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "its host key is another one than the pinned one. Ask its admin"),
    (
        "Permission denied",
        "it does not accept the key. Allow the key's public half to write there, or name another private key",
    ),
    ("Authentication failed", "it does not accept the credentials"),
    ("could not read Username", "it wants credentials and there are none. Use an ssh:// address with a key"),
    ("Connection refused", "nothing answers at its address and port. Check the address, and that the Git server runs"),
    ("not responding", f"it stopped answering. {_SILENT}"),
    ("Operation too slow", f"it stopped answering. {_SILENT}"),
    ("timed out", "nothing answers at its address in time. Check the address, and the firewalls between"),
    ("Could not resolve host", "its name is not known to DNS. Check the address"),
    ("Name or service not known", "its name is not known to DNS. Check the address"),
    ("No route to host", "there is no way to its address. Check the address and the network"),
    ("protected branch", "the server protects the branch. Allow this key to push to it, or use another branch"),
    ("not appear to be", "the server knows no such repository, or does not show it to this key"),
    ("not exist", "the server knows no such repository, or does not show it to this key"),
    ("not found", "the server knows no such repository, or does not show it to this key"),
)
#: After how many questions without an answer ssh gives a server up, and after what part of the timeout HTTP does.
_UNANSWERED = 3
_QUIET = 0.75
#: How many seconds git has to end those that it started, before it is ended itself.
_LAST = 2.0
#: For how many seconds an SSH connection is kept, as Ansible does; and what a path of a socket may have, with ssh's suffix.
_KEPT = 60
_LONGEST_SOCKET = 90
#: What git and servers say where somebody else was faster; everything else is no reason to try again.
_MOVED = ("fetch first", "non-fast-forward", "cannot lock ref", "incorrect old value provided", "stale info")
_REFUSED = ("hook declined", "protected branch", "not allowed", "permission", "denied")
#: Git asks this program for user and password; it reads them where we say, so that they are in no argument.
_ASKPASS = """#!/bin/sh
case "$1" in
  Username*) printf '%s\\n' "$STAGECRAFT_GIT_USER" ;;
  *) cat -- "$STAGECRAFT_GIT_TOKEN_FILE" ;;
esac
"""


class Program:
    """Runs git commands in the bare repository `repository`; `home` is a private directory for what they need.

    With `sockets`, a private directory that stays, an SSH connection is kept for a minute and used by the next run: to
    connect takes longer than all that is asked.
    """

    def __init__(self, remote: Remote, repository: Path, home: Path, sockets: Path | None = None) -> None:
        self.remote = remote
        self._home = home
        self._sockets = sockets
        self.environment = self._make_environment(repository)

    def run(
        self,
        *arguments: str,
        data: bytes | None = None,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run ``git ARGUMENTS``. Raises GitError for a command that fails (with `check`), hangs, or is not there."""
        command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0"]
        # a byte in a second: who sends nothing at all for that long is gone; git itself would wait for ever
        command += [
            "-c",
            "http.lowSpeedLimit=1",
            "-c",
            f"http.lowSpeedTime={max(1, int(self.remote.timeout * _QUIET))}",
        ]
        command += ["-c", "credential.helper="] if self.remote.token_file else []
        command += arguments
        try:
            done = _run(command, data, self._home, {**self.environment, **(environment or {})}, self.remote.timeout)
        except FileNotFoundError as error:
            if error.filename != "git":  # the working directory: a repository that is not open any more
                raise
            raise GitError("wanted git on the controller, found none: install the package git.") from error
        except subprocess.TimeoutExpired as error:
            raise GitError(
                f"{self.remote}: git {arguments[0]} did not end within {self.remote.timeout:g} s. {_SILENT}."
            ) from error
        if check and done.returncode:
            raise self.failure(done.stderr.decode("utf-8", "replace"))
        return done

    def push(self, *arguments: str) -> None:
        """Push. Raises BranchMovedError where somebody else was faster, GitError for all else."""
        done = self.run("push", "--porcelain", *arguments, check=False)
        if done.returncode:
            said = (done.stdout + done.stderr).decode("utf-8", "replace")
            if is_race(said):
                raise BranchMovedError(f"{self.remote}: somebody else pushed to it at the same time.")
            raise self.failure(said)

    def failure(self, said: str) -> GitError:
        """Return what git said as an error for the admin."""
        words = " ".join(without_credentials(said).split())[-600:]
        for sign, reason in _REASONS:
            if sign in said:
                if "host key" in reason:
                    # what ssh says there is how to trust the other key, which is no advice to give
                    offered = re.search(r"SHA256:\S+?(?=[.\s]|$)", said)
                    words = f"it offers {offered[0]}" if offered else "it offers a key of another kind"
                    return GitError(f"{self.remote}: {reason}. ({words})")
                return GitError(f"{self.remote}: {reason}. (git: {words})")
        return GitError(f"{self.remote}: git failed: {words}")

    def _make_environment(self, repository: Path) -> dict[str, str]:
        ssh = ["ssh", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, int(self.remote.timeout / 4))}"]
        # a line that loses every packet is told by nobody else; a quarter of the timeout, as for connecting
        alive = max(1, int(self.remote.timeout / 4 / _UNANSWERED))
        ssh += ["-o", f"ServerAliveInterval={alive}", "-o", f"ServerAliveCountMax={_UNANSWERED}"]
        ssh += ["-o", "StrictHostKeyChecking=yes"]
        if self.remote.known_hosts:
            file = self._home / "known_hosts"
            file.write_text(self.remote.known_hosts.rstrip("\n") + "\n", encoding="utf-8")
            ssh += ["-o", f"UserKnownHostsFile={file}", "-o", "GlobalKnownHostsFile=/dev/null"]
        if self.remote.key_file:
            ssh += ["-o", "IdentitiesOnly=yes", "-i", str(Path(self.remote.key_file).expanduser())]
        ssh += self._sharing()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        made = {
            **kept,
            "LC_ALL": "C",
            "GIT_DIR": str(repository),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": shlex.join(ssh),
            "GIT_SSH_VARIANT": "ssh",
        }
        if self.remote.token_file:
            script = self._home / "askpass"
            script.write_text(_ASKPASS, encoding="ascii")
            script.chmod(0o700)
            made |= {
                "GIT_ASKPASS": str(script),
                "STAGECRAFT_GIT_USER": self.remote.user,
                "STAGECRAFT_GIT_TOKEN_FILE": str(Path(self.remote.token_file).expanduser().absolute()),
            }
        return made

    def _sharing(self) -> list[str]:
        """Return ssh's options for a connection that runs share, if they would log in with the same means."""
        if self._sockets is None:
            return []
        means = f"{self.remote.key_file}\n{self.remote.known_hosts}"
        socket = self._sockets / f"ssh-{hashlib.sha256(means.encode()).hexdigest()[:8]}-%C"
        if len(str(socket)) + 40 > _LONGEST_SOCKET:
            return []
        return ["-o", "ControlMaster=auto", "-o", f"ControlPath={socket}", "-o", f"ControlPersist={_KEPT}"]


def _run(
    command: list[str], data: bytes | None, cwd: Path, environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """Run a command as subprocess.run does, but let it end its helpers when its time is over.

    They would go on waiting for a silent server; git ends them when it is asked to end, and cannot when it is killed.
    """
    given = subprocess.DEVNULL if data is None else subprocess.PIPE
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=cwd, env=environment, stdin=given, stdout=pipe, stderr=pipe) as process:
        try:
            out, said = process.communicate(data, timeout)
        except BaseException:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LAST)
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, said)


def is_race(said: str) -> bool:
    """Say whether a push was refused because the branch is not where it was when we looked."""
    refused = [line for line in said.splitlines() if "rejected]" in line]
    if any("failed to update ref" in line for line in refused):
        # what a server says of it stands in a line of its own
        found = [line for line in said.splitlines() if "cannot lock ref" in line]
        refused += [line for line in found if "but expected" in line or "reference already exists" in line]
    return any(any(word in line for word in _MOVED) for line in refused) and not any(
        word in line.lower() for line in refused for word in _REFUSED
    )
