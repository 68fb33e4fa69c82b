# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about where artefacts come from, and how the API server is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.model import Inventory, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Variables that name directories (or, for a mirror, a URL).
SOURCES = ("artifacts_mirror", "artifacts_bundle")


def artifacts(inventory: Inventory) -> Iterator[Problem]:
    """Find sources of artefacts that are not there, contradict each other, or may not be trusted."""
    mirror, bundle = (str(inventory.of(name) or "") for name in SOURCES)
    if mirror and bundle:
        yield Problem(
            "artifacts-two-sources",
            "artifacts_mirror and artifacts_bundle",
            f"both are set ({mirror}, {bundle})",
            "Remove one: a bundle is complete in itself",
            inventory.origin("artifacts_bundle"),
        )
    for name, place in zip(SOURCES, (mirror, bundle), strict=True):
        if place and not (name == "artifacts_mirror" and place.startswith(("http://", "https://"))):
            yield from _directory(inventory, name, place)


def _directory(inventory: Inventory, name: str, place: str) -> Iterator[Problem]:
    origin = inventory.origin(name)
    if inventory.known.paths.get(place) != "directory":
        maker = "make sandbox fills one" if name == "artifacts_mirror" else "playbooks/bundle.yml makes one"
        found = f"there is no directory {place} on the controller"
        yield Problem(
            "artifacts-not-found", name, found, f"Correct the path ({maker}), or remove it to download", origin
        )
        return
    found_there = inventory.known.mirrors.get(place)
    if found_there is None or not found_there.origin:
        found = f"{place} has no lock file, so nothing in it can be verified"
        yield Problem("artifacts-no-lock", name, found, "Fill it again; its lock file is written with it", origin)
    elif found_there.origin == "built" and inventory.of("artifacts_trust_built_mirror") not in (True, "true", "True"):
        yield Problem(
            "artifacts-built-mirror",
            name,
            f"{place} was built from source, so its checksums are not upstream's",
            "Use a mirror that was filled by download; for throw-away hosts set artifacts_trust_built_mirror: true",
            origin,
        )


def api_access(inventory: Inventory) -> Iterator[Problem]:
    """Find an API server that is to be reached by SSH where there is none."""
    if inventory.of("stagecraft_api_access") != "ssh" or not inventory.control_plane:
        return
    first = inventory.control_plane[0]
    if inventory.of("ansible_connection", first) in ("local", "ansible.builtin.local"):
        yield Problem(
            "api-access-without-ssh",
            "stagecraft_api_access",
            f"it is ssh, but {first} is reached by ansible_connection: local",
            "Use direct, or remove ansible_connection",
            inventory.origin("stagecraft_api_access"),
        )
