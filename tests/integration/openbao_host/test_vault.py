# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role with HashiCorp Vault, from a zip file at an address as HashiCorp publishes it, on a host of its own."""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cluster.lab import Lab
from tests.integration.openbao.bao import VAULT
from tests.integration.openbao_host.conftest import bao_of
from tests.integration.openbao_host.site import DRILL, PLAYBOOK, Bao, Site, said, shown
from tests.integration.openbao_host.watch import Watch

HOST = "v1"
PLACE = "/opt/stagecraft/vault"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def program() -> Path:
    named = os.environ.get(VAULT)
    if not named:
        pytest.skip(f"the role was not run with HashiCorp Vault: {VAULT} names no program")
    return Path(named)


@pytest.fixture(scope="module")
def archive(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program as it is published."""
    made = tmp_path_factory.mktemp("releases") / "vault.zip"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        packed.write(program, "vault")
        packed.writestr("LICENSE.txt", "a licence")
    return made


@pytest.fixture(scope="module")
def digest(archive: Path) -> str:
    return hashlib.sha256(archive.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def vault(lab: Lab, site: Site, program: Path, archive: Path, digest: str) -> Iterator[Bao]:
    """A bare host, and what is declared of it."""
    host = {"name": HOST, "environment": "local", "groups": ["openbao"], "memory_mb": 768}
    lab.power("present", listed=[*lab.specification(), host])
    machine = lab.ssh(HOST, "echo $SSH_CONNECTION").split()[0]
    handler = functools.partial(Quiet, directory=str(archive.parent))
    with http.server.ThreadingHTTPServer((machine, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bao = bao_of(lab, site, "local", HOST)
        bao.declare(
            {"type": "shamir"},
            openbao_vault_url=f"http://{machine}:{server.server_port}/vault.zip",
            openbao_vault_sha256=digest,
            openbao_drill_program=str(program),
        )
        yield bao
        server.shutdown()


def test_vault_from_a_bare_host_through_a_power_cut_to_a_restore(
    lab: Lab, vault: Bao, digest: str, watch: Watch
) -> None:
    assert vault.run(PLAYBOOK, "--check").must_work().changed
    assert not vault.escrow_file.exists()
    assert not lab.ssh(HOST, f"ls -d {PLACE} 2>/dev/null", check=False)

    # what a run that was killed has left
    lab.ssh(HOST, f"mkdir -p {PLACE}/{digest}/unpacked; cd {PLACE}/{digest}; echo half | tee vault.zip unpacked/vault")
    vault.run(PLAYBOOK, "-e", "openbao_revoke_root_token=false").must_work()
    assert lab.ssh(HOST, f"ls {PLACE}/{digest}").split() == ["vault"]
    root = vault.kept().root_token
    vault.run().must_work()
    assert vault.server().send("GET", "auth/token/lookup-self", token=root).status == 403
    vault.serves()
    before = lab.processes(HOST)["vault"]
    vault.run().must_not_change()
    assert lab.processes(HOST)["vault"] == before
    assert vault.known["secret"] not in lab.ssh(HOST, "journalctl -u openbao -o cat")

    lab.power("powered-off", HOST)
    lab.power("present", HOST)
    assert vault.run().must_work().changed == {HOST: 1}, "unsealing is all that is to be done"
    vault.serves()
    assert "was restored in" in said(vault.run(DRILL).must_work())

    vault.kept()
    assert shown(vault.known, [output.encode() for output in vault.outputs]) == set()
    assert shown(vault.known, watch.arguments) == set()
    assert shown(vault.known, watch.files) == set()
