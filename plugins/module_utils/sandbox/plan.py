# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what is there and what is wanted to a list of changes.  Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

STATES = ("present", "absent", "rebooted", "powered-off")


@dataclass(frozen=True)
class Change:
    """One step: what kind of thing, which one, what is done to it, its value before and after (None: none)."""

    kind: str
    target: str
    action: str
    before: Any | None = None
    after: Any | None = None


@dataclass(frozen=True)
class ObservedHost:
    """A host as it is.

    running: the guest's PID 1 lives.  supervised: its supervisor lives.  leftovers: its journal names things although
    nothing runs. limits: (MiB, cores) in force, None when not running.
    """

    running: bool = False
    supervised: bool = False
    leftovers: bool = False
    limits: tuple[int, float] | None = None


@dataclass(frozen=True)
class Observed:
    """The machine as it is, as far as one sandbox is concerned.

    files: content of the generated files by path.  sysctl: kernel limits in force.  ledger: those limits as they were
    before the first sandbox, as (previous, raised).  others: names of the other sandboxes.
    """

    exists: bool = False
    hosts: Mapping[str, ObservedHost] = field(default_factory=dict)
    missing_packages: Sequence[str] = ()
    missing_modules: Sequence[str] = ()
    bases: Sequence[str] = ()
    key: bool = False
    switch: bool = False
    repository: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    sysctl: Mapping[str, int] = field(default_factory=dict)
    ledger: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    shared_leftovers: bool = False
    others: Sequence[str] = ()


@dataclass(frozen=True)
class WantedHost:
    """A host as it shall be.

    address and base are those recorded or chosen.  recorded: it exists already, with recorded_groups.
    """

    name: str
    address: str
    base: str
    groups: tuple[str, ...]
    limits: tuple[int, float]
    recorded: bool
    recorded_groups: tuple[str, ...] = ()
    environment: str = ""
    recorded_environment: str = ""

    @property
    def place(self) -> list[str]:
        """Where the host is in the inventories."""
        return [*self.groups, *([f"environment {self.environment}"] if self.environment else [])]

    @property
    def recorded_place(self) -> list[str]:
        """Where it was."""
        of = self.recorded_environment
        return [*self.recorded_groups, *([f"environment {of}"] if of else [])]


@dataclass(frozen=True)
class Wanted:
    """What the admin wants.

    hosts: those that the state applies to.  rest: names of the recorded hosts that it does not apply to.  files:
    generated files by path, without those whose content is known only later.  minimum: least values of kernel limits.
    """

    state: str
    name: str
    subnet: str
    link: str
    repository: str
    hosts: Sequence[WantedHost]
    rest: Sequence[str]
    files: Mapping[str, str]
    minimum: Mapping[str, int]


def make_plan(observed: Observed, wanted: Wanted) -> list[Change]:
    """Return the changes that lead from observed to wanted, in the order in which they are applied."""
    if wanted.state == "absent":
        return _absent(observed, wanted)
    if wanted.state == "powered-off":
        return [
            Change(
                "host", host.name, "power-off", "running" if observed.hosts[host.name].running else "left-overs", "off"
            )
            for host in wanted.hosts
            if _is_up(observed.hosts.get(host.name, ObservedHost()))
        ]
    changes = _shell(observed, wanted)
    for host in wanted.hosts:
        changes += _host_up(observed.hosts.get(host.name, ObservedHost()), host, wanted.state == "rebooted")
    for path, text in wanted.files.items():
        if observed.files.get(path) != text:
            changes.append(Change("file", path, "write", observed.files.get(path), text))
    return changes


def _is_up(host: ObservedHost) -> bool:
    return host.running or host.supervised or host.leftovers


def _shell(observed: Observed, wanted: Wanted) -> list[Change]:
    """What the hosts need around them."""
    changes = [Change("package", package, "install", None, "installed") for package in observed.missing_packages]
    changes += [Change("module", name, "load", None, "loaded") for name in observed.missing_modules]
    for name, least in wanted.minimum.items():
        value = observed.sysctl.get(name)
        if value is not None and value < least:
            changes.append(Change("sysctl", name, "raise", value, least))
    missing = sorted({host.base for host in wanted.hosts} - set(observed.bases))
    changes += [Change("base", base, "build", None, "built") for base in missing]
    if not observed.exists:
        changes.append(Change("sandbox", wanted.name, "create", None, wanted.subnet))
    if not observed.key:
        changes.append(Change("key", wanted.name, "create", None, "ed25519"))
    if not observed.switch:
        changes.append(Change("switch", wanted.link, "create", None, wanted.subnet))
    if not observed.repository:
        changes.append(Change("repository", wanted.repository, "start", "stopped", "serving"))
    return changes


def _host_up(now: ObservedHost, host: WantedHost, reboot: bool) -> list[Change]:
    changes = []
    if not host.recorded:
        changes.append(Change("host", host.name, "create", None, host.address))
    elif host.place != host.recorded_place:
        changes.append(Change("host", host.name, "regroup", host.recorded_place, host.place))
    if not now.running:
        changes.append(Change("host", host.name, "power-on", "off", "running"))
        return changes
    if not now.supervised:
        changes.append(Change("host", host.name, "adopt", "without a supervisor", "supervised"))
    if now.limits is not None and now.limits != host.limits:
        changes.append(Change("host", host.name, "limit", list(now.limits), list(host.limits)))
    if reboot:
        changes.append(Change("host", host.name, "reboot", "running", "running, booted anew"))
    return changes


def _absent(observed: Observed, wanted: Wanted) -> list[Change]:
    changes = []
    for host in wanted.hosts:
        if host.recorded or host.name in observed.hosts:
            now = observed.hosts.get(host.name, ObservedHost())
            changes.append(Change("host", host.name, "remove", "running" if now.running else "off", None))
    if wanted.rest:
        for path, text in wanted.files.items():
            if observed.files.get(path) != text:
                changes.append(Change("file", path, "write", observed.files.get(path), text))
        return changes
    if observed.exists:
        changes.append(Change("sandbox", wanted.name, "remove", wanted.subnet or None, None))
    if not observed.others:
        for name, (previous, raised) in observed.ledger.items():
            if observed.sysctl.get(name) == raised and previous != raised:
                changes.append(Change("sysctl", name, "restore", raised, previous))
        if observed.shared_leftovers and not observed.exists:
            changes.append(Change("shared", "state", "remove", "left-overs", None))
    return changes
