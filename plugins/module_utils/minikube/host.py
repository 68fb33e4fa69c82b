# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine with Minikube on it: whose Minikube it is, where its files are, the journal."""

from __future__ import annotations

import contextlib
import dataclasses
import pwd
import re
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.stagecraft.gitops.plugins.module_utils.node import api
from ansible_collections.stagecraft.gitops.plugins.module_utils.node import host as node
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.host import (
    Completed,
    NodeError,
    read_json,
    remove_file,
    write_file,
)

__all__ = ("Completed", "Host", "LocalApi", "NodeError", "exclusive", "read_json", "remove_file", "write_file")

PROGRAM = "/usr/local/bin/minikube"
#: The driver that makes the machine itself the node.
BARE = "none"
_SERVER = re.compile(r"^\s*server:\s*https://\[?([^\s\]]+?)\]?:(\d+)\s*$", re.MULTILINE)


def home_of(user: str) -> str:
    """The home directory of a user of this machine. Raises NodeError where there is no such user."""
    try:
        return pwd.getpwnam(user).pw_dir
    except KeyError:
        raise NodeError(
            f"this machine has no user {user!r} for Minikube to run as. Correct minikube_user, or make that user."
        ) from None


@dataclasses.dataclass(frozen=True)
class Host(node.Host):
    """A machine with one profile of one user's Minikube; ``home`` is that user's home directory."""

    user: str = "root"
    profile: str = "minikube"
    home: str = "/root"

    @property
    def state(self) -> Path:
        """The journal; survives a reboot. A machine may have several profiles."""
        return self.path(f"/var/lib/stagecraft/minikube/{self.profile}")

    @property
    def directory(self) -> str:
        """Where Minikube keeps everything of this user's."""
        return f"{self.home}/.minikube"

    @property
    def kubeconfig(self) -> str:
        """The administrator's credentials, in a file of their own: the user's own kubeconfig is not Minikube's to change."""
        return f"{self.directory}/stagecraft/{self.profile}.kubeconfig"

    @property
    def record(self) -> Path:
        """What Minikube itself has written down of the profile."""
        return self.path(f"{self.directory}/profiles/{self.profile}/config.json")

    def minikube(self, arguments: Sequence[str], timeout: float) -> Completed:
        """Run Minikube as its user, on this profile."""
        settings = {
            "HOME": self.home,
            "MINIKUBE_HOME": self.home,
            "KUBECONFIG": self.kubeconfig,
            "MINIKUBE_IN_STYLE": "false",
            "MINIKUBE_WANTUPDATENOTIFICATION": "false",
            "MINIKUBE_WANTNONEDRIVERWARNING": "false",
        }
        environment = [f"{name}={value}" for name, value in settings.items()]
        argv = ["env", *environment, PROGRAM, *arguments, f"--profile={self.profile}"]
        return self.run(argv if self.user == "root" else ["runuser", "-u", self.user, "--", *argv], timeout=timeout)


class LocalApi(api.LocalApi):
    """The API server of the profile, with the credentials that Minikube writes."""

    remedy = "minikube update-context writes it anew"
    log = "minikube logs"

    def __init__(self, host: Host, timeout: float = 5.0) -> None:
        self.kubeconfig = host.kubeconfig
        found = _SERVER.search(host.read_text(host.kubeconfig) or "")
        if found is None:
            raise api.ApiUnavailable(f"{host.kubeconfig} names no API server: the profile was not started yet")
        super().__init__(host, found.group(1), int(found.group(2)), timeout)


def exclusive(host: Host, patience: float = 600.0) -> contextlib.AbstractContextManager[None]:
    """Hold the machine's Minikube lock; waits at most ``patience`` seconds for another run to end."""
    return node.exclusive(host.path("/run/stagecraft-minikube.lock"), "minikube", patience)


def forget(host: Host) -> None:
    """Strike the profile out, and its place in the journal."""
    node.forget(host.state)
    with contextlib.suppress(OSError):
        host.state.rmdir()
