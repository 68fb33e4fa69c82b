# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate that a name serves, as a client sees it: trusted, for that name, and for how long."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any

DAY = 86400
#: Options of stagecraft.gitops.tls_info.
INFO_OPTIONS: dict[str, Any] = {
    "names": {"type": "list", "elements": "str", "required": True},
    "ca_file": {"type": "path"},
    "days": {"type": "int", "default": 30},
    "timeout": {"type": "float", "default": 10.0},
}
_NAME = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+)(?::(?P<port>[0-9]{1,5}))?")


class TlsError(Exception):
    """What was asked for cannot be asked."""


def split(name: str) -> tuple[str, int]:
    """Read ``HOST`` or ``HOST:PORT``; an IPv6 address stands in brackets. Raises TlsError."""
    found = _NAME.fullmatch(name)
    port = int(found["port"] or 443) if found else 0
    if found is None or not 0 < port < 65536:
        raise TlsError(f"{name!r} is no name of a server; wanted HOST or HOST:PORT, for example shop.example.com")
    return found["host"].strip("[]"), port


def look(name: str, ca_file: str | None, days: int, timeout: float, now: float) -> dict[str, Any]:
    """Return what ``name`` serves: its end (seconds since 1970, 0 where it was not accepted) and what is wrong with it.

    ``ca_file`` are certificates (PEM) to trust instead of the system's; ``now`` is in seconds since 1970.
    """
    host, port = split(name)
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise TlsError(f"the certificates of {ca_file} cannot be read: {error}") from error
    # Python 3.13 wants extensions that private authorities leave out and other clients do not ask for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    ends, problem = 0, ""
    try:
        with socket.create_connection((host, port), timeout) as line:  # noqa: SIM117  # Python 3.9 knows no brackets here
            with context.wrap_socket(line, server_hostname=host) as served:
                ends = int(ssl.cert_time_to_seconds(str((served.getpeercert() or {})["notAfter"])))
    except ssl.SSLCertVerificationError as error:
        problem = f"its certificate is not accepted: {error.verify_message}"
    except (ssl.SSLError, OSError) as error:
        problem = f"it does not answer by TLS: {error}"
    else:
        if ends < now + days * DAY:
            problem = f"its certificate ends on {time.strftime('%Y-%m-%d', time.gmtime(ends))}"
    return {"name": name, "not_after": ends, "problem": problem}


def info_result(options: Mapping[str, Any]) -> dict[str, Any]:
    """Tell what the module calls: checked options in, result out. Raises TlsError."""
    now = time.time()
    found = [look(name, options["ca_file"], options["days"], options["timeout"], now) for name in options["names"]]
    problems = [f"{one['name']}: {one['problem']}" for one in found if one["problem"]]
    return {"changed": False, "certificates": found, "problems": problems}
