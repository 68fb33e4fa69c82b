# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.gitops_repository; the module of the same name holds the documentation."""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, ControllerAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import scaffold
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.branch import Branch, publish
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Author, Remote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.branch import Changes, Snapshot

_PRODUCTION = "production"


class ActionModule(ControllerAction):
    """Bring generated files of a repository up to date."""

    errors = (FluxError, GitError)
    argument_spec = ArgumentSpec(
        options={
            "templates": {"type": "path", "required": True},
            "environments": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "domain": {"type": "str"},
                    "replicas": {"type": "int", "default": 1},
                    "requests": {"type": "dict", "default": {"cpu": "10m", "memory": "16Mi"}},
                    "limits": {"type": "dict", "default": {"memory": "32Mi"}},
                },
            },
            "domain": {"type": "str", "required": True},
            "following": {"type": "list", "elements": "str", "default": []},
            "not_secret": {"type": "list", "elements": "str", "default": []},
            "sealing": {"type": "list", "elements": "str", "default": []},
            "sealing_folder": {"type": "str", "default": ""},
            "sample_image": {"type": "str", "default": ""},
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
        },
        mutually_exclusive=[("directory", "repository")],
        required_one_of=[("directory", "repository")],
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Render, compare, and unless in check mode write; `plan` is the same for both."""
        templates = _templates(Path(options["templates"]))
        environments = [_environment(item, options["domain"]) for item in options["environments"]]
        scaffold.check(environments)
        wanted_paths = scaffold.files_to_read(templates, environments, _sealing(options))

        def plan(present: Mapping[str, bytes]) -> scaffold.Plan:
            files = _files(templates, environments, present, options)
            return scaffold.plan(files, present, options["following"], wanted_paths)

        if options["directory"]:
            directory = Path(options["directory"]).expanduser()
            present = {path: (directory / path).read_bytes() for path in wanted_paths if (directory / path).is_file()}
            chosen = plan(present)
            if not self.check_mode:
                _write(directory, chosen.changes)
            return self._result(chosen, "")
        git = options["git"]
        remote = Remote(
            options["repository"]["url"],
            options["repository"]["branch"],
            git["key_file"],
            git["known_hosts"],
            git["timeout"],
        )
        if self.check_mode:
            with Branch(remote) as branch:
                base = branch.fetch()
                return self._result(plan(branch.read(base, wanted_paths)), base.commit or "")
        last: list[scaffold.Plan] = []

        def change(branch: Branch, base: Snapshot) -> Changes:
            last[:] = [plan(branch.read(base, wanted_paths))]
            return dict(last[0].changes)

        message = f"chore: generate the environments {', '.join(item.name for item in environments)}\n"
        done = publish(remote, change, lambda _: message, Author(git["author_name"], git["author_email"]))
        return self._result(last[0], done.commit or "")

    def _result(self, chosen: scaffold.Plan, commit: str) -> dict[str, Any]:
        result: dict[str, Any] = {
            "changed": bool(chosen.changes),
            "commit": commit,
            "created": [file.path for file in chosen.files if file.action == "create"],
            "updated": [file.path for file in chosen.files if file.action == "update"],
            "removed": [file.path for file in chosen.files if file.action == "remove"],
            "kept": [{"path": file.path, "reason": file.reason} for file in chosen.files if file.action == "keep"],
        }
        if self._task.diff:
            result["diff"] = [{"prepared": file.diff()} for file in chosen.files]
        return result


def _templates(directory: Path) -> dict[str, str]:
    if not directory.is_dir():
        raise FluxError(f"templates is {directory}, which is no directory.")
    return {
        path.relative_to(directory).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(directory.rglob("*.j2"))
    }


def _environment(item: Mapping[str, Any], domain: str) -> scaffold.Environment:
    own = item["domain"] or (domain if item["name"] == _PRODUCTION else f"{item['name']}.{domain}")
    return scaffold.Environment(
        name=item["name"],
        domain=own,
        replicas=item["replicas"],
        requests={str(key): str(value) for key, value in item["requests"].items()},
        limits={str(key): str(value) for key, value in item["limits"].items()},
    )


def _sealing(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the folder of each environment that gets sealed secrets."""
    folder = posixpath.normpath(f"/{options['sealing_folder']}").strip("/")
    return {name: folder or scaffold.secrets_folder(name) for name in options["sealing"]}


def _files(
    templates: Mapping[str, str],
    environments: list[scaffold.Environment],
    present: Mapping[str, bytes],
    options: Mapping[str, Any],
) -> dict[str, bytes]:
    """Render all files, but for those of a sample that is not wanted."""
    variables = {"sample_image": options["sample_image"]}
    files = scaffold.render(
        templates, environments, present, variables, options["following"], _sealing(options), options["not_secret"]
    )
    if options["sample_image"]:
        return files
    return {path: text for path, text in files.items() if "/applications/hello" not in path}


def _write(directory: Path, changes: Mapping[str, bytes | None]) -> None:
    """Write files, the record last: a run that is killed leaves files that the next one recognises by their content."""
    for path, content in sorted(changes.items(), key=lambda item: item[0] == scaffold.RECORD):
        target = directory / path
        if content is None:
            target.unlink(missing_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(target.name + ".new")
        temporary.write_bytes(content)
        temporary.replace(target)
