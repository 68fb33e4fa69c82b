# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.artifact_push; the module of the same name holds the documentation."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh._action import SshAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.connection import connect, privilege
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import TransferError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.transfer import Push, digest, push_files

if TYPE_CHECKING:
    from collections.abc import Mapping

_READERS = 4


class ActionModule(SshAction):
    """Put files on a host over one connection."""

    argument_spec = ArgumentSpec(
        options={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "src": {"type": "path", "required": True},
                    "dest": {"type": "path", "required": True},
                    "sha256": {"type": "str"},
                    "mode": {"type": "str", "default": "0644"},
                },
            },
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Push what the host lacks; in check mode only say what that is."""
        # hashlib lets go of the interpreter's lock, so files without a digest are read beside each other.
        with ThreadPoolExecutor(max_workers=_READERS) as pool:
            pushes = list(pool.map(_push, options["files"]))
        places = [push.remote for push in pushes]
        twice = sorted({place for place in places if places.count(place) > 1})
        if twice:
            raise TransferError(f"several files have the same dest: {', '.join(twice)}. Give each a place of its own.")
        target = self.target(task_vars)
        with connect(target) as client:
            done = push_files(client, pushes, rights=privilege(client, target), check_mode=self.check_mode)
        changed = [item for item in done if item.changed]
        result: dict[str, Any] = {
            "changed": bool(changed),
            "sent_bytes": sum(item.sent for item in done),
            "files": [
                {
                    "dest": item.remote,
                    "changed": item.changed,
                    "size": item.size,
                    "sent_bytes": item.sent,
                    "resumed_at": item.resumed_at,
                }
                for item in done
            ],
        }
        if self._task.diff:
            # The digest stands for the content: what is pushed is seldom text, and may be big.
            result["diff"] = [
                {
                    "before_header": push.remote,
                    "after_header": push.remote,
                    "before": "" if item.sent else "other mode\n",
                    "after": f"sha256:{push.sha256} mode {push.mode:04o}\n",
                }
                for push, item in zip(pushes, done, strict=True)
                if item.changed
            ]
        return result


def _push(entry: Mapping[str, Any]) -> Push:
    local = Path(entry["src"])
    if not re.fullmatch(r"0?[0-7]{3}", entry["mode"]):
        raise TransferError(f'mode {entry["mode"]!r} of {entry["dest"]} is not an octal mode such as "0644" in quotes.')
    return Push(local, entry["dest"], (entry["sha256"] or digest(local)).lower(), int(entry["mode"], 8))
