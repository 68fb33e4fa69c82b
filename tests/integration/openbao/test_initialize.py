# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Initialising and unsealing a real server, cut short at every step."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pyrage
import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age.errors import AgeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import escrow, initialize
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.client import Server
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.initialize import Wanted

from tests.integration.openbao.bao import MOMENTS, Bao, Cut, Kind, Moment
from tests.integration.openbao.site import Sealing
from tests.integration.play import Play

ADMIN, SAFE = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
RECIPIENTS = [str(ADMIN.to_public()), str(SAFE.to_public())]


@pytest.fixture
def bao(bare: Bao) -> Bao:
    return bare


@pytest.fixture
def wanted(tmp_path: Path) -> Wanted:
    return Wanted("staging", tmp_path / "keys" / "staging.age", RECIPIENTS)


def run(bao: Bao, wanted: Wanted) -> list[str]:
    """What the module does."""
    server = bao.server()
    status = server.status()
    steps = initialize.plan_initialize(status, escrow.read(wanted.path, [ADMIN], "staging"), wanted)
    if steps:
        initialize.initialize(server, status, wanted, [ADMIN])
        kept = escrow.read(wanted.path, [SAFE], "staging")
        assert kept is not None
        if "unseal" in steps:
            initialize.unseal(server, server.status(), kept, steps, 30)
        else:
            server.wait_until_active(30)
    return list(steps)


def unseal(bao: Bao, wanted: Wanted) -> list[str]:
    kept = escrow.read(wanted.path, [ADMIN], "staging")
    assert kept is not None
    server = bao.server()
    status = server.status()
    steps = initialize.plan_unseal(status, kept)
    if steps:
        initialize.unseal(server, status, kept, steps, 30)
    return list(steps)


def test_from_nothing_to_a_server_that_serves_and_comes_back_after_a_power_cut(bao: Bao, wanted: Wanted) -> None:
    assert run(bao, wanted) == ["initialize", "unseal"]
    kept = escrow.read(wanted.path, [SAFE], "staging")
    assert kept is not None
    assert (kept.state, len(kept.keys), kept.threshold, kept.seal) == ("answered", 3, 2, "shamir")
    assert kept.keys[0] not in repr(kept)
    assert kept.root_token not in repr(kept)
    assert wanted.path.stat().st_mode & 0o777 == 0o600
    assert bao.command(kept.root_token, "token", "lookup")["data"]
    assert run(bao, wanted) == []
    assert unseal(bao, wanted) == []

    bao.kill()
    bao.start()
    status = bao.server().status()
    assert (status.initialized, status.sealed) == (True, True)
    assert run(bao, wanted) == []
    assert unseal(bao, wanted) == ["unseal"]
    assert not bao.server().status().sealed
    assert unseal(bao, wanted) == []


def test_keys_of_an_attempt_that_nobody_went_on_with_are_forgotten_first(bao: Bao, wanted: Wanted) -> None:
    run(bao, wanted)
    bao.kill()
    bao.start()
    stale = "b" * 44
    bao.server().send_key(stale[:43] + "=")
    assert bao.server().status().progress == 1
    assert unseal(bao, wanted) == ["reset", "unseal"]


def test_keys_of_another_server_are_refused_and_leave_nothing_behind(bao: Bao, wanted: Wanted, tmp_path: Path) -> None:
    run(bao, wanted)
    kept = escrow.read(wanted.path, [ADMIN], "staging")
    assert kept is not None
    other = escrow.Escrow("staging", "https://other", "answered", "shamir", 2, ("b" * 43 + "=", "c" * 43 + "="), "t")
    escrow.write(wanted.path, other, RECIPIENTS, [ADMIN])
    bao.kill()
    bao.start()
    with pytest.raises(
        OpenBaoError,
        match=r"it refuses: .*Are these the keys of this server\?.*https://other",
    ) as caught:
        unseal(bao, wanted)
    assert "bbb" not in str(caught.value)
    assert bao.server().status().progress == 0
    escrow.write(wanted.path, kept, RECIPIENTS, [ADMIN])
    assert unseal(bao, wanted) == ["unseal"]


class Killed(BaseException):
    """The process is gone."""


def test_killed_before_the_question_the_next_run_asks(
    bao: Bao, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Server, "initialize", killed)
        with pytest.raises(Killed):
            run(bao, wanted)
    kept = escrow.read(wanted.path, [SAFE], "staging")
    assert kept is not None
    assert kept.state == "asked", "the place for the answer was proved first"
    assert not bao.server().status().initialized
    assert run(bao, wanted) == ["initialize", "unseal"]


def test_an_escrow_that_cannot_be_written_asks_nothing(bao: Bao, wanted: Wanted, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file where the folder should be")
    with pytest.raises(AgeError, match="Not a directory"):
        run(bao, wanted)
    assert not bao.server().status().initialized
    (tmp_path / "keys").unlink()
    stranger = [str(pyrage.x25519.Identity.generate().to_public()) for _ in range(2)]
    with pytest.raises(AgeError, match="not encrypted to the identities at hand"):
        run(bao, Wanted("staging", wanted.path, stranger))
    assert not bao.server().status().initialized


def test_an_answer_that_cannot_be_written_is_saved_elsewhere_and_said_loudly(
    bao: Bao, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = file.write, []

    def full(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise AgeError("no space left on device")
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(file, "write", full)
        with pytest.raises(OpenBaoError, match="THE SERVER IS INITIALISED and its keys could not be written") as caught:
            run(bao, wanted)
    (saved,) = wanted.path.parent.glob("openbao-keys-*.age")
    assert str(saved) in str(caught.value)
    assert saved.stat().st_mode & 0o777 == 0o600
    saved.replace(wanted.path)
    assert run(bao, wanted) == []
    assert unseal(bao, wanted) == ["unseal"]


def test_killed_between_question_and_answer_the_message_says_what_to_do(
    bao: Bao, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Server.initialize

    def killed(self: Server, *arguments: Any, **options: Any) -> None:
        real(self, *arguments, **options)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Server, "initialize", killed)
        with pytest.raises(Killed):
            run(bao, wanted)
    with pytest.raises(
        OpenBaoError, match=r"killed between the question and its answer.*remove its data directory, remove this file"
    ):
        run(bao, wanted)
    bao.wipe()
    bao.start()
    wanted.path.unlink()
    assert run(bao, wanted) == ["initialize", "unseal"]


def test_killed_after_the_answer_was_written_the_next_run_unseals(
    bao: Bao, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Server, "send_key", killed)
        with pytest.raises(Killed):
            run(bao, wanted)
    assert run(bao, wanted) == []
    assert unseal(bao, wanted) == ["unseal"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", [1, 2, 3])
def test_the_server_is_killed_at_a_step_and_what_is_said_leads_on(
    bao: Bao, wanted: Wanted, monkeypatch: pytest.MonkeyPatch, step: int, moment: Moment
) -> None:
    """Its process, by SIGKILL: at the question, at the first key, at the key that unseals it."""
    cut = Cut(bao, monkeypatch, ("initialise it", "unseal it"))
    cut.at(step, moment)
    with contextlib.suppress(OpenBaoError):
        run(bao, wanted)
    assert cut.start_again()
    kept = escrow.read(wanted.path, [SAFE], "staging")
    assert kept is not None, "the escrow is there before the question, and stays"
    try:
        steps = run(bao, wanted)
    except OpenBaoError as error:
        # it died with the only copy of the answer, or had its storage and no keys yet
        assert (kept.state, step) == ("asked", 1)
        assert moment in ("during", "after")
        assert re.search(r"remove its data directory, remove (this file|\S+\.age), and run this again", str(error))  # noqa: PT017
        bao.wipe()
        bao.start()
        wanted.path.unlink()
        steps = run(bao, wanted)
    assert steps == (["initialize", "unseal"] if kept.state == "asked" else [])
    unseal(bao, wanted)
    assert not bao.server().status().sealed
    kept = escrow.read(wanted.path, [SAFE], "staging")
    assert kept is not None
    assert bao.command(kept.root_token, "token", "lookup")["data"]
    assert run(bao, wanted) == []
    assert unseal(bao, wanted) == []


def test_a_server_that_lost_its_data_and_one_without_escrow_are_told_apart(bao: Bao, wanted: Wanted) -> None:
    run(bao, wanted)
    whole = wanted.path.read_bytes()
    wanted.path.unlink()
    with pytest.raises(OpenBaoError, match="wanted the keys of a server that is initialised, found no file"):
        run(bao, wanted)
    wanted.path.write_bytes(whole)
    bao.wipe()
    bao.start()
    with pytest.raises(OpenBaoError, match="the server is not initialised: its data are gone, or it is another server"):
        run(bao, wanted)
    with pytest.raises(OpenBaoError, match=r"it is not initialised\. Run openbao_init"):
        unseal(bao, wanted)
    with pytest.raises(OpenBaoError, match="it holds the keys of staging, wanted those of production"):
        escrow.read(wanted.path, [ADMIN], "production")


def test_a_server_that_unseals_itself_gets_recovery_keys_and_comes_back_alone(
    tmp_path: Path, wanted: Wanted, sealing: Sealing, kind: Kind
) -> None:
    bao = Bao(tmp_path / "sealed", sealing.stanza, kind)
    bao.start()
    try:
        assert run(bao, wanted) == ["initialize"]
        kept = escrow.read(wanted.path, [SAFE], "staging")
        assert kept is not None
        assert (kept.seal, len(kept.keys)) == (sealing.type, 3)
        bao.kill()
        bao.start()
        bao.server().wait_until_active(20)
        assert unseal(bao, wanted) == []
    finally:
        bao.kill()


def test_the_modules_show_no_key(bao: Bao, tmp_path: Path) -> None:
    (tmp_path / "identity.txt").write_text(str(ADMIN))
    (tmp_path / "play").mkdir()
    play = Play(tmp_path / "play")
    common = {
        "url": bao.url,
        "ca_file": bao.ca_file,
        "environment": "staging",
        "escrow": str(tmp_path / "keys.age"),
        "identity_files": [str(tmp_path / "identity.txt")],
    }
    tasks = [{"name": "Initialise", "stagecraft.gitops.openbao_init": {**common, "recipients": RECIPIENTS}}]
    checked = play.run(tasks, "--check", "-vvvv")
    assert (checked["code"], checked["changed"]) == (0, 1), play.output
    assert not (tmp_path / "keys.age").exists()
    first = play.run(tasks, "-vvvv")
    assert (first["code"], first["changed"]) == (0, 1), play.output
    shown = play.output
    assert play.result()["sealed"] is False
    again = play.run(tasks, "-vvvv")
    assert (again["code"], again["changed"]) == (0, 0), play.output
    bao.kill()
    bao.start()
    unsealing = [{"name": "Unseal", "stagecraft.gitops.openbao_unseal": common}]
    for changed in (1, 0):
        done = play.run(unsealing, "-vvvv")
        assert (done["code"], done["changed"]) == (0, changed), play.output
        shown += play.output
    kept = escrow.read(tmp_path / "keys.age", [SAFE], "staging")
    assert kept is not None
    assert [secret for secret in (*kept.keys, kept.root_token) if secret in shown] == []
    secrets = [secret.encode() for secret in (*kept.keys, kept.root_token)]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    plain = [secret for secret in secrets if any(secret in data for data in files)]
    assert plain == []
