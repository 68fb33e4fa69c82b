# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.kubeconfig; the module of the same name holds the documentation."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, HostAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube import kubeconfig, kubeconfig_file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeconfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

# EX_NOINPUT of sysexits.h: a status of its own, since cat's own text depends on the host's language.
_MISSING = 66


class ActionModule(HostAction):
    """Merge one cluster's admin credentials into the admin's kubeconfig, or take them out."""

    errors = (KubeconfigError,)
    argument_spec = ArgumentSpec(
        options={
            "path": {"type": "path", "default": "~/.kube/config"},
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "source": {"type": "str", "no_log": True},
            "source_file": {"type": "str"},
            "server": {"type": "str"},
            "tls_server_name": {"type": "str"},
            "set_current": {"type": "bool", "default": False},
            "backup": {"type": "bool", "default": True},
        },
        mutually_exclusive=[("source", "source_file")],
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Converge the file; in check mode only say what would change."""
        name = options["name"]
        path = Path(options["path"])
        result: dict[str, Any] = {"name": name, "context": name, "cluster": name, "user": kubeconfig.user_name(name)}
        credentials = None
        if options["state"] == "present":
            source = self._read(options["source_file"]) if options["source_file"] else options["source"] or ""
            if not source.strip() and self.check_mode:
                # The cluster that would write its admin.conf does not exist yet.
                planned = kubeconfig_file.observe(path)
                return result | {"changed": True, "path": str(planned.path), "changes": [], "server": options["server"]}
            if not source.strip():
                raise KubeconfigError(self._nothing(options["source_file"]))
            credentials = kubeconfig.read_source(
                source,
                options["source_file"] or "source",
                options["server"] or None,
                options["tls_server_name"] or None,
            )
        outcome = kubeconfig_file.converge(
            path,
            name,
            credentials,
            set_current=options["set_current"],
            check_mode=self.check_mode,
            backup=options["backup"],
        )
        result |= {
            "changed": bool(outcome.changes),
            "path": str(outcome.path),
            "changes": [change.as_dict() for change in outcome.changes],
            "current_context": outcome.plan.current_context,
            "server": credentials.server if credentials else None,
            "diff": {
                "before_header": str(outcome.path),
                "after_header": str(outcome.path),
                "before": outcome.plan.before,
                "after": outcome.plan.after,
            },
        }
        if outcome.backup:
            result["backup_file"] = str(outcome.backup)
        if outcome.plan.dangling:
            result["warnings"] = [
                f"{outcome.path}: the contexts {', '.join(outcome.plan.dangling)} still refer to the removed {name}."
            ]
        return result

    def _read(self, path: str) -> str:
        """Return the text of a file of the host, empty where there is none. It is in no result and in no variable."""
        quoted = shlex.quote(path)
        command = f"if test -e {quoted}; then cat {quoted}; else exit {_MISSING}; fi"
        # The connection shows what a command answers from -vvv on, unless its task is marked so.
        context = self._connection._play_context
        shown, context.no_log = context.no_log, True
        try:
            answer = self._low_level_execute_command(command)
        finally:
            context.no_log = shown
        if answer["rc"] not in (0, _MISSING):
            said = str(answer["stderr"]).strip() or f"status {answer['rc']}"
            raise KubeconfigError(f"{path} on {self._host()} cannot be read: {said}. Is become on?")
        return str(answer["stdout"]) if answer["rc"] == 0 else ""

    def _host(self) -> str:
        return str(self._connection.get_option("host") if self._connection.transport == "ssh" else "this machine")

    def _nothing(self, path: str | None) -> str:
        if path is None:
            return (
                "wanted source or source_file, found neither: the cluster's admin kubeconfig, for kubeadm the file "
                "/etc/kubernetes/admin.conf of a control plane"
            )
        return (
            f"wanted the cluster's admin kubeconfig in {path} on {self._host()}, found no such file or an empty one. "
            "Is it a control plane, is its cluster made, and is become on?"
        )
