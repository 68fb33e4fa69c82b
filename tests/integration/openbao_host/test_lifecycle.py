# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two environments' servers, from bare hosts on, through power cuts, to a restore. The tests build on each other, in order."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.integration.cluster.lab import Lab, until
from tests.integration.cluster.test_disk import booted, disks
from tests.integration.openbao_host.site import DRILL, PLAYBOOK, Bao, said, shown, static_seal
from tests.integration.openbao_host.watch import Watch

ROOT_STAYS = ("-e", "openbao_revoke_root_token=false")
_LARGEST = 20_000_000
#: Where a server's own seal and key have to be, for root alone.
OWN = {"etc/openbao/settings.json": " of the seal", "etc/openbao/tls.key": " of the TLS key"}


@pytest.fixture
def both(staging: Bao, production: Bao) -> tuple[Bao, Bao]:
    return staging, production


def daemon(lab: Lab, bao: Bao) -> list[object]:
    """The server's process, as none after it can be."""
    (found,) = lab.processes(bao.host)["bao"]
    return found


def test_check_mode_on_a_bare_host_writes_nothing(lab: Lab, staging: Bao) -> None:
    for host in lab.hosts:
        until(f"{host} booted", 60, partial(booted, lab, host))
    staging.declare(static_seal())
    before = disks(lab)
    run = staging.run(PLAYBOOK, "--check").must_work()
    assert run.changed, "it does not say what it would do"
    assert disks(lab) == before
    assert not staging.escrow_file.exists()


def test_from_a_bare_host_to_a_server_without_a_root_token(lab: Lab, staging: Bao) -> None:
    staging.run(PLAYBOOK, *ROOT_STAYS).must_work()
    root = staging.kept().root_token
    assert root
    staging.run().must_work()
    kept = staging.kept()
    assert (kept.root_token, kept.seal, len(kept.keys)) == ("", "static", 3)
    assert staging.server().send("GET", "auth/token/lookup-self", token=root).status == 403
    staging.serves()
    assert staging.login("production").status in (400, 403), "a token for another environment is taken"
    before = daemon(lab, staging)
    staging.run().must_not_change()
    staging.run(PLAYBOOK, "--check").must_not_change()
    assert daemon(lab, staging) == before


def test_the_next_environment_unseals_itself_by_this_one(lab: Lab, staging: Bao, production: Bao) -> None:
    production.declare(staging.seal_for("production"), openbao_seal_ca_file=str(production.site.ca_file))
    production.run().must_work()
    kept = production.kept()
    assert (kept.root_token, kept.seal) == ("", "transit")
    production.serves()
    before = daemon(lab, production)
    production.run().must_not_change()
    assert daemon(lab, production) == before
    staging.run().must_not_change()


def test_after_a_power_cut_both_serve_again_and_nobody_did_anything(lab: Lab, staging: Bao, production: Bao) -> None:
    for bao in (staging, production):
        before = daemon(lab, bao)
        lab.power("powered-off", bao.host)
        lab.power("present", bao.host)
        bao.wait_until_active(180)
        bao.serves()
        assert daemon(lab, bao) != before
    lab.power("powered-off")
    lab.power("present", production.host)
    # it tries to reach the other server for half a minute before it says so
    until("the seal is asked for", 180, lambda: "seal" in lab.ssh(production.host, "journalctl -u openbao -b -o cat"))
    assert production.sealed(), "it serves although nobody unseals it"
    lab.power("present", staging.host)
    for bao in (staging, production):
        bao.wait_until_active(180)
        bao.serves()
        bao.run().must_not_change()


def test_what_was_saved_is_restored_also_where_the_host_is_lost(lab: Lab, staging: Bao, production: Bao) -> None:
    for bao in (production, staging):
        assert "was restored in" in said(bao.run(DRILL).must_work())
        assert bao.snapshot_file.stat().st_mode & 0o777 == 0o600
    lab.power("powered-off", staging.host)
    staging.run(DRILL, "-e", "openbao_drill_save=false").must_work()
    lab.power("present", staging.host)
    staging.wait_until_active(180)


def test_nothing_secret_was_shown_or_left(lab: Lab, both: tuple[Bao, Bao], watch: Watch) -> None:
    known: dict[str, str] = {}
    for bao in both:
        bao.kept()
        known |= {f"{bao.environment}: {what}": value for what, value in bao.known.items()}
    assert {f"staging: {what}" for what in ("root token", "credential", "key 2", "current_key of the seal")} <= set(
        known
    )
    outputs = [output.encode() for bao in both for output in bao.outputs]
    assert shown(known, outputs) == set()
    assert shown({"options": "--vault-password-file"}, watch.arguments), "no run was seen"
    assert shown({"server": "openbao.hcl"}, watch.arguments), "no process of a host was seen"
    assert shown(known, watch.arguments) == set()
    assert shown(known, watch.files) == set()
    site = both[0].site.directory
    assert shown(known, [path.read_bytes() for path in site.rglob("*") if path.is_file()]) == set()


def test_a_host_has_its_own_seal_and_key_and_nothing_else_that_is_secret(lab: Lab, both: tuple[Bao, Bao]) -> None:
    for bao in both:
        seen = {}
        for name, data in files(lab.directory / "hosts" / bao.host / "disk" / "upper").items():
            if found := shown(bao.known, [data]):
                seen[name] = found
        assert set(seen) == set(OWN)
        for name, kind in OWN.items():
            assert {what for what in seen[name] if not what.endswith(kind)} == set()
            assert lab.ssh(bao.host, f"stat -c '%a %U' /{name}").strip() == "600 root"
        memory = "find /run /tmp -type f -size -4M -not -path '/run/credentials/*' -exec cat {} +"
        for script in ("journalctl --no-pager -a -o cat", memory):
            text = lab.ssh(bao.host, script, check=False).encode()
            assert text
            assert shown(bao.known, [text]) == set()


def files(top: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(top)): path.read_bytes()
        for path in top.rglob("*")
        if path.is_file() and not path.is_symlink() and path.stat().st_size < _LARGEST
    }
