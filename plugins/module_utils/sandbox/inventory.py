# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory of a sandbox as text.  Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .layout import Layout
from .spec import HostRecord

HEADER = "# Written by playbooks/sandbox.yml; removed with the sandbox.  Settings belong into group_vars beside it.\n"


def to_yaml(value: Any, indent: int = 0) -> str:
    """Return ``value`` (dicts of dicts and scalars) as YAML, keys in their order; scalars in their JSON form."""
    lines = []
    for key, item in value.items():
        if isinstance(item, Mapping):
            body = to_yaml(item, indent + 2)
            lines.append(f"{' ' * indent}{key}:{' {}' if not item else ''}\n{body}")
        else:
            lines.append(f"{' ' * indent}{key}: {json.dumps(item)}\n")
    return "".join(lines)


def by_environment(hosts: Iterable[HostRecord]) -> dict[str, list[HostRecord]]:
    """Return the hosts of each inventory, by environment; those of no environment are in all, and alone in that of ``""``."""
    hosts = list(hosts)
    found: dict[str, list[HostRecord]] = {"": [host for host in hosts if not host.environment]}
    for environment in sorted({host.environment for host in hosts} - {""}):
        found[environment] = [host for host in hosts if host.environment in ("", environment)]
    return found


def render_inventory(layout: Layout, hosts: Sequence[HostRecord], variables: Mapping[str, Any]) -> str:
    """Return hosts.yml: every host once with its variables, and its groups by name."""
    options = [
        f"UserKnownHostsFile={layout.known_hosts}",
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
    ]
    groups: dict[str, Any] = {}
    for host in hosts:
        for group in host.groups:
            groups.setdefault(group, {"hosts": {}})["hosts"][host.name] = {}
    document = {
        "all": {
            "hosts": {host.name: {"ansible_host": host.address} for host in hosts},
            "vars": {
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(layout.key),
                "ansible_ssh_common_args": " ".join(f"-o {option}" for option in options),
                "ansible_python_interpreter": "/usr/bin/python3",
                **variables,
            },
            "children": groups,
        }
    }
    return HEADER + to_yaml(document)


def render_known_hosts(keys: Mapping[str, str]) -> str:
    """Return a known_hosts file for public keys by address."""
    return "".join(f"{address} {' '.join(key.split()[:2])}\n" for address, key in sorted(keys.items()))
