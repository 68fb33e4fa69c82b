# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate on leaks: what the commit would bring holds no private key, Secret in clear, or known secret. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.needles import Secret
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.scan import is_ignored, judge, search_all
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.search import Text
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.gate import Verdict

_MOST = 10
_MESSAGE = "the commit's message"


def nothing_secret(
    files: Mapping[str, bytes | None], message: str, secrets: Sequence[Secret], options: Mapping[str, Any]
) -> Verdict:
    """Refuse a commit that brings something secret. No value is in the answer.

    `files` are those that the commit changes, with the bytes that they get (None: removed); `message` is what somebody wrote
    for it. Options: ``ignore`` (RULE or RULE:GLOB) and ``shared`` (names of secrets that environments may have in common),
    as the scan of commits has them. Raises ReleaseError.
    """
    ignore, shared = (_names(options, name) for name in ("ignore", "shared"))
    texts = [Text(path, data) for path, data in sorted(files.items()) if data is not None]
    hits = search_all([*texts, Text(_MESSAGE, message.encode())], secrets)
    said = [f"{one.where}:{one.line}: {one.what}" for one in hits if not is_ignored(one.rule, one.where, ignore)]
    said += judge(secrets, shared)[0]
    more = f"; and {len(said) - _MOST} more" if len(said) > _MOST else ""
    known = f"{len(secrets)} known secrets" if secrets else "no secrets are known"
    return Verdict(not said, "; ".join(said[:_MOST]) + more if said else f"{len(texts)} files, {known}")


def _names(options: Mapping[str, Any], name: str) -> list[str]:
    value = options.get(name) or []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ReleaseError(f"gate leak: {name}: wanted a list of texts, found {value!r}")
    return value
