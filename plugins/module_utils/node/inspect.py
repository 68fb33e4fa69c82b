# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What any node can be asked: a certificate's names and end, a program's process, the host's addresses."""

from __future__ import annotations

import calendar
import ipaddress
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.module_utils.node.host import Host, NodeError


def certificate(host: Host, absolute: str) -> dict[str, Any] | None:
    """The subject alternative names (sorted) and the end (seconds since 1970) of a PEM certificate; None if it is missing.

    Read with ``openssl``: the standard library cannot parse a certificate from a file.
    """
    path = host.path(absolute)
    if not path.exists():
        return None
    shown = host.run(["openssl", "x509", "-in", str(path), "-noout", "-enddate", "-ext", "subjectAltName"])
    if shown.rc != 0:
        raise NodeError(f"cannot read the certificate {path}: {shown.stderr.strip()}")
    return parse_certificate(shown.stdout)


def parse_certificate(text: str) -> dict[str, Any]:
    """The output of ``openssl x509 -enddate -ext subjectAltName`` as {sans: [...], not_after: seconds}."""
    names = [
        normal_name(part.split(":", 1)[1].strip())
        for part in re.split(r",\s*|\n", text)
        if part.strip().startswith(("DNS:", "IP Address:"))
    ]
    ends = re.search(r"notAfter=(.+?) GMT", text)
    when = calendar.timegm(time.strptime(ends.group(1), "%b %d %H:%M:%S %Y")) if ends else 0
    return {"sans": sorted(names), "not_after": when}


def normal_name(name: str) -> str:
    """An address in its shortest form, a DNS name in lower case: as two certificates' names are compared."""
    try:
        return ipaddress.ip_address(name).compressed
    except ValueError:
        return name.lower()


def missing_names(wanted: Sequence[str], shown: Sequence[str]) -> list[str]:
    """Those of ``wanted`` that a certificate with the names ``shown`` lacks, sorted."""
    return sorted({normal_name(name) for name in wanted} - set(shown))


def process(executable: str, processes: Path = Path("/proc")) -> tuple[int, str] | None:
    """The lowest pid that runs a file called ``executable``, and that file; None where nobody does."""
    found = []
    for entry in processes.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            target = os.readlink(str(entry / "exe"))
        except OSError:
            continue
        if os.path.basename(target.replace(" (deleted)", "")) == executable:
            found.append((int(entry.name), target))
    return min(found) if found else None


def local_addresses(host: Host) -> list[str]:
    """The addresses of this host's interfaces, from ``ip -o addr``."""
    shown = host.run(["ip", "-o", "addr", "show"])
    return re.findall(r"\binet6? ([0-9a-fA-F.:]+)/", shown.stdout)
