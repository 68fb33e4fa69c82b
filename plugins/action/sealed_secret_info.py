# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.sealed_secret_info; the module of the same name holds the documentation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, ControllerAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age.errors import AgeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git import files
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import keys, verify
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import options as shared
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.files import View
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.keys import Certificate


class ActionModule(ControllerAction):
    """Verify sealed secrets without a cluster."""

    errors = (SealError, AgeError, GitError)
    argument_spec = ArgumentSpec(
        options={
            "path": {"type": "list", "elements": "str", "default": []},
            "environment": {"type": "str"},
            "certificate_path": {"type": "str"},
            "fingerprint": {"type": "str", "default": ""},
            "only": {"type": "list", "elements": "str", "default": []},
            "at_least": {"type": "int", "default": 0},
            "fail": {"type": "bool", "default": True},
            **shared.BACKUP_OPTIONS,
            **shared.PLACE_OPTIONS,
        },
        mutually_exclusive=[("directory", "repository")],
        required_one_of=[("directory", "repository")],
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Read all SealedSecrets, open them where there is a backup, and tell everything that is wrong."""
        started = time.monotonic()
        name = self.environment(options, task_vars)
        backup = shared.saved(options)
        private = shared.saved_keys(options, name)
        view, commit = files.look(shared.place(options))
        certificate, problems = _certificate(options, view, name)
        tops = shared.starts(options["path"] or [""])
        read = view.read(shared.yaml_files(view, tops))
        texts = {path: content.decode("utf-8", "replace") for path, content in read.items()}
        report = verify.report(texts, private, certificate)
        problems += report.problems
        if private and options["only"]:
            problems += [
                f"{item}: none of the keys {', '.join(options['only'])} opens it"
                for item in verify.not_by(report, options["only"])
            ]
        if report.items < options["at_least"]:
            where = ", ".join(tops) or "the repository"
            problems.append(f"wanted {options['at_least']} items at least below {where}, found {report.items}")
        current = backup.current if backup is not None else None
        active = [one.fingerprint for one in backup.records if one.state == "active"] if backup is not None else []
        if backup is not None and certificate is not None and certificate.fingerprint not in active:
            problems.append(
                f"{options['certificate_path']} is the certificate of {certificate.fingerprint}, which is no active key of"
                f" {name}; it has {', '.join(active) or 'none'}"
            )
        result: dict[str, Any] = {
            "changed": False,
            "commit": commit,
            "secrets": [
                {
                    "name": one.sealed.name,
                    "namespace": one.sealed.namespace,
                    "path": one.sealed.path,
                    "scope": one.sealed.scope,
                    "item_names": sorted(one.sealed.items),
                    "fingerprints": sorted({key for key in one.keys.values() if key}),
                    "problems": list(one.problems),
                }
                for one in report.found
            ],
            "item_count": report.items,
            "opened_by": report.opened_by(),
            "current": current.fingerprint if current is not None else "",
            "opened": bool(private),
            "problems": problems,
            "seconds": round(time.monotonic() - started, 3),
        }
        if problems and options["fail"]:
            result |= {
                "failed": True,
                "msg": f"the sealed secrets of {name} have {len(problems)} problems:\n"
                + "\n".join(f"- {problem}" for problem in problems),
            }
        return result


def _certificate(options: Mapping[str, Any], view: View, name: str) -> tuple[Certificate | None, list[str]]:
    """Return the certificate in the repository with what is wrong with it."""
    path = options["certificate_path"]
    if not path:
        return None, []
    content = view.read([path]).get(path)
    if content is None:
        return None, [f"wanted the certificate of {name} at {path}, found no file"]
    try:
        read = keys.read_certificate(content.decode("utf-8", "replace"), path)
    except SealError as error:
        return None, [str(error)]
    return read, keys.check_certificate(read, name, options["fingerprint"], datetime.now(tz=UTC), path)
