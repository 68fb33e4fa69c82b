# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server is not restarted with a seal that it was not moved to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage
import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.action import openbao_seal as action
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import escrow as escrows
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Status
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.escrow import Escrow

from tools.stages import ROOT

SHAMIR = Escrow("staging", "https://bao", "answered", "shamir", 2, ("a", "b", "c"), role_id="r", secret_id="s")
OPEN = Status(True, False, "shamir", 3, 2, 0, "2.7.2", "c")
#: What it says when it was restarted with another seal, and its keys did not come by -migrate yet.
PENDING = replace(OPEN, sealed=True, seal="static", cluster="")
MOVED = replace(OPEN, seal="static")
ADMIN, SAFE = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
RECIPIENTS = [str(one.to_public()) for one in (ADMIN, SAFE)]

Run = Callable[..., dict[str, Any]]


class Server:
    def __init__(self, status: Status | None) -> None:
        self._status = status

    def status(self) -> Status:
        if self._status is None:
            raise OpenBaoError("no answer came")
        return self._status


class _Task:
    check_mode = False
    diff = False
    async_val = 0
    action = "stagecraft.gitops.openbao_seal"
    args: dict[str, Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    identity = tmp_path / "admin.txt"
    identity.write_text(f"{ADMIN}\n")

    def do(wanted: str, status: Status | None = None, *, check: bool = False) -> dict[str, Any]:
        monkeypatch.setattr(action, "Server", lambda *_: Server(status))
        plugin = action.ActionModule.__new__(action.ActionModule)
        plugin._task = _Task()
        plugin._task.check_mode = check
        plugin._task.args = {
            "url": "https://bao",
            "environment": "staging",
            "escrow": str(tmp_path / "it.age"),
            "identity_files": [str(identity)],
            "recipients": RECIPIENTS,
            "type": wanted,
        }
        return plugin.act(plugin._options(), {})

    return do


def keep(tmp_path: Path, kept: Escrow) -> None:
    escrows.write(tmp_path / "it.age", kept, RECIPIENTS, [ADMIN])


def test_a_server_that_is_still_to_be_made_takes_any_seal(tmp_path: Path, run: Run) -> None:
    (tmp_path / "admin.txt").rename(tmp_path / "elsewhere")
    assert run("static") == {"changed": False, "seal": ""}
    (tmp_path / "elsewhere").rename(tmp_path / "admin.txt")
    keep(tmp_path, replace(SHAMIR, state="asked"))
    assert run("static")["changed"] is False


def test_the_seal_that_it_has_is_taken_without_a_question(tmp_path: Path, run: Run) -> None:
    keep(tmp_path, SHAMIR)
    assert run("shamir", None) == {"changed": False, "seal": "shamir"}


@pytest.mark.parametrize("status", [None, OPEN, PENDING, replace(MOVED, initialized=False)])
@pytest.mark.parametrize("check", [False, True])
def test_another_one_is_refused_before_anything_changes(
    tmp_path: Path, run: Run, status: Status | None, *, check: bool
) -> None:
    keep(tmp_path, SHAMIR)
    before = (tmp_path / "it.age").read_bytes()
    with pytest.raises(OpenBaoError, match="wanted the seal static, and the server is unsealed by shamir") as told:
        run("static", status, check=check)
    assert "Leave it at shamir, or move it by hand first" in str(told.value)
    assert "(the seal static)" in str(told.value)
    assert (tmp_path / "it.age").read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "how"),
    [
        ("static", "shamir", 'disabled = "true" in the seal static that is there'),
        ("static", "transit", 'the seal transit, and disabled = "true" in the seal static'),
    ],
)
def test_the_message_says_how_each_way_is_gone(tmp_path: Path, run: Run, old: str, new: str, how: str) -> None:
    keep(tmp_path, replace(SHAMIR, seal=old))
    with pytest.raises(OpenBaoError) as told:
        run(new, None)
    assert f"({how})" in str(told.value)


def test_a_server_that_was_moved_by_hand_is_noted_with_its_keys(tmp_path: Path, run: Run) -> None:
    keep(tmp_path, SHAMIR)
    assert run("static", MOVED, check=True) == {"changed": True, "seal": "static"}
    with pytest.raises(OpenBaoError, match="unsealed by shamir"):
        run("static", None)
    assert run("static", MOVED) == {"changed": True, "seal": "static"}
    assert run("static", None) == {"changed": False, "seal": "static"}
    kept = escrows.read(tmp_path / "it.age", [SAFE], "staging")
    assert kept is not None
    assert replace(kept, recipients=()) == replace(SHAMIR, seal="static")


def test_the_role_asks_before_it_changes_the_host() -> None:
    tasks = yaml.safe_load((ROOT / "roles/openbao/tasks/main.yml").read_text())
    modules = [next(key for key in task if key.startswith(("ansible.builtin.", "stagecraft."))) for task in tasks]
    assert modules.index("stagecraft.gitops.openbao_seal") < modules.index("stagecraft.gitops.host_state")
