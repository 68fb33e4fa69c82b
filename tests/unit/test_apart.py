# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tells whether environments are apart, with API servers that are too kind in one way each."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyrage
import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.age import file
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import backup, crypto, keys, manifest

from tools import apart

NAMES = ("production", "staging")
KEYS = {
    name: apart.Keys(
        cluster={"server": name, "certificate-authority-data": f"ca of {name}"},
        user={"client": name},
        token=f"token of {name}",
    )
    for name in NAMES
}


def answer(cluster: Mapping[str, Any], user: Mapping[str, Any], path: str, kind: str = "", closed: str = "") -> str:
    """Answer as the servers of two environments do; `kind` is what the check of which is missing."""
    del path
    name = cluster["server"]
    if closed == name:
        return "401: Unauthorized"
    if cluster["certificate-authority-data"] != f"ca of {name}" and kind != "CA":
        return "None: the server's certificate is not trusted"
    if "token" in user:
        return "" if user["token"] == f"token of {name}" or kind == "token" else "401: Unauthorized"
    return "" if user["client"] == name or kind == "credentials" else "401: Unauthorized"


def test_environments_that_are_apart() -> None:
    assert apart.problems(KEYS, answer) == []


def test_a_refusal_before_the_first_word_is_one() -> None:
    def early(cluster: Mapping[str, Any], user: Mapping[str, Any], path: str) -> str:
        refusal = answer(cluster, user, path)
        return "None: no TLS session came about: TLSV1_ALERT_UNKNOWN_CA" if refusal.startswith("401") else refusal

    assert apart.problems(KEYS, early) == []


@pytest.mark.parametrize(
    ("kind", "what"),
    [("credentials", "the admin's credentials"), ("token", "a service account's token"), ("CA", "the CA")],
)
def test_what_opens_another_environment_is_named(kind: str, what: str) -> None:
    found = apart.problems(KEYS, lambda cluster, user, path: answer(cluster, user, path, kind))
    assert found == [f"{what} of production is accepted in staging", f"{what} of staging is accepted in production"]


def test_a_server_that_refuses_everybody_proves_nothing() -> None:
    found = apart.problems(KEYS, lambda cluster, user, path: answer(cluster, user, path, closed="staging"))
    assert "the admin's credentials of staging does not work there: 401: Unauthorized" in found
    assert any(
        problem.startswith("the CA of production in staging: wanted a refusal with certificate") for problem in found
    )


def deploy(name: str, url: str = "", key: str = "") -> apart.Deploy:
    return apart.Deploy(
        url or f"ssh://git@forge/{name}.git", f"public {key or name}", f"private {key or name}", "pinned"
    )


def admits(followed: apart.Deploy, private: str) -> str:
    """Answer as a forge does that knows one key for each repository."""
    return "" if private.removeprefix("private ") in followed.url else "it does not accept the key"


def test_deploy_keys_that_open_their_own_repository_alone() -> None:
    deploys = {name: deploy(name) for name in NAMES}
    assert apart.deploy_problems(deploys, admits) == []
    assert apart.told(deploys)[1:] == [
        "no deploy key opens the repository of another one: 2 pairs tried, and each at home"
    ]


def test_a_deploy_key_that_opens_another_repository_is_named() -> None:
    deploys = {name: deploy(name) for name in NAMES}
    assert apart.deploy_problems(deploys, lambda _followed, _private: "") == [
        "the deploy key of production opens the repository of staging",
        "the deploy key of staging opens the repository of production",
    ]
    assert apart.deploy_problems(deploys, lambda _followed, _private: "nothing answers") == [
        "the deploy key of production does not open its repository: nothing answers",
        "the deploy key of staging does not open its repository: nothing answers",
    ]


def test_one_deploy_key_for_two_is_named_once() -> None:
    deploys = {name: deploy(name, "ssh://git@forge/all.git", "all") for name in NAMES}
    assert apart.deploy_problems(deploys, admits) == ["production and staging have one deploy key"]


def test_one_repository_for_all_is_told_and_no_pair_is_claimed() -> None:
    url = "ssh://git@forge/staging-and-production.git"
    deploys = {name: deploy(name, url) for name in NAMES}
    asked: list[str] = []

    def attempt(followed: apart.Deploy, private: str) -> str:
        asked.append(private)
        return admits(followed, private)

    assert apart.deploy_problems(deploys, attempt) == []
    assert asked == ["private production", "private staging"], "each at home"
    assert apart.told(deploys) == [
        "no credentials, token, CA, age identity, vault password or sealing key of production, staging opens another one:"
        " 2 pairs tried, and each thing at home",
        f"production, staging follow one repository, {url}: each has a deploy key of its own, and each key reads the"
        " directories of the others",
    ]
    two = {**deploys, "local": deploy("local")}
    assert apart.told(two)[1] == "no deploy key opens the repository of another one: 4 pairs tried, and each at home"
    assert len(apart.told(two)) == 3


def test_a_key_is_tried_with_git_and_shown_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for ssh admits one key, which it reads from the file that it is given."""
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path / "all.git")], check=True)
    log = tmp_path / "log"
    ssh = tmp_path / "ssh"
    ssh.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {log}\n'
        'while [ "$1" != -i ]; do shift; done\n'
        'grep -q "private staging" "$2" || { echo "git@forge: Permission denied (publickey)." >&2; exit 255; }\n'
        f"exec git-upload-pack {tmp_path}/all.git\n"
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/lib/git-core:{os.environ['PATH']}")
    followed = deploy("staging")
    assert apart.clone(followed, followed.private) == ""
    assert "it does not accept the key" in apart.clone(followed, "private production")
    assert "private" not in log.read_text()
    assert followed.private not in repr(followed)


def test_entries_of_a_context_are_found() -> None:
    kubeconfig = {
        "clusters": [{"name": "c", "cluster": {"server": "s"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }
    assert apart.entries(kubeconfig, "x") == ({"server": "s"}, {"token": "t"})


def sealing(name: str) -> apart.Sealing:
    """Return an environment with all that belongs to it alone."""
    identities = [pyrage.x25519.Identity.generate() for _ in range(2)]
    key = keys.generate(name, datetime.now(tz=UTC), size=2048)
    record = backup.KeyRecord(key, "active", "k", "kube-system")
    recipients = [str(identity.to_public()) for identity in identities]
    declared = manifest.Declared("x", "db", "shop", {"password": b"x"})
    blob = crypto.encode(crypto.seal(key.key.public_key(), b"x", crypto.label("strict", "shop", "db")))
    password = f"password of {name}".encode()
    return apart.Sealing(
        tuple(str(identity) for identity in identities),
        file.encrypt(backup.encode(backup.Backup(name, (record,))), recipients),
        (key,),
        tuple(manifest.find(manifest.render(manifest.build(declared, {"password": blob}, {})), "x")),
        password,
        VaultLib().encrypt(b"a: b", VaultSecret(password)),
    )


SEALING = {name: sealing(name) for name in NAMES}


def test_secrets_that_are_apart() -> None:
    assert apart.sealing_problems(SEALING) == []


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        ("identities", ["age identity 1 of staging opens the backup of production"]),
        ("in_cluster", ["a key of the controller of staging opens shop/db of production"]),
        ("backup", ["a key of the backup of staging opens shop/db of production"]),
        ("password", ["the password of staging opens the vault of production"]),
    ],
)
def test_what_unseals_another_environment_is_named(part: str, wanted: list[str]) -> None:
    """Staging has what belongs to production beside what is its own; a backup is opened by production's identity."""
    production, staging = (SEALING[name] for name in NAMES)
    both: dict[str, Any] = {
        "identities": {"identities": (production.identities[0], staging.identities[1])},
        "in_cluster": {"in_cluster": (*staging.in_cluster, *production.in_cluster)},
        "backup": {"backup": production.backup, "identities": production.identities},
        "password": {"password": production.password, "vault": production.vault},
    }
    found = apart.sealing_problems({"production": production, "staging": replace(staging, **both[part])})
    assert set(wanted) <= set(found)


def test_secrets_that_do_not_open_at_home_prove_nothing() -> None:
    production, staging = (SEALING[name] for name in NAMES)
    found = apart.sealing_problems({"staging": replace(staging, in_cluster=(), password=b"x")})
    assert found == [
        "a key of the controller of staging does not open shop/db there",
        "the password of staging does not open the vault there",
    ]
    found = apart.sealing_problems({"production": replace(production, sealed=())})
    assert found == ["production has no sealed secret that could be tried"]
