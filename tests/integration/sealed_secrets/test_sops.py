# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SOPS as the one source of plaintext, by the real program and its collection, with the variables that docs/operator.md shows."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest
import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import keys, manifest, verify

from tests.integration.canary import Watch, forms_of, in_files
from tests.integration.play import COLLECTION, Play
from tests.integration.sealed_secrets.test_plays import CANARY, MAC_KEY, git
from tests.programs import go_program, lacking

VERSION = "v3.13.3"
CERTIFICATE = "clusters/staging/sealed-secrets.crt"


@pytest.fixture(scope="module")
def sops() -> Path:
    if not (COLLECTION / ".dev/collections/ansible_collections/community/sops").is_dir():
        lacking("the collection community.sops is not there: run `make dev`")
    program = go_program("github.com/getsops/sops/v3/cmd/sops", VERSION)
    if program is None:
        lacking("sops is built with Go, and there is none here")
    return program


class Source:
    """A file of SOPS beside an inventory, for one age identity."""

    def __init__(self, sops: Path, directory: Path) -> None:
        self.sops, self.file, self.keys = sops, directory / "secrets.sops.yml", directory / "identity.txt"
        self.identity = pyrage.x25519.Identity.generate()
        self.keys.write_text(f"{self.identity}\n")

    def write(self, **values: str) -> None:
        recipient = str(self.identity.to_public())
        command = [str(self.sops), "encrypt", "--age", recipient, "--filename-override", str(self.file), "/dev/stdin"]
        done = subprocess.run(command, input=yaml.safe_dump(values), capture_output=True, text=True, check=False)
        assert not done.returncode, done.stderr
        self.file.write_text(done.stdout)


class Repository:
    """An environment's repository, which has its certificate and nothing else yet."""

    def __init__(self, directory: Path) -> None:
        self.key = keys.generate("staging", datetime.now(tz=UTC) - timedelta(minutes=1), size=2048)
        self.server, work = directory / "server.git", directory / "work"
        git("init", "--quiet", "--bare", "--initial-branch=main", str(self.server), cwd=directory)
        git("clone", "--quiet", str(self.server), str(work), cwd=directory)
        (work / CERTIFICATE).parent.mkdir(parents=True)
        (work / CERTIFICATE).write_text(self.key.certificate.pem)
        git("add", "-A", cwd=work)
        git("-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "certificate", cwd=work)
        git("push", "--quiet", "origin", "HEAD:main", cwd=work)

    def opened(self) -> dict[str, bytes]:
        text = git("show", "main:clusters/staging/secrets/shop/db.yaml", cwd=self.server) + "\n"
        return verify.opened(manifest.find(text, "db.yaml")[0], [self.key])

    def commits(self) -> int:
        return int(git("rev-list", "--count", "main", cwd=self.server))


def test_what_sops_holds_is_sealed_and_shown_nowhere(sops: Path, play: Play, tmp_path: Path) -> None:
    source, repository = Source(sops, play.directory), Repository(tmp_path)
    variables: dict[str, Any] = {
        "stagecraft_environment": "staging",
        "stagecraft_repository": {"url": f"file://{repository.server}", "branch": "main", "path": "clusters/staging"},
        "sealed_secrets_backup": "",
        "sealed_secrets_recipients": [],
        "sealed_secrets_identity_files": [],
        "sealed_secrets_wait_for_flux": False,
        # as docs/operator.md has it, but for the program, which an admin has in the PATH
        "sops_binary": str(sops),
        "sops_age_keyfile": f"~/{source.keys.name}",
        "sops_staging": "{{ lookup('community.sops.sops', inventory_dir ~ '/secrets.sops.yml') | from_yaml }}",
        "sealed_secrets_mac_key": "{{ sops_staging.seal_mac_key }}",
        "sealed_secrets_secrets": [
            {"name": "db", "namespace": "shop", "string_data": {"password": "{{ sops_staging.db_password }}"}}
        ],
    }
    known = [form for value in (CANARY, MAC_KEY, str(source.identity)) for form in forms_of(value)]

    def seal(changed: int, *arguments: str) -> None:
        done = play.playbook("seal-secrets", "-vvvv", "--diff", *arguments, variables=variables)
        assert (done["code"], done["changed"]) == (0, changed), play.output
        assert [form for form in known if form in play.output.encode()] == []
        assert in_files(known, (tmp_path, *play.temporary), [source.keys.name]) == []

    with Watch(known, play.temporary) as watch:
        source.write(db_password="before", seal_mac_key=MAC_KEY)
        seal(1)
        source.write(db_password=CANARY, seal_mac_key=MAC_KEY)
        seal(1, "--check")
        assert repository.opened() == {"password": b"before"}
        seal(1)
        assert repository.opened() == {"password": CANARY.encode()}
        # encrypted anew with the same values: another file of SOPS, and nothing to do
        source.write(db_password=CANARY, seal_mac_key=MAC_KEY)
        seal(0)
        assert repository.commits() == 3

        source.keys.write_text(f"{pyrage.x25519.Identity.generate()}\n")
        refused = play.playbook("seal-secrets", "-vvvv", variables=variables)
    assert refused["code"] != 0
    assert "secrets.sops.yml" in play.output
    assert [form for form in known if form in play.output.encode()] == []
    assert repository.commits() == 3
    assert watch.found == set()
