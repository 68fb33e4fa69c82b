# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that the actions of sealed secrets share, and what they stand for."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.files import View
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Author, Remote
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import custody, keys, mac
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.backup import Backup
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import BackupError, SealError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.keys import Certificate, SealingKey
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.manifest import Declared
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.seal import FilePlan, Sealer

YAML = (".yaml", ".yml", ".json")
PLACE_OPTIONS: dict[str, dict[str, Any]] = {
    "directory": {"type": "path"},
    "repository": {
        "type": "dict",
        "options": {"url": {"type": "str", "required": True}, "branch": {"type": "str", "default": "main"}},
    },
    "git": {
        "type": "dict",
        "default": {},
        "options": {
            "key_file": {"type": "str", "default": "", "no_log": False},
            "known_hosts": {"type": "str", "default": ""},
            "author_name": {"type": "str", "default": "stagecraft.gitops"},
            "author_email": {"type": "str", "default": "stagecraft@localhost"},
            "timeout": {"type": "float", "default": 60.0},
        },
    },
}
BACKUP_OPTIONS: dict[str, dict[str, Any]] = {
    "backup": {"type": "path"},
    "identity_files": {"type": "list", "elements": "path", "default": []},
}
CERTIFICATE_OPTIONS: dict[str, dict[str, Any]] = {
    "environment": {"type": "str"},
    "certificate": {"type": "str"},
    "certificate_path": {"type": "str"},
    "fingerprint": {"type": "str", "default": ""},
    "mac_key": {"type": "str", "no_log": True},
}


def place(options: Mapping[str, Any]) -> Path | Remote:
    """Return where the files are."""
    if options["directory"]:
        return Path(options["directory"]).expanduser()
    git, repository = options["git"], options["repository"]
    return Remote(repository["url"], repository["branch"], git["key_file"], git["known_hosts"], git["timeout"])


def starts(paths: Iterable[str]) -> list[str]:
    """Return the files and folders to look at, "" for all of the repository, without those that lie in another of them."""
    tops = dict.fromkeys(path.strip("/") for path in paths)
    return [one for one in tops if not any(_inside(one, other) for other in tops)]


def _inside(path: str, folder: str) -> bool:
    return path != folder and (not folder or path.startswith(f"{folder}/"))


def yaml_files(view: View, tops: Iterable[str]) -> list[str]:
    """Return the YAML files at or below `tops`; a file that is named itself counts whatever its suffix."""
    return [path for top in tops for path in ([top] if top in view.paths else view.below(top, YAML))]


def author(options: Mapping[str, Any]) -> Author:
    """Return who commits."""
    return Author(options["git"]["author_name"], options["git"]["author_email"])


def saved_keys(options: Mapping[str, Any], name: str) -> tuple[SealingKey, ...]:
    """Return the private keys of a backup, none where no backup is named. Raises AgeError, BackupError."""
    found = saved(options)
    if found is None:
        return ()
    if name and found.environment != name:
        raise BackupError(
            f"{options['backup']}: it holds the keys of {found.environment}, wanted those of {name}. Name its own backup"
        )
    return found.keys


def saved(options: Mapping[str, Any]) -> Backup | None:
    """Return the backup that is named; None where none is. Raises AgeError, BackupError also where it is not there."""
    if not options["backup"]:
        return None
    path = Path(options["backup"]).expanduser()
    found = custody.read_backup(path, file.identities_of(options["identity_files"]))
    if found is None:
        raise BackupError(f"{path}: wanted a backup of sealing keys, found no file")
    return found


def certificate(options: Mapping[str, Any], view: View, name: str) -> Certificate:
    """Return the certificate to seal with: the one given, else the one in the repository. Raises SealError."""
    path = options["certificate_path"]
    if options["certificate"]:
        where, text = "certificate", options["certificate"]
    elif path:
        found = view.read([path])
        if path not in found:
            raise SealError(f"wanted the certificate of {name} at {path} in the repository, found no file")
        where, text = path, found[path].decode("utf-8", "replace")
    else:
        raise SealError("wanted a certificate to seal with: give certificate or certificate_path")
    read = keys.read_certificate(text, where)
    problems = keys.check_certificate(read, name, options["fingerprint"], datetime.now(tz=UTC), where)
    if problems:
        raise SealError("\n".join(problems))
    return read


def sealer(options: Mapping[str, Any], read: Certificate, name: str, private: tuple[SealingKey, ...]) -> Sealer:
    """Return what seals for an environment. Raises SealError."""
    key = mac.derive(options["mac_key"], name) if options["mac_key"] else None
    return Sealer(name, read, private, key)


def declared(item: Mapping[str, Any]) -> Declared:
    """Return what one entry of the option `secrets` stands for. Raises SealError, which names no value."""
    where = f"secret {item['namespace']}/{item['name']}"
    items: dict[str, bytes] = {}
    problems: list[str] = []
    for key, value in item["string_data"].items():
        if not isinstance(value, str):
            problems.append(f"{where}: string_data.{key} is not text. Quote it")
            continue
        items[str(key)] = value.encode()
    for key, value in item["data"].items():
        if str(key) in items:
            problems.append(f"{where}: {key} stands in data and in string_data")
            continue
        try:
            items[str(key)] = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError, TypeError):
            problems.append(f"{where}: data.{key} is not base64. Text belongs into string_data")
    if problems:
        raise SealError("\n".join(problems))
    texts = {
        field: {str(key): str(value) for key, value in item[field].items()}
        for field in ("labels", "annotations", "template_data")
    }
    return Declared(
        path=item["path"],
        name=item["name"],
        namespace=item["namespace"],
        items=items,
        scope=item["scope"],
        type=item["type"],
        immutable=item["immutable"],
        allow_empty=item["allow_empty"],
        **texts,
    )


def diff(plans: list[FilePlan]) -> list[dict[str, str]]:
    """Before and after of each changed file: names of items and what becomes of them, never a value or ciphertext."""
    shown = []
    for plan in plans:
        if not plan.changed:
            continue
        before = [f"{change.item}: sealed" for change in plan.items if change.action != "add"]
        after = [
            f"{change.item}: sealed" + (f" anew ({change.reason})" if change.action in ("add", "reseal") else "")
            for change in plan.items
            if change.action != "remove"
        ]
        after += [f"(besides: {', '.join(plan.rest)})"] if plan.rest else []
        shown.append(
            {
                "before_header": plan.path,
                "after_header": plan.path,
                "before": "" if plan.before is None else "\n".join(before) + "\n",
                "after": "" if plan.after is None else "\n".join(after) + "\n",
            }
        )
    return shown
