# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about the repository that the cluster follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._addresses import has_credentials, without_credentials
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.model import Inventory, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

_KEYS = ("url", "branch", "path")
_SCHEMES = ("ssh://", "https://", "http://")
#: Environments that the role gitops_repository makes without being told of any.
_ENVIRONMENTS = ("local", "staging", "production")


def repository(inventory: Inventory) -> Iterator[Problem]:
    """Find a repository that Flux could not follow, or that is another environment's directory."""
    wanted = inventory.of("stagecraft_repository")
    if not isinstance(wanted, dict) or not wanted:
        return
    origin = inventory.origin("stagecraft_repository")
    subject = "stagecraft_repository"
    if unknown := sorted(set(wanted) - set(_KEYS)):
        found = f"nothing reads its {', '.join(unknown)}"
        yield Problem("repository-key", subject, found, f"It has {', '.join(_KEYS)}", origin)
    if missing := [key for key in ("url", "path") if not wanted.get(key)]:
        found, fix = f"it has no {' and no '.join(missing)}", "Set it, for example path: clusters/staging"
        yield Problem("repository-incomplete", subject, found, fix, origin)
    url = str(wanted.get("url") or "")
    if url and not url.startswith(_SCHEMES):
        found, fix = f"Flux cannot read the address {without_credentials(url)!r}", "Write ssh://git@HOST/OWNER/NAME.git"
        yield Problem("repository-address", subject, found, fix, origin)
    if has_credentials(url):
        found = f"its address {without_credentials(url)} carries credentials, and is written into the repository itself"
        fix = "Take them out, and use an ssh:// address with a key"
        yield Problem("repository-credentials", subject, found, fix, origin)
    if url.startswith("ssh://") and not str(inventory.of("flux_known_hosts") or "").strip():
        yield Problem(
            "repository-host-keys",
            "flux_known_hosts",
            "the repository is read over SSH, and no host key of its server is pinned",
            "Set it to the lines of known_hosts that the server's admin publishes",
            origin,
        )
    yield from _directory(inventory, str(wanted.get("path") or ""), origin)


def _directory(inventory: Inventory, path: str, origin: str) -> Iterator[Problem]:
    """Find a directory that is another environment's, or that nobody writes."""
    subject = "stagecraft_repository"
    parts = [part for part in path.split("/") if part not in ("", ".")]
    name = parts[-1] if parts else ""
    environment = str(inventory.of("stagecraft_environment") or "")
    declared = inventory.of("gitops_repository_environments")
    own = [item.get("name") for item in declared if isinstance(item, dict)] if isinstance(declared, list) else []
    if name in {*_ENVIRONMENTS, *own} and environment and name != environment:
        found = f"the cluster of {environment} would follow the directory of {name}"
        fix = f"Set path to {environment}'s own, such as clusters/{environment}"
        yield Problem("repository-other-environment", subject, found, fix, origin)
        return
    generated = str(inventory.of("gitops_repository_generate")).lower() in ("true", "yes", "on", "1")
    written = [f"clusters/{one}" for one in own]
    if parts and generated and own and "/".join(parts) not in written:
        found = f"Flux would follow {'/'.join(parts)}, and what is generated lies in {', '.join(written)}"
        fix = (
            f"Set path to clusters/{environment or 'NAME'}, name the environment in gitops_repository_environments, or "
            "set gitops_repository_generate: false for a repository that you keep by hand"
        )
        yield Problem("repository-directory", subject, found, fix, origin)
