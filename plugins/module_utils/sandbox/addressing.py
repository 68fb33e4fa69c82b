# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choice of a sandbox's subnet and of its hosts' addresses.  Pure functions."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from .layout import digest

POOL = ipaddress.IPv4Network("10.87.0.0/16")
"""Subnets of sandboxes are taken from here; it lies outside the default pod and service networks."""

FIRST_HOST = 11
"""First host number given out; .1 is the machine itself."""


def parse_routes(text: str) -> list[ipaddress.IPv4Network]:
    """Return the destinations in the output of ``ip -4 route show table all``; the default route is not one."""
    kinds = ("unicast", "local", "broadcast", "blackhole", "unreachable", "prohibit", "throw", "multicast", "anycast")
    found = []
    for line in text.splitlines():
        words = [word for word in line.split() if word not in kinds]
        if words and words[0] != "default":
            try:
                found.append(ipaddress.IPv4Network(words[0], strict=False))
            except ValueError:
                continue
    return found


def choose_subnet(name: str, taken: Iterable[ipaddress.IPv4Network]) -> ipaddress.IPv4Network | None:
    """Return the /24 that a sandbox's name hashes to, or the next one that touches nothing in ``taken``."""
    subnets = list(POOL.subnets(new_prefix=24))
    blocked = list(taken)
    start = int(digest(name, 8), 16) % len(subnets)
    for subnet in subnets[start:] + subnets[:start]:
        if not any(subnet.overlaps(other) for other in blocked):
            return subnet
    return None


def gateway(subnet: ipaddress.IPv4Network) -> str:
    """Return the machine's own address in the subnet."""
    return str(subnet.network_address + 1)


def allocate(
    subnet: ipaddress.IPv4Network, recorded: Mapping[str, str], wanted: Mapping[str, str | None]
) -> tuple[dict[str, str], list[str]]:
    """Return (addresses of the wanted hosts, problems).

    A recorded host keeps its address; a host that asks for one gets it; the others get the lowest free ones, in their
    order.
    """
    problems = []
    usable = {str(address) for address in subnet.hosts()} - {gateway(subnet)}
    used = dict(recorded)
    result: dict[str, str] = {}
    for name, address in wanted.items():
        if address is None:
            continue
        holder = next((other for other, held in used.items() if held == address and other != name), None)
        if name in recorded and recorded[name] != address:
            problems.append(
                f"host {name} has the address {recorded[name]}, not {address}: remove the host first "
                f"(sandbox_state=absent)"
            )
        elif address not in usable:
            problems.append(
                f"host {name}: {address} is not a host address of the sandbox's subnet {subnet} (its .1 is the machine)"
            )
        elif holder is not None:
            problems.append(f"host {name}: {address} belongs to host {holder}")
        used.setdefault(name, address)
    free = (str(subnet.network_address + number) for number in range(FIRST_HOST, 255))
    held = set(used.values())
    for name in wanted:
        if name not in used:
            used[name] = next((address for address in free if address not in held), "")
            if not used[name]:
                problems.append(f"host {name}: the subnet {subnet} is full")
            held.add(used[name])
        result[name] = used[name]
    return result, problems
