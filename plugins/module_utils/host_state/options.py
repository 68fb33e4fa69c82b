# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of stagecraft.gitops.host_state, for its action and its module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .spec import INSTALL_KINDS, UNIT_STATES

_OWNED: dict[str, Any] = {
    "mode": {"type": "raw"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}
_NAMES: dict[str, Any] = {"type": "list", "elements": "str", "default": []}


def argument_spec() -> dict[str, Any]:
    """Return a fresh argument spec, as AnsibleModule takes it."""
    state: dict[str, Any] = {
        "directories": {
            "type": "list",
            "elements": "dict",
            "options": {"path": {"type": "str", "required": True}, **_OWNED},
        },
        "files": {
            "type": "list",
            "elements": "dict",
            "options": {
                "path": {"type": "str", "required": True},
                "content": {"type": "str"},
                **_OWNED,
                "sensitive": {"type": "bool", "default": False},
                "notify": _NAMES,
                "absent": {"type": "bool", "default": False},
            },
        },
        "links": {
            "type": "list",
            "elements": "dict",
            "options": {"path": {"type": "str", "required": True}, "target": {"type": "str", "required": True}},
        },
        "artifacts": {
            "type": "list",
            "elements": "dict",
            "options": {
                "name": {"type": "str", "required": True},
                "version": {"type": "str", "required": True},
                "install": {"type": "str", "required": True, "choices": list(INSTALL_KINDS)},
                "links": {"type": "dict", "default": {}},
                "strip": {"type": "int"},
                "members": {"type": "list", "elements": "str"},
                "notify": _NAMES,
                "images_namespace": {"type": "str", "default": "k8s.io"},
                "directory": {"type": "str"},
            },
        },
        "kernel_modules": _NAMES,
        "sysctl": {"type": "dict", "default": {}},
        "sysctl_file": {"type": "str"},
        "swap": {"type": "str", "choices": ["disabled", "keep"], "default": "keep"},
        "packages": _NAMES,
        "units": {
            "type": "list",
            "elements": "dict",
            "options": {
                "name": {"type": "str", "required": True},
                "enabled": {"type": "bool"},
                "state": {"type": "str", "choices": list(UNIT_STATES), "default": "started"},
                "exe": {"type": "str"},
                "on_change": {"type": "str", "choices": ["restart", "reload"], "default": "restart"},
                "start_timeout": {"type": "int", "default": 90},
            },
        },
        "ctr": {"type": "str", "default": "/usr/local/bin/ctr"},
    }
    return {
        "state": {"type": "dict", "required": True, "options": state},
        "arch": {"type": "str", "choices": ["amd64", "arm64"]},
        "artifact_source": {
            "type": "dict",
            "options": {
                "mirror": {"type": "str", "default": ""},
                "bundle": {"type": "str", "default": ""},
                "cache": {"type": "str", "default": ""},
                "lock": {"type": "str", "default": ""},
                "trust_built_mirror": {"type": "bool", "default": False},
                "jobs": {"type": "int", "default": 4},
            },
        },
        "digests": {"type": "dict", "default": {}},
        "package_repositories": {"type": "dict", "default": {}},
    }


def without_contents(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as they may be shown: content of sensitive files left out."""
    state = dict(options.get("state") or {})
    files = state.get("files")
    if isinstance(files, (list, tuple)):
        state["files"] = [
            {**entry, "content": "(sensitive)"} if isinstance(entry, Mapping) and entry.get("sensitive") else entry
            for entry in files
        ]
    return {**options, "state": state}
