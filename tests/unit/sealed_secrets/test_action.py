# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action sealed_secrets_key with backups on a disk, beside a cluster that has the key."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyrage
import pytest
from ansible_collections.stagecraft.gitops.plugins.action import sealed_secrets_key as action
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age.errors import AgeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import backup as backups
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import custody
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.backup import Backup, KeyRecord

from tests.unit.sealed_secrets.samples import key

ADMIN, SAFE, NEW = (pyrage.x25519.Identity.generate() for _ in range(3))
RECORD = KeyRecord(key("staging"), "active", "key-0", "kube-system")


class _Task:
    check_mode = False
    diff = True
    async_val = 0
    action = "stagecraft.gitops.sealed_secrets_key"
    args: dict[str, Any]


class Keeper:
    """Runs the action with the backup and the admin's identity in a folder."""

    def __init__(self, folder: Path) -> None:
        self.backup, self.identity = folder / "staging.age", folder / "admin.txt"
        self.identity.write_text(f"{ADMIN}\n")

    def run(self, *identities: Any, check: bool = False) -> dict[str, Any]:
        plugin = action.ActionModule.__new__(action.ActionModule)
        plugin._task = _Task()
        plugin._task.check_mode = check
        plugin._task.args = {
            "environment": "staging",
            "backup": str(self.backup),
            "identity_files": [str(self.identity)],
            "recipients": recipients(*identities),
        }
        return plugin.act(plugin._options(), {})

    def opens(self, identity: Any) -> bool:
        try:
            return custody.read_backup(self.backup, [identity]) is not None
        except AgeError:
            return False


def recipients(*identities: Any) -> list[str]:
    return [str(identity.to_public()) for identity in identities]


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keeper:
    monkeypatch.setattr(action, "api_access", lambda *_: None)
    monkeypatch.setattr(action, "Session", nullcontext)
    monkeypatch.setattr(action.ActionModule, "variables", lambda *_: {})
    monkeypatch.setattr(custody, "key_secrets", lambda *_: [backups.secret(RECORD, "staging")])
    return Keeper(tmp_path)


def test_who_is_added_can_open_the_backup_and_who_is_removed_cannot(keeper: Keeper) -> None:
    assert keeper.run(ADMIN, SAFE)["changed"]
    assert not keeper.run(SAFE, ADMIN)["changed"]
    before = keeper.backup.read_bytes()
    told = keeper.run(ADMIN, NEW, check=True)
    assert (told["changed"], told["steps"]) == (True, ["encrypt backup anew"])
    named = "recipients of the backup"
    assert told["diff"] == [
        {
            "before_header": named,
            "after_header": named,
            "before": "".join(f"{one}\n" for one in sorted(recipients(ADMIN, SAFE))),
            "after": "".join(f"{one}\n" for one in sorted(recipients(ADMIN, NEW))),
        }
    ]
    assert keeper.backup.read_bytes() == before
    assert keeper.run(ADMIN, NEW)["steps"] == ["encrypt backup anew"]
    assert (keeper.opens(NEW), keeper.opens(SAFE)) == (True, False)
    assert not keeper.run(ADMIN, NEW)["changed"]


def test_a_backup_without_a_note_of_its_recipients_is_written_once(keeper: Keeper) -> None:
    older = backups.encode(Backup("staging", (RECORD,)))
    keeper.backup.write_bytes(file.encrypt(older, recipients(ADMIN, SAFE)))
    assert keeper.run(ADMIN, SAFE)["steps"] == ["encrypt backup anew"]
    assert not keeper.run(ADMIN, SAFE)["changed"]


def test_recipients_that_would_lock_the_admin_out_leave_the_backup_as_it_is(keeper: Keeper) -> None:
    keeper.run(ADMIN, SAFE)
    before = keeper.backup.read_bytes()
    with pytest.raises(AgeError, match="not encrypted to the identities at hand"):
        keeper.run(NEW, SAFE)
    assert keeper.backup.read_bytes() == before
