# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.sealed_secret; the module of the same name holds the documentation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, ControllerAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age.errors import AgeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git import files
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import manifest, seal
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import options as shared
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.crypto import SCOPES
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.branch import Changes
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.files import View
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.manifest import Declared
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.seal import FilePlan


class ActionModule(ControllerAction):
    """Seal Secrets into files of a repository."""

    errors = (SealError, AgeError, GitError)
    argument_spec = ArgumentSpec(
        options={
            "secrets": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "namespace": {"type": "str", "required": True},
                    "path": {"type": "str"},
                    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
                    "string_data": {"type": "dict", "default": {}, "no_log": True},
                    "data": {"type": "dict", "default": {}, "no_log": True},
                    "scope": {"type": "str", "choices": list(SCOPES), "default": "strict"},
                    "type": {"type": "str", "default": ""},
                    "labels": {"type": "dict", "default": {}},
                    "annotations": {"type": "dict", "default": {}},
                    "template_data": {"type": "dict", "default": {}},
                    "immutable": {"type": "bool", "default": False},
                    "allow_empty": {"type": "bool", "default": False},
                },
            },
            "folder": {"type": "str", "default": "secrets"},
            "purge_items": {"type": "bool", "default": True},
            **shared.CERTIFICATE_OPTIONS,
            **shared.BACKUP_OPTIONS,
            **shared.PLACE_OPTIONS,
        },
        mutually_exclusive=[("directory", "repository")],
        required_one_of=[("directory", "repository"), ("certificate", "certificate_path")],
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Plan all files, and unless in check mode write them; `plan` is the same for both."""
        started = time.monotonic()
        name = self.environment(options, task_vars)
        wanted, gone = _declared(_with_paths(options["secrets"], options["folder"]))
        private = shared.saved_keys(options, name)
        last: list[FilePlan] = []
        pem: list[str] = []

        def plan(view: View) -> Changes:
            read = shared.certificate(options, view, name)
            sealer = shared.sealer(options, read, name, private)
            last[:] = _plans(wanted, gone, view, sealer, purge=options["purge_items"])
            pem[:] = [read.fingerprint]
            changes: Changes = {
                one.path: None if one.after is None else one.after.encode() for one in last if one.changed
            }
            path = options["certificate_path"]
            if path and view.read([path]).get(path) != read.pem.encode() and options["certificate"]:
                changes[path] = read.pem.encode()
            return changes

        done = files.change(
            shared.place(options),
            plan,
            lambda changes: _message(name, last, changes),
            shared.author(options),
            dry=self.check_mode,
        )
        result: dict[str, Any] = {
            "changed": bool(done.changes),
            "commit": done.commit,
            "files": sorted(done.changes),
            "fingerprint": pem[0],
            **seal.summary(last),
            "unchanged": sum(change.action == "keep" for one in last for change in one.items),
            "seconds": round(time.monotonic() - started, 3),
        }
        wide = [str(one) for one in wanted if one.scope == "cluster-wide"]
        if wide:
            result["warnings"] = [
                f"{', '.join(wide)}: sealed cluster-wide, so whoever may create a SealedSecret anywhere in the cluster can"
                " have it unsealed there"
            ]
        if self._task.diff:
            result["diff"] = shared.diff(last)
        return result


def _with_paths(secrets: list[dict[str, Any]], folder: str) -> list[dict[str, Any]]:
    top = folder.strip("/")
    return [
        {**item, "path": item["path"] or "/".join(filter(None, (top, item["namespace"], f"{item['name']}.yaml")))}
        for item in secrets
    ]


def _declared(secrets: list[dict[str, Any]]) -> tuple[list[Declared], list[tuple[str, str]]]:
    """Return what is to be there and (path, namespace/name) of what is not. Raises SealError with all problems."""
    wanted, gone, problems = [], [], []
    for item in secrets:
        if item["state"] == "absent":
            gone.append((item["path"], f"{item['namespace']}/{item['name']}"))
            continue
        try:
            wanted.append(shared.declared(item))
        except SealError as error:
            problems.append(str(error))
    problems += manifest.check(wanted)
    if problems:
        raise SealError("nothing was sealed:\n" + "\n".join(problems))
    return wanted, gone


def _plans(
    wanted: list[Declared], gone: list[tuple[str, str]], view: View, sealer: seal.Sealer, *, purge: bool
) -> list[FilePlan]:
    present = view.read([*(one.path for one in wanted), *(path for path, _secret in gone)])
    texts = {path: content.decode("utf-8", "replace") for path, content in present.items()}
    plans: list[FilePlan] = []
    problems: list[str] = []
    for one in wanted:
        try:
            plans.append(seal.plan(one, texts.get(one.path), sealer, purge=purge))
        except SealError as error:
            problems.append(str(error))
    for path, secret in gone:
        try:
            plans.append(seal.removal(path, secret, texts.get(path)))
        except SealError as error:
            problems.append(str(error))
    if problems:
        raise SealError("nothing was sealed:\n" + "\n".join(problems))
    return plans


def _message(environment: str, plans: list[FilePlan], changes: Changes) -> str:
    named = [plan.secret for plan in plans if plan.path in changes]
    subject = ", ".join(named) if len(", ".join(named)) <= 50 else f"{len(named)} secrets"
    return f"chore({environment}): seal {subject or 'for a new certificate'}\n"
