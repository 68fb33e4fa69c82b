# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.sealed_secret_reseal; the module of the same name holds the documentation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, ControllerAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age.errors import AgeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git import files
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import options as shared
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import reseal, seal
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.manifest import KIND

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.branch import Changes
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.files import View
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.keys import SealingKey
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.seal import FilePlan, Sealer


class ActionModule(ControllerAction):
    """Seal for a newer key, or for another environment, what is sealed already."""

    errors = (SealError, AgeError, GitError)
    argument_spec = ArgumentSpec(
        options={
            "path": {"type": "list", "elements": "str", "required": True},
            "source": {
                "type": "dict",
                "options": {
                    "environment": {"type": "str", "required": True},
                    "path": {"type": "str", "required": True},
                    "backup": {"type": "path", "required": True},
                    "identity_files": {"type": "list", "elements": "path", "required": True},
                },
            },
            **shared.CERTIFICATE_OPTIONS,
            **shared.BACKUP_OPTIONS,
            **shared.PLACE_OPTIONS,
        },
        mutually_exclusive=[("directory", "repository")],
        required_one_of=[("directory", "repository"), ("certificate", "certificate_path"), ("source", "backup")],
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Plan all files, and unless in check mode write them; `plan` is the same for both."""
        started = time.monotonic()
        name = self.environment(options, task_vars)
        private = shared.saved_keys(options, name)
        source = options["source"]
        if source is not None and len(options["path"]) != 1:
            raise SealError(f"wanted one path to put what {source['path']} has, found {len(options['path'])}")
        sources = private if source is None else shared.saved_keys(source, source["environment"])
        last: list[FilePlan] = []
        seen: list[str] = []

        def plan(view: View) -> Changes:
            read = shared.certificate(options, view, name)
            seen[:] = [read.fingerprint]
            sealer = shared.sealer(options, read, name, private)
            last[:] = _plans(view, options["path"], source["path"] if source else None, sources, sealer)
            changes: Changes = {one.path: (one.after or "").encode() for one in last if one.changed}
            path = options["certificate_path"]
            if path and options["certificate"] and view.read([path]).get(path) != read.pem.encode():
                changes[path] = read.pem.encode()
            return changes

        done = files.change(
            shared.place(options),
            plan,
            lambda changes: f"chore({name}): seal {len(changes)} files for {seen[0]}\n",
            shared.author(options),
            dry=self.check_mode,
        )
        result: dict[str, Any] = {
            "changed": bool(done.changes),
            "commit": done.commit,
            "files": sorted(done.changes),
            "fingerprint": seen[0],
            **{key: value for key, value in seal.summary(last).items() if key != "removed"},
            "unchanged": sum(change.action == "keep" for one in last for change in one.items),
            "seconds": round(time.monotonic() - started, 3),
        }
        if self._task.diff:
            result["diff"] = shared.diff(last)
        return result


def _plans(
    view: View, paths: list[str], source_path: str | None, sources: tuple[SealingKey, ...], target: Sealer
) -> list[FilePlan]:
    """Plan each file with SealedSecrets at or below `paths`, or at or below the source's path to stand at the only one."""
    tops = shared.starts(paths if source_path is None else [source_path])
    names = shared.yaml_files(view, tops)
    if not names:
        raise SealError(f"wanted YAML files at or below {', '.join(tops)} in the repository, found none")
    moved = {name: name for name in names}
    if source_path is not None:
        moved = {name: paths[0].strip("/") + name.removeprefix(tops[0]) for name in names}
    contents = view.read([*names, *moved.values()])
    plans: list[FilePlan] = []
    problems: list[str] = []
    for name in names:
        text = contents[name].decode("utf-8", "replace")
        if KIND not in text:
            continue
        there = contents.get(moved[name])
        job = reseal.Job(moved[name], text, None if there is None else there.decode("utf-8", "replace"))
        try:
            found = reseal.plan(job, sources, target)
        except SealError as error:
            problems.append(str(error))
            continue
        plans += [found] if found is not None else []
    if problems:
        raise SealError("no file was changed:\n" + "\n".join(problems))
    return plans
