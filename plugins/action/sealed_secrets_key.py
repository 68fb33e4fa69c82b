# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of stagecraft.gitops.sealed_secrets_key; the module of the same name holds the documentation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils._action import ArgumentSpec, ControllerAction
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age.errors import AgeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.access import (
    API_ACCESS_OPTIONS,
    API_ACCESS_VARIABLES,
    api_access,
)
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError, KubeconfigError, KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Session
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import custody, keys, lifecycle
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh._action import defaults_of
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.ssh.errors import SshError

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.backup import Backup, KeyRecord
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.keys import SealingKey
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.lifecycle import Change, Plan


class ActionModule(ControllerAction):
    """Own the sealing keys of an environment."""

    errors = (SealError, AgeError, KubeError, SshError)
    argument_spec = ArgumentSpec(
        options={
            "state": {
                "type": "str",
                "choices": ["present", "retired", "compromised", "verified"],
                "default": "present",
            },
            "environment": {"type": "str"},
            "namespace": {"type": "str", "default": "kube-system"},
            "backup": {"type": "path", "required": True},
            "recipients": {"type": "list", "elements": "str", "default": []},
            "identity_files": {"type": "list", "elements": "path", "required": True},
            "fingerprints": {"type": "list", "elements": "str", "default": []},
            "replace": {"type": "str", "default": ""},
            "max_age": {"type": "float"},
            "adopt": {"type": "bool", "default": False},
            "size": {"type": "int", "choices": [2048, 3072, 4096], "default": keys.SIZE},
            "lifetime": {"type": "int", "default": keys.LIFETIME.days},
            **API_ACCESS_OPTIONS,
        },
        required_if=[("state", "present", ["recipients"])],
    )

    def act(self, options: dict[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """Read cluster and backup, plan, and unless in check mode write the backup, then the cluster."""
        started = time.monotonic()
        name = self.environment(options, task_vars)
        identities = file.identities_of(options["identity_files"])
        path = Path(options["backup"]).expanduser()
        if options["state"] != "verified":
            file.check_recipients(options["recipients"])
        saved = custody.read_backup(path, identities)
        max_age = None if options["max_age"] is None else timedelta(days=options["max_age"])
        wanted = lifecycle.Wanted(
            name,
            options["state"],
            options["namespace"],
            tuple(options["fingerprints"]),
            options["replace"],
            max_age,
            file.comparable(options["recipients"]),
        )
        access = api_access(
            options, self.variables(API_ACCESS_VARIABLES, task_vars), task_vars, partial(defaults_of, self, task_vars)
        )

        def generate(start: datetime) -> SealingKey:
            return keys.generate(name, start, options["size"], timedelta(days=options["lifetime"]))

        with Session(access) as session:
            cluster = self._observe(session, wanted, saved, adopt=options["adopt"])
            plan = lifecycle.plan(wanted, cluster, saved, datetime.now(tz=UTC), None if self.check_mode else generate)
            if not self.check_mode:
                if plan.write_backup:
                    custody.write_backup(path, plan.backup, options["recipients"], identities)
                if plan.apply:
                    custody.apply_keys(session, plan.apply, name)
        result = _result(plan, cluster)
        result["seconds"] = round(time.monotonic() - started, 3)
        if self._task.diff:
            result["diff"] = _diff(plan)
        return result

    def _observe(
        self, session: Session, wanted: lifecycle.Wanted, saved: Backup | None, *, adopt: bool
    ) -> tuple[KeyRecord, ...]:
        """Return the cluster's keys; in check mode a cluster that is not there yet has none."""
        try:
            found = custody.key_secrets(session, wanted.namespace)
        except (KubeconfigError, ApiError) as error:
            if not self.check_mode or getattr(error, "status", None) is not None:
                raise
            return ()
        where = f"namespace {wanted.namespace} of the cluster"
        return lifecycle.observed(found, wanted.environment, where, saved, adopt=adopt)


def _result(plan: Plan, cluster: tuple[KeyRecord, ...]) -> dict[str, Any]:
    """Return everything public about the keys."""
    here = {record.fingerprint for record in cluster} | {record.fingerprint for record in plan.apply}
    current = plan.backup.current
    return {
        "changed": bool(plan.changes),
        "steps": [f"{change.action} {change.fingerprint}".strip() for change in plan.changes],
        "fingerprint": current.fingerprint if current else "",
        "certificate": current.key.certificate.pem if current else "",
        "loaded": lifecycle.digest(record for record in plan.backup.records if record.fingerprint in here),
        "sealing_keys": [
            {
                "fingerprint": record.fingerprint,
                "state": record.state,
                "secret": record.name,
                "not_before": record.key.certificate.not_before.isoformat(),
                "not_after": record.key.certificate.not_after.isoformat(),
                "in_cluster": record.fingerprint in here,
            }
            for record in plan.backup.records
        ],
    }


def _diff(plan: Plan) -> list[dict[str, str]]:
    return [_shown(change) for change in plan.changes]


def _shown(change: Change) -> dict[str, str]:
    if change.action == "encrypt backup anew":
        named, before, after = "recipients of the backup", f"{change.before}\n", f"{change.detail}\n"
    else:
        named, before = f"sealing key {change.fingerprint}", ""
        after = f"{change.action}{f' ({change.detail})' if change.detail else ''}\n"
    return {"before_header": named, "after_header": named, "before": before, "after": after}
