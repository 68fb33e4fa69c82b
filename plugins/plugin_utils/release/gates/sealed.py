# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate on sealed secrets: what the workloads need of them opens with a key of the target. It asks no cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age.errors import AgeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.gate import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import custody, verify
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.keys import SealingKey

_MOST = 10

#: (namespace, name) of Secrets, and the keys of them that are asked for.
Needed = Mapping[tuple[str, str], set[str]]


def opens(files: Mapping[str, str], changed: Iterable[str], needed: Needed, keys: tuple[SealingKey, ...]) -> Verdict:
    """Refuse what a sealed secret of the target does not give, or gives to another environment only.

    `files` are those of the target with SealedSecrets in them (path → text); all in `changed` have to open, of the others
    those that are `needed`. No value is in the answer.
    """
    report = verify.report(files, keys)
    own = set(changed)
    said = [one for one in report.unreadable if any(one.startswith(path) for path in own)]
    opened = 0
    for status in report.found:
        sealed = status.sealed
        wanted = needed.get((sealed.namespace, sealed.name))
        if wanted is None and sealed.path not in own:
            continue
        opened += 1
        said += status.problems
        said += [f"{sealed}: it has no item {key}" for key in sorted((wanted or set()) - set(sealed.items))]
    more = f"; and {len(said) - _MOST} more" if len(said) > _MOST else ""
    return Verdict(not said, "; ".join(said[:_MOST]) + more if said else f"{opened} open")


def keys_of(options: Mapping[str, Any], environment: str) -> tuple[SealingKey, ...]:
    """Return the sealing keys of the target: `backup` is its backup, `identity_files` open it. Raises ReleaseError."""
    where = Path(str(options["backup"])).expanduser()
    files = options.get("identity_files")
    if not isinstance(files, list) or not files:
        raise ReleaseError("gate sealed: wanted identity_files, a list of files that open the backup")
    try:
        found = custody.read_backup(where, file.identities_of([str(one) for one in files]))
    except (AgeError, SealError) as error:
        raise ReleaseError(f"gate sealed: {error}") from error
    if found is None:
        raise ReleaseError(f"gate sealed: {where}: wanted a backup of sealing keys, found no file")
    if found.environment != environment:
        raise ReleaseError(
            f"gate sealed: {where}: it holds the keys of {found.environment}, wanted those of {environment}. Name its own backup"
        )
    return found.keys
