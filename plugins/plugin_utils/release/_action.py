# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that the modules of releases share, and what the engine makes of them."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible import __version__ as ansible_version
from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ControllerAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git import pull_requests
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Author, Remote
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.worktree import origin_of
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.access import first_control_plane
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import verify
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.operation import Place
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.run import Options
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh._action import defaults_of
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.target import target_from_vars

REPOSITORY: dict[str, Any] = {
    "repository": {
        "type": "dict",
        "required": True,
        "options": {
            "url": {"type": "str", "required": True},
            "branch": {"type": "str", "default": "main"},
            # of the flux role's variable, which may be passed as it is
            "path": {"type": "str"},
        },
    },
    "git": {
        "type": "dict",
        "default": {},
        "options": {
            "key_file": {"type": "str", "default": "", "no_log": False},
            "known_hosts": {"type": "str", "default": ""},
            "token_file": {"type": "str", "default": "", "no_log": False},
            "user": {"type": "str", "default": "git"},
            "author_name": {"type": "str", "default": "stagecraft.gitops"},
            "author_email": {"type": "str", "default": "stagecraft@localhost"},
            "sign": {"type": "str", "default": ""},
            "timeout": {"type": "float", "default": 60.0},
            "cache": {"type": "path"},
        },
    },
    "environments": {"type": "raw"},
    "components": {"type": "raw"},
    "clusters": {"type": "dict", "default": {}},
    "actor": {"type": "str", "default": ""},
}
_CLUSTER = ("kubeconfig", "context", "source", "api_access", "ssh_host")
CARRY_OUT: dict[str, Any] = {
    "strategy": {"type": "str", "choices": ["push", "pull_request", "plan"], "default": "push"},
    "approved_plan": {"type": "str", "default": ""},
    "approved_by": {"type": "str", "default": ""},
    "force": {"type": "bool", "default": False},
    "reason": {"type": "str", "default": ""},
    "message": {"type": "str", "default": ""},
    "retries": {"type": "int", "default": 25},
    "forge": {
        "type": "dict",
        "options": {
            "type": {"type": "str", "required": True, "choices": list(pull_requests.KINDS)},
            "url": {"type": "str"},
            "repository": {"type": "str"},
            "token_file": {"type": "str", "required": True, "no_log": False},
            "auto_merge": {"type": "bool", "default": False},
        },
    },
    "verify": {
        "type": "dict",
        "default": {},
        "options": {
            "enabled": {"type": "bool"},
            "timeout": {"type": "float"},
            "settle": {"type": "float"},
            "http": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "url": {"type": "str", "required": True},
                    "status": {"type": "list", "elements": "int", "default": [200]},
                    "contains": {"type": "str", "default": ""},
                    "headers": {"type": "dict", "default": {}},
                    "ca_file": {"type": "path"},
                    "count": {"type": "int", "default": 5},
                    "least": {"type": "int"},
                    "failures": {"type": "int", "default": 3},
                    "interval": {"type": "float", "default": 1.0},
                    "timeout": {"type": "float", "default": 5.0},
                },
            },
            "promql": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "url": {"type": "str", "required": True},
                    "query": {"type": "str", "required": True},
                    "name": {"type": "str"},
                    "max": {"type": "float"},
                    "min": {"type": "float"},
                    "headers": {"type": "dict", "default": {}},
                    "ca_file": {"type": "path"},
                    "timeout": {"type": "float", "default": 10.0},
                },
            },
            "job": {"type": "dict"},
            "command": {"type": "list", "elements": "str", "default": []},
            "on_failure": {"type": "str", "choices": ["rollback", "keep"]},
        },
    },
}


def place(options: Mapping[str, Any]) -> Place:
    """Return where the work is done. Raises GitError."""
    git = options["git"]
    remote = Remote(
        address(options["repository"]["url"]),
        options["repository"]["branch"],
        git["key_file"],
        git["known_hosts"],
        git["timeout"],
        git["token_file"],
        git["user"],
    )
    return Place(
        remote,
        Author(git["author_name"], git["author_email"]),
        options["actor"] or actor(),
        git["sign"],
        Path(git["cache"]).expanduser() if git["cache"] else None,
        options["environments"],
        options["components"],
    )


def address(url: str) -> str:
    """Return the address of a repository; a directory is a bare repository, or a clone whose origin is meant."""
    if "://" in url or (":" in url and not url.startswith(("/", "~", "."))):
        if urlsplit(url).password:
            raise GitError("the repository's address carries a password: name a file that holds it by git.token_file.")
        return url
    return origin_of(Path(url).expanduser().absolute())


def actor() -> str:
    """Return who runs this, as a commit tells it: user, machine, and what does the work."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"{user} ({socket.gethostname()}, ansible-core {ansible_version})"


def carry_out(options: Mapping[str, Any], gates: Mapping[str, Any], where: Place, *, check_mode: bool) -> Options:
    """Return how a job is carried out. Raises GitError."""
    own: dict[str, Any] = {name: value for name, value in options["verify"].items() if value not in (None, [])}
    own |= {name: tuple(own[name]) for name in ("http", "promql", "command") if name in own}
    forge = options["forge"]
    return Options(
        check_mode=check_mode,
        strategy=options["strategy"],
        approved_plan=options["approved_plan"],
        approved_by=options["approved_by"],
        gates=gates,
        verify=verify.Options(**own),
        verify_given=frozenset(own),
        force=options["force"],
        reason=options["reason"],
        message=options["message"],
        retries=options["retries"],
        forge=pull_requests.from_options(forge, where.remote.url) if forge else None,
        auto_merge=bool(forge and forge["auto_merge"]),
        clusters=options["clusters"],
    )


def clusters(
    action: ControllerAction, named: Mapping[str, Any], task_vars: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the option `clusters` as `Clusters` takes it: one that is reached by SSH has the host to go through.

    Raises ReleaseError with all that is wrong, SshError where the variables of a host make no sense.
    """
    found: dict[str, dict[str, Any]] = {}
    problems = []
    for name, one in named.items():
        if not isinstance(one, Mapping):
            problems.append(f"clusters: {name}: wanted a dict of {', '.join(_CLUSTER)}, found {one!r}")
            continue
        problems += [
            f"clusters: {name}: there is no {key}; it has {', '.join(_CLUSTER)}" for key in one.keys() - set(_CLUSTER)
        ]
        way, host = one.get("api_access") or "direct", one.get("ssh_host") or first_control_plane(task_vars)
        found[name] = {key: str(value) for key, value in one.items() if value}
        if way not in ("direct", "ssh"):
            problems.append(f"clusters: {name}: api_access: wanted direct or ssh, found {way}")
        elif way == "ssh" and host not in task_vars["hostvars"]:
            problems.append(
                f"clusters: {name}: ssh_host: {host} is no host of this inventory. Name a control plane of it, and give the"
                " environment's inventory with -i as well"
            )
        elif way == "ssh":
            found[name]["ssh"] = target_from_vars(task_vars["hostvars"][host], defaults=defaults_of(action, task_vars))
    if problems:
        raise ReleaseError("\n".join(problems))
    return found
