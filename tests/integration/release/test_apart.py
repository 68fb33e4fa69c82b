# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploy keys of environments with repositories of their own: each is tried on each of them, at a real forge over SSH."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import deploy_key
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git import forge

from tests.integration.release.gitea import USER, Gitea
from tools import apart

NAMES = ("local", "staging", "production")


@pytest.fixture(scope="module")
def gitea(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gitea]:
    server = Gitea(tmp_path_factory.mktemp("gitea"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def server(gitea: Gitea) -> forge.Gitea:
    """The forge's API as the role flux asks it."""
    return forge.Gitea(gitea.url, gitea.token)


@pytest.fixture(scope="module")
def environments(gitea: Gitea, server: forge.Gitea) -> dict[str, apart.Deploy]:
    """Each with a repository and a key that may read it, as a set-up leaves them."""
    scan = ["ssh-keyscan", "-p", str(gitea.ssh_port), "-t", "ed25519,rsa", "127.0.0.1"]
    known = subprocess.run(scan, capture_output=True, text=True, check=True).stdout
    assert known
    found = {}
    for name in NAMES:
        gitea.ask("POST", "/user/repos", {"name": name, "default_branch": "main", "auto_init": True})
        key = deploy_key.generate(f"flux-{name}")
        server.allow_key(f"{USER}/{name}", key.public, f"flux-{name}")
        url = f"ssh://git@127.0.0.1:{gitea.ssh_port}/{USER}/{name}.git"
        found[name] = apart.Deploy(url, key.public, key.private, known)
    return found


def test_no_deploy_key_opens_another_environments_repository(environments: dict[str, apart.Deploy]) -> None:
    assert apart.deploy_problems(environments, apart.clone) == []
    assert "6 pairs tried" in apart.told(environments)[1]


def test_a_key_that_is_let_in_elsewhere_is_found(environments: dict[str, apart.Deploy], server: forge.Gitea) -> None:
    stranger = deploy_key.generate("flux-canary")
    server.allow_key(f"{USER}/production", stranger.public, "flux-canary")
    wrong = {
        **environments,
        "staging": apart.Deploy(
            environments["staging"].url, stranger.public, stranger.private, environments["staging"].known_hosts
        ),
    }
    said = apart.deploy_problems(wrong, apart.clone)
    assert said[-1] == "the deploy key of staging opens the repository of production"
    # and it is not that of its own
    assert len(said) == 2
    assert "does not open its repository" in said[0]
    assert "not authorized to read ada/staging" in said[0]
