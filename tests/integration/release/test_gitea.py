# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Promotion by pull request with a real Gitea: opened, updated, merged by itself, and refused by a protected branch."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.errors import GitError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.pull_requests import from_options
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Remote

from tests.integration.release.gitea import USER, Gitea
from tests.unit.release.lab import B, C, Lab, kustomization

STAGING = "clusters/staging/podinfo/kustomization.yaml"
PRODUCTION = "clusters/production/podinfo/kustomization.yaml"
CONTEXT = "test/unit"


@pytest.fixture(scope="module")
def gitea(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gitea]:
    server = Gitea(tmp_path_factory.mktemp("gitea"))
    yield server
    server.close()


class Site:
    """A repository of Gitea's, filled from a lab's."""

    def __init__(self, gitea: Gitea, lab: Lab, name: str) -> None:
        self.gitea, self.lab, self.name = gitea, lab, name
        gitea.ask("POST", "/user/repos", {"name": name, "default_branch": "main"})
        self.url = f"{gitea.url}/{USER}/{name}.git"
        self.path = f"/repos/{USER}/{name}"
        self.token_file = lab.directory / "token"
        self.token_file.write_text(gitea.token)
        self.push("main:main")
        # Gitea works off a queue after a push: until then the repository counts as empty.
        until(lambda: not gitea.ask("GET", self.path)["empty"], "the first push to be noticed")

    def push(self, refs: str) -> None:
        authority = f"{self.gitea.url.replace('://', f'://{USER}:{self.gitea.token}@')}/{USER}/{self.name}.git"
        self.lab.git("push", "--quiet", authority, refs)

    def promote(self, **options: Any) -> dict[str, Any]:
        remote = Remote(self.url, "main", token_file=str(self.token_file), user=USER)
        forge = from_options({"type": "gitea", "url": self.gitea.url, "token_file": str(self.token_file)}, self.url)
        place = self.lab.place()
        run = self.lab.run(None, forge=forge, **options)
        run.place = type(place)(remote, place.author, place.actor, cache=place.cache)
        return run.promote("staging", "production", ["podinfo"], ask_registry=False)

    def text(self, path: str, ref: str = "main") -> str:
        return self.gitea.text(f"{self.path}/raw/{path}?ref={ref}")

    def pulls(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.gitea.ask("GET", f"{self.path}/pulls?state=all")
        return found

    def merge(self, number: int) -> bool:
        """Merge a pull request; False while Gitea still looks for conflicts."""
        try:
            self.gitea.ask("POST", f"{self.path}/pulls/{number}/merge", {"Do": "squash"})
        except urllib.error.HTTPError as error:
            if error.code != 405:
                raise
            return False
        return True

    def protect(self, **rules: Any) -> None:
        self.gitea.ask("POST", f"{self.path}/branch_protections", {"rule_name": "main", "branch_name": "main", **rules})


def until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait for what Gitea does on its own after it has answered."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, f"waited {seconds:g} s for {what}"
        time.sleep(0.1)


@pytest.fixture
def site(gitea: Gitea, tmp_path: Path, request: pytest.FixtureRequest) -> Site:
    return Site(gitea, Lab(tmp_path), str(request.node.name).replace("_", "-")[:60])


def test_a_push_over_http_with_a_token(site: Site) -> None:
    result = site.promote()
    assert result["changed"]
    assert site.text(PRODUCTION) == kustomization("6.6.0", B, replicas=3)


def test_one_pull_request_opened_updated_and_merged(site: Site) -> None:
    first = site.promote(strategy="pull_request")
    (pull,) = site.pulls()
    assert pull["html_url"] == first["pr_url"]
    assert pull["title"] == "promote(podinfo): staging -> production 6.5.4 -> 6.6.0"
    assert f"Gitops-Plan: {first['plan_id']}" in pull["body"]
    assert site.promote(strategy="pull_request")["changed"] is False
    site.lab.commit({STAGING: kustomization("6.7.0", C)})
    site.push("main:main")
    newer = site.promote(strategy="pull_request")
    assert newer["changed"]
    assert [(one["number"], one["title"]) for one in site.pulls()] == [
        (pull["number"], "promote(podinfo): staging -> production 6.5.4 -> 6.7.0")
    ]
    until(lambda: site.merge(pull["number"]), "the look for conflicts")
    assert site.text(PRODUCTION) == kustomization("6.7.0", C, replicas=3)
    assert site.promote(strategy="pull_request")["changed"] is False


def test_a_protected_branch_refuses_the_push_once(site: Site) -> None:
    site.protect(enable_push=False)
    with pytest.raises(GitError, match="the server protects the branch"):
        site.promote()
    assert site.promote(strategy="pull_request")["pr_url"]


def test_it_is_merged_when_the_checks_have_passed(site: Site) -> None:
    site.protect(enable_push=True, enable_status_check=True, status_check_contexts=[CONTEXT])
    done = site.promote(strategy="pull_request", auto_merge=True)
    assert (done["warnings"], done["merged"], done["scheduled"]) == ([], False, True)
    assert site.pulls()[0]["merged"] is False
    again = site.promote(strategy="pull_request", auto_merge=True)
    assert (again["changed"], again["scheduled"]) == (False, True)
    status = {"context": CONTEXT, "state": "success"}
    site.gitea.ask("POST", f"{site.path}/statuses/{done['commit']}", status)
    until(lambda: bool(site.pulls()[0]["merged"]), "the merge")
    merge = site.gitea.ask("GET", f"{site.path}/git/commits/{site.pulls()[0]['merge_commit_sha']}")["commit"]["message"]
    assert f"Gitops-Plan: {done['plan_id']}" in merge
    assert site.text(PRODUCTION) == kustomization("6.6.0", B, replicas=3)
