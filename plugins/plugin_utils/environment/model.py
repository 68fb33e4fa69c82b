# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory as the rules see it, and what a rule finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

#: A variable whose value cannot be known before the hosts are asked (it depends on facts, say).
UNKNOWN = object()


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `rule` names the rule; `subject` is the variable, host or group.

    `found` says what is there and `fix` what to do. `origin` is FILE:LINE where that is known. A warning does not stop
    a run.
    """

    rule: str
    subject: str
    found: str
    fix: str
    origin: str = ""
    level: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = f" ({self.origin})" if self.origin else ""
        end = "" if self.fix.endswith("?") else "."
        return f"{self.subject}{place}: {self.found}. {self.fix}{end} [{self.rule}]"


@dataclass(frozen=True)
class Option:
    """One option of a role, from its argument_specs. `default` is None where it is computed or there is none.

    `choices` are those of a list's elements where it is a list.
    """

    role: str
    name: str
    type: str = "str"
    choices: tuple[str, ...] = ()
    default: Any = None


@dataclass(frozen=True)
class Mirror:
    """What the directory named by artifacts_mirror or artifacts_bundle holds.

    `origin` is "built" or "downloaded" as its lock file says, "" without a lock file; `files` are its paths.
    """

    origin: str = ""
    files: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Known:
    """What the collection and the controller know: the yardsticks of the rules.

    `options` by name; `versions` and `defaults` by artefact. `paths` tells for each path that a variable names whether
    it is a "file" or a "directory" ("" when it is not there); `mirrors` are by directory. `policy_image_directory` is
    where a mirror keeps the image of the engine that enforces NetworkPolicies.
    """

    options: Mapping[str, Option] = field(default_factory=dict)
    versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)
    mirrors: Mapping[str, Mirror] = field(default_factory=dict)
    policy_image_directory: str = ""


@dataclass(frozen=True)
class Setting:
    """One value of a variable, the hosts that have it, and where it was written."""

    name: str
    value: Any
    hosts: tuple[str, ...]
    everywhere: bool
    origin: str = ""

    @property
    def subject(self) -> str:
        """The variable's name, with the hosts where it is not the same for all."""
        return self.name if self.everywhere else f"{self.name} of {', '.join(self.hosts)}"


@dataclass(frozen=True)
class Inventory:
    """Groups and hosts with their variables (templated, plain Python; UNKNOWN where that failed).

    `hosts` are the cluster's, or all of the inventory where the cluster has none. `origins` says where a host's
    variable was written; `clear_secrets` are the names of secrets that stand in the inventory unencrypted, by host.
    """

    groups: Mapping[str, tuple[str, ...]]
    hosts: Mapping[str, Mapping[str, Any]]
    known: Known = field(default_factory=Known)
    origins: Mapping[tuple[str, str], str] = field(default_factory=dict)
    clear_secrets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def control_plane(self) -> tuple[str, ...]:
        """The hosts of the group control_plane."""
        return self.groups.get("control_plane", ())

    @property
    def workers(self) -> tuple[str, ...]:
        """The hosts of the group workers."""
        return self.groups.get("workers", ())

    @property
    def nodes(self) -> tuple[str, ...]:
        """All hosts of the cluster, each once."""
        return tuple(dict.fromkeys((*self.control_plane, *self.workers)))

    def names(self) -> list[str]:
        """Every variable that some host has, in order of their names."""
        return sorted({name for variables in self.hosts.values() for name in variables})

    def settings(self, name: str) -> list[Setting]:
        """The values that hosts give `name`, one item for each different value. Hosts without it are left out."""
        having = {host: variables[name] for host, variables in self.hosts.items() if name in variables}
        found: list[tuple[Any, list[str]]] = []
        for host, value in having.items():
            if value is UNKNOWN:
                continue
            for known, hosts in found:
                if type(known) is type(value) and known == value:
                    hosts.append(host)
                    break
            else:
                found.append((value, [host]))
        return [
            Setting(name, value, tuple(hosts), len(hosts) == len(self.hosts), self.origins.get((hosts[0], name), ""))
            for value, hosts in found
        ]

    def of(self, name: str, host: str | None = None) -> Any:
        """The value of `name` for `host`, or for the cluster (the first host that has it), or else the role's default.

        None where there is neither, or where it cannot be known yet.
        """
        for candidate in [host] if host is not None else self.hosts:
            value = self.hosts.get(candidate, {}).get(name)
            if value is UNKNOWN:
                return None
            if value is not None:
                return value
        option = self.known.options.get(name)
        return option.default if option else None

    def subject(self, name: str) -> str:
        """The name of a variable with its default, for a message about a value that may not be set at all."""
        return name if any(name in variables for variables in self.hosts.values()) else f"{name} (by default)"

    def origin(self, name: str, host: str | None = None) -> str:
        """Where `name` was written, "" where that is not known."""
        hosts = [host] if host is not None else list(self.hosts)
        return next((self.origins[h, name] for h in hosts if (h, name) in self.origins), "")
