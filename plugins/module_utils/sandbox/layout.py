# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where everything of a sandbox lives, and what it is called: all derived from the sandbox's name."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

STATE_ROOT = Path("/var/lib/stagecraft/sandbox")

SANDBOX_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,18}[a-z0-9])?")
HOST_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?")


def digest(text: str, length: int) -> str:
    """Return the first ``length`` hexadecimal digits of the SHA-256 of ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@dataclass(frozen=True)
class HostLayout:
    """Paths and kernel object names of one host."""

    sandbox: str
    name: str
    directory: Path

    @property
    def config(self) -> Path:
        """What the supervisor is told (JSON)."""
        return self.directory / "host.json"

    @property
    def journal(self) -> Path:
        """What the supervisor has made outside this directory."""
        return self.directory / "journal.json"

    @property
    def lock(self) -> Path:
        """Held by the supervisor for as long as it lives."""
        return self.directory / "supervisor.lock"

    @property
    def status(self) -> Path:
        """Boot counter and process of the running guest, written by the supervisor."""
        return self.directory / "status.json"

    @property
    def exit_code(self) -> Path:
        """Exit code of systemd-nspawn, written when it ends."""
        return self.directory / "exit-code"

    @property
    def console(self) -> Path:
        """Output of the supervisor and console of the guest."""
        return self.directory / "console.log"

    @property
    def root(self) -> Path:
        """Mount point of the guest's root file system."""
        return self.directory / "root"

    @property
    def upper(self) -> Path:
        """The disk: all that differs from the base."""
        return self.directory / "disk" / "upper"

    @property
    def work(self) -> Path:
        """Work directory of the overlay."""
        return self.directory / "disk" / "work"

    @property
    def seeded(self) -> Path:
        """Exists when the disk has got its identity."""
        return self.directory / "disk" / "seeded"

    @property
    def volumes(self) -> Path:
        """Plain directories bound over paths where an overlay does not work."""
        return self.directory / "volumes"

    @property
    def host_key(self) -> Path:
        """Private SSH host key."""
        return self.directory / "ssh_host_ed25519_key"

    @property
    def machine(self) -> str:
        """Name for systemd-nspawn, of the network namespace and of the control groups; at most 64 characters."""
        return f"stagecraft-{self.sandbox}.{self.name}"

    @property
    def port(self) -> str:
        """Name of the host's interface at the switch."""
        return "h" + digest(self.name, 10)

    @property
    def mac(self) -> str:
        """Link-layer address of eth0: stable, so that neighbours need not learn it again after a reboot."""
        text = digest(f"{self.sandbox}.{self.name}", 10)
        return "02:" + ":".join(text[i : i + 2] for i in range(0, 10, 2))


@dataclass(frozen=True)
class Layout:
    """Paths and kernel object names of one sandbox."""

    name: str
    state_root: Path = STATE_ROOT

    @property
    def directory(self) -> Path:
        """State directory: removed as a whole with the sandbox."""
        return self.state_root / self.name

    @property
    def lock(self) -> Path:
        """Held while the module works on this sandbox."""
        return self.state_root / f".{self.name}.lock"

    @property
    def record(self) -> Path:
        """What the sandbox is: subnet, hosts, addresses (JSON)."""
        return self.directory / "sandbox.json"

    @property
    def journal(self) -> Path:
        """What the module has made outside the state directory."""
        return self.directory / "journal.json"

    @property
    def key(self) -> Path:
        """Private SSH key of the sandbox's root user."""
        return self.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """Host keys of all hosts."""
        return self.directory / "known_hosts"

    @property
    def library(self) -> Path:
        """Programs of the sandbox."""
        return self.directory / "lib"

    @property
    def inventory(self) -> Path:
        """Inventory of a sandbox that has no other place for it."""
        return self.directory / "inventory" / "hosts.yml"

    @property
    def repository_lock(self) -> Path:
        """Held by the HTTP server for as long as it lives."""
        return self.directory / "repository.lock"

    @property
    def repository_log(self) -> Path:
        """Output of the HTTP server."""
        return self.directory / "repository.log"

    @property
    def hosts(self) -> Path:
        """Directory of the hosts."""
        return self.directory / "hosts"

    @property
    def switch(self) -> str:
        """Network namespace that holds the bridge: the machine's own firewall has no say between the hosts."""
        return f"stagecraft-{self.name}"

    @property
    def link(self) -> str:
        """The machine's interface on the sandbox's network."""
        return "sc-" + digest(self.name, 8)

    def host(self, name: str) -> HostLayout:
        """Return the layout of one host."""
        return HostLayout(self.name, name, self.hosts / name)


@dataclass(frozen=True)
class SharedLayout:
    """What all sandboxes of the machine share."""

    state_root: Path = STATE_ROOT

    @property
    def lock(self) -> Path:
        """Held while a subnet is chosen or a kernel limit is changed."""
        return self.state_root / ".lock"

    @property
    def ledger(self) -> Path:
        """Kernel limits as they were before the first sandbox (JSON)."""
        return self.state_root / ".shared.json"
