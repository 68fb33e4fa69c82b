# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read what the rules measure by: the roles' options, the catalogue's versions, and files on the controller."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import load_catalogue
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.lock import BUNDLE_LOCK, MIRROR_LOCK
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment import sources
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.environment.model import UNKNOWN, Known, Mirror, Option

if TYPE_CHECKING:
    from collections.abc import Mapping

COLLECTION = Path(__file__).parents[3]
_LOCKS = (MIRROR_LOCK, BUNDLE_LOCK)
_PATH_VARIABLES = (
    *sources.SOURCES,
    "cni_manifest",
    "k3s_token_file",
    "ansible_ssh_private_key_file",
    "ansible_private_key_file",
)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def role_options(collection: Path = COLLECTION) -> dict[str, Option]:
    """Return all options of all roles by name, from every entry point of their argument_specs."""
    found: dict[str, Option] = {}
    for path in sorted(collection.glob("roles/*/meta/argument_specs.yml")):
        role = path.parents[1].name
        specs = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506  # a safe loader either way
        for entry in (specs.get("argument_specs") or {}).values():
            for name, spec in (entry.get("options") or {}).items():
                default = spec.get("default")
                computed = isinstance(default, str) and "{{" in default
                found[name] = Option(
                    role=role,
                    name=name,
                    type=str(spec.get("type", "str")),
                    choices=tuple(str(choice) for choice in spec.get("choices") or ()),
                    default=None if computed else default,
                )
    return found


def known(hosts: Mapping[str, Mapping[str, Any]], collection: Path = COLLECTION) -> Known:
    """Gather everything that the rules need for the variables of `hosts`."""
    catalogue = load_catalogue()
    named = {str(v[name]) for v in hosts.values() for name in _PATH_VARIABLES if v.get(name) and v[name] is not UNKNOWN}
    directories = {
        str(v[name]) for v in hosts.values() for name in sources.SOURCES if v.get(name) and v[name] is not UNKNOWN
    }
    engine = catalogue.resolve("kube-router", None, "amd64")
    return Known(
        options=role_options(collection),
        versions={name: catalogue.versions(name) for name in catalogue.names()},
        defaults={name: catalogue.default_version(name) for name in catalogue.names()},
        paths={path: _kind(path) for path in named},
        mirrors={path: _mirror(path) for path in directories if _kind(path) == "directory"},
        policy_image_directory=engine.path.rpartition("/")[0],
    )


def _kind(path: str) -> str:
    expanded = Path(path).expanduser()
    if expanded.is_dir():
        return "directory"
    return "file" if expanded.is_file() else ""


def _mirror(directory: str) -> Mirror:
    for name in _LOCKS:
        try:
            lock = json.loads((Path(directory).expanduser() / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(lock, dict):
            return Mirror(str(lock.get("origin") or "downloaded"), frozenset(lock.get("files") or {}))
    return Mirror()
