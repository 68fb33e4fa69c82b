# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.ssh_host_key; the module of the same name holds the documentation."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh import host_keys
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh._action import SshAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.connection import connect, open_channel
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import SshError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.target import SshTarget


class ActionModule(SshAction):
    """Pin a host's key in the admin's known_hosts, and refuse a changed one."""

    argument_spec = ArgumentSpec(
        options={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "fingerprints": {"type": "list", "elements": "str", "default": [], "aliases": ["fingerprint"]},
            "trust_on_first_use": {"type": "bool", "default": False},
            "replace": {"type": "bool", "default": False},
            "known_hosts": {"type": "path"},
        },
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Scan, judge, and edit the file; in check mode only say what would be edited."""
        target = self.target(task_vars, become=False)
        path = options["known_hosts"] or target.known_hosts[0]
        if path == "/dev/null":
            raise SshError(
                f"there is no known_hosts file for {target.label}: its SSH options name /dev/null. Give known_hosts, "
                "or take UserKnownHostsFile=/dev/null out of ansible_ssh_common_args."
            )
        name = target.key_name
        result: dict[str, Any] = {"name": name, "known_hosts": path}
        if options["state"] == "absent":
            plan = self._edit(path, lambda text: host_keys.plan_unpin(text, path, name))
            return result | self._outcome(plan)
        files = dict.fromkeys([path, *target.known_hosts])
        entries = host_keys.read_known_hosts(files)
        shown = _scan(target, entries, options["fingerprints"])
        decision = host_keys.decide(
            entries,
            name,
            shown,
            fingerprints=options["fingerprints"],
            trust_on_first_use=options["trust_on_first_use"],
            replace=options["replace"],
        )
        result |= {"key_type": shown.type, "fingerprint": shown.fingerprint}

        def change(text: str) -> host_keys.PinPlan:
            cleared = host_keys.plan_unpin(text, path, name).after if decision == "replace" else text
            pinned = host_keys.plan_pin(cleared, path, name, [] if decision == "keep" else [shown])
            return host_keys.PinPlan(path, text, pinned.after)

        return result | self._outcome(self._edit(path, change))

    def _edit(self, path: str, change: Any) -> host_keys.PinPlan:
        if self.check_mode:
            plan: host_keys.PinPlan = change(host_keys.read_text(path))
            return plan
        return host_keys.edit_known_hosts(path, change)

    def _outcome(self, plan: host_keys.PinPlan) -> dict[str, Any]:
        outcome: dict[str, Any] = {"changed": plan.changed}
        if self._task.diff and plan.changed:
            outcome["diff"] = {
                "before_header": plan.path,
                "after_header": plan.path,
                "before": plan.before,
                "after": plan.after,
            }
        return outcome


def _scan(target: SshTarget, entries: Sequence[host_keys.KnownHost], fingerprints: Sequence[str]) -> host_keys.HostKey:
    """Read the host's key: of the type that is pinned, or the one that the admin vouches for, or its best."""
    pinned = [entry.key for entry in host_keys.keys_of(entries, target.key_name) if not entry.marker]
    vouched = {host_keys.normalise_fingerprint(text) for text in fingerprints}
    with contextlib.ExitStack() as stack:
        jump = stack.enter_context(connect(target.jump)) if target.jump else None

        def scan(key_type: str | None) -> host_keys.HostKey:
            sock = open_channel(jump, target.host, target.port, target.timeout) if jump else None
            return host_keys.scan_host_key(target.host, target.port, key_type, target.timeout, sock)

        best = scan(None)
        if best in pinned or best.fingerprint in vouched:
            return best
        # The admin's fingerprint, or the pinned key, may be of another type than the one that the host prefers.
        for key_type in host_keys.KEY_TYPES:
            if key_type != best.type and (vouched or key_type in {key.type for key in pinned}):
                with contextlib.suppress(SshError):
                    other = scan(key_type)
                    if other.fingerprint in vouched or (not vouched and other in pinned):
                        return other
        return best
