# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots of a real server, and the drill that restores them."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import drill, snapshot, throw_away
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.drill import Canary
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao.errors import OpenBaoError

from tests.integration.openbao.bao import Bao, Kind
from tests.integration.openbao.site import ADMIN, RECIPIENTS, Sealing, as_admin, kept_of, prepared, run, whole
from tests.integration.play import Play

CANARY = Canary("kv", "sys-canary", {"environment": "staging"})
WITH_CANARY = {
    "secrets": [
        {"mount": "kv", "path": "sys-canary", "data": {"environment": "staging"}},
        {"mount": "kv", "path": "apps/shop", "data": {"password": "swordfish-2Wz"}},
    ]
}


def left() -> list[str]:
    """Directories and processes of drills."""
    directories = [
        str(path) for parent in ("/dev/shm", "/tmp") for path in Path(parent).glob("stagecraft-openbao-drill-*")
    ]
    for status in Path("/proc").glob("[0-9]*/environ"):
        try:
            if b"stagecraft-openbao-drill-" in status.read_bytes():
                directories.append(str(status))
        except OSError:
            continue
    return directories


def test_snapshot_and_escrow_alone_bring_a_lost_server_back(bao: Bao) -> None:
    run(bao, whole(**WITH_CANARY))
    with as_admin(bao) as api:
        data = snapshot.take(api)
    kept = kept_of(bao)
    cluster = bao.server().status().cluster
    bao.kill()
    done = drill.drill(str(bao.program), data, kept, CANARY, None, 30)
    assert done.cluster == cluster
    assert {"kv", "transit"} <= set(done.mounts)
    assert done.canary_version == 1
    assert left() == []

    with pytest.raises(OpenBaoError, match=r"it refuses.*Are these the keys of this server"):
        drill.drill(
            str(bao.program), data, replace(kept, keys=tuple(letter * 43 + "=" for letter in "bcd")), CANARY, None, 30
        )
    with pytest.raises(OpenBaoError, match="has no secret kv/never-written"):
        drill.drill(str(bao.program), data, kept, replace(CANARY, path="never-written"), None, 30)
    with pytest.raises(OpenBaoError, match="holds other values of environment"):
        drill.drill(str(bao.program), data, kept, replace(CANARY, data={"environment": "production"}), None, 30)
    with pytest.raises(OpenBaoError, match="is unsealed by shamir, and the drill has seal static"):
        drill.drill(str(bao.program), data, kept, CANARY, ("static", {}), 30)
    assert left() == []


def test_a_server_that_unseals_itself_is_brought_back_by_its_seal(tmp_path: Path, sealing: Sealing, kind: Kind) -> None:
    bao = Bao(tmp_path / "bao", sealing.stanza, kind)
    bao.start()
    try:
        prepared(bao)
        run(bao, whole(**WITH_CANARY))
        with as_admin(bao) as api:
            data = snapshot.take(api)
        kept = kept_of(bao)
    finally:
        bao.kill()
    program = str(bao.program)
    assert drill.drill(program, data, kept, CANARY, (sealing.type, sealing.settings), 30).canary_version == 1
    with pytest.raises(OpenBaoError):
        drill.drill(program, data, kept, CANARY, (sealing.type, sealing.other), 5)
    assert left() == []


@pytest.mark.parametrize("damage", ["cut", "bit", "other"])
def test_a_damaged_snapshot_is_told_before_anything_is_started(bao: Bao, damage: str) -> None:
    run(bao, whole(**WITH_CANARY))
    with as_admin(bao) as api:
        data = snapshot.take(api)
    assert snapshot.check(data, "here").index > 0
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "other":
        data = b"no archive"
    else:
        plain = bytearray(gzip.decompress(data))
        plain[plain.index(b"state.bin") + 1024] ^= 1
        data = gzip.compress(bytes(plain))
    with pytest.raises(OpenBaoError, match=r"here: .*Take another one"):
        snapshot.check(data, "here")


def test_a_program_that_does_not_start_is_told(tmp_path: Path) -> None:
    with pytest.raises(OpenBaoError, match="wanted to start it for the drill: No such file"):
        throw_away.ThrowAwayServer(str(tmp_path / "bao"), None, 5).__enter__()
    with pytest.raises(OpenBaoError, match="the server of the drill does not start"):
        throw_away.ThrowAwayServer("/bin/false", None, 5).__enter__()
    assert left() == []


def test_the_module_saves_encrypted_and_drills(bao: Bao, tmp_path: Path) -> None:
    run(bao, whole(**WITH_CANARY))
    (tmp_path / "identity.txt").write_text(str(ADMIN))
    (tmp_path / "play").mkdir()
    play = Play(tmp_path / "play")
    common = {
        "environment": "staging",
        "escrow": str(tmp_path / "keys.age"),
        "path": str(tmp_path / "backup" / "bao.age"),
        "identity_files": [str(tmp_path / "identity.txt")],
    }
    save = {**common, "url": bao.url, "ca_file": bao.ca_file, "recipients": RECIPIENTS}
    saving = [{"name": "Save", "stagecraft.gitops.openbao_snapshot": save}]
    assert play.run(saving, "--check")["code"] == 0, play.output
    assert not (tmp_path / "backup").exists()
    assert play.run(saving, "-vvvv")["code"] == 0, play.output
    drilling = [
        {
            "name": "Drill",
            "stagecraft.gitops.openbao_snapshot": {**common, "state": "drilled", "program": str(bao.program)},
        }
    ]
    shown = play.output
    done = play.run(drilling, "-vvvv")
    assert (done["code"], done["changed"]) == (0, 0), play.output
    assert play.result()["canary_version"] == 1
    kept = kept_of(bao)
    secrets = ["swordfish-2Wz", kept.secret_id, kept.role_id, *kept.keys]
    assert [secret for secret in secrets if secret in shown + play.output] == []
    whole_file = tmp_path / "backup" / "bao.age"
    whole_file.write_bytes(whole_file.read_bytes()[:-200])
    assert play.run(drilling)["code"] != 0
    assert "the backup ends in the middle" in play.output
