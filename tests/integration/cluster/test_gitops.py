# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster that follows the sandbox's Git server: what was pushed runs, what does not is told, and Flux goes when asked to."""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.cluster.lab import Lab, Run

#: For how long an admin's playbook waits at most, in seconds.
TIMEOUT = 120
STAGES = ("infrastructure", "monitoring", "applications")


class Repository:
    """A clone of the environment's repository, and the API of the server that has it."""

    def __init__(self, lab: Lab, work: Path) -> None:
        self.credentials = lab.directory / "forge"
        self.host = lab.hosts["forge"]
        self.work = work
        self.environment = f"clusters/{lab.context}"
        ssh = ["ssh", "-i", str(self.credentials / "id_ed25519"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
        known = ["-o", f"UserKnownHostsFile={self.credentials / 'known_hosts'}", "-o", "StrictHostKeyChecking=yes"]
        self.variables = {**os.environ, "GIT_SSH_COMMAND": shlex.join([*ssh, *known])}
        self.git("clone", "--quiet", f"ssh://git@{self.host}:2222/stagecraft/environments.git", str(work), at=Path())

    def git(self, *words: str, at: Path | None = None) -> str:
        command = ["git", "-c", "user.name=tester", "-c", "user.email=tester@example.com", *words]
        where = self.work if at is None else at
        done = subprocess.run(command, cwd=where, env=self.variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"git {words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    @property
    def head(self) -> str:
        """The commit that the server's branch is at."""
        return self.git("ls-remote", "origin", "refs/heads/main").split()[0]

    def push(self, path: str, before: str, after: str) -> str:
        """Replace text in a file, push the commit, and return it."""
        self.git("pull", "--quiet", "--ff-only")
        file = self.work / path
        text = file.read_text()
        assert before in text, f"{path} has no {before!r}:\n{text}"
        file.write_text(text.replace(before, after))
        self.git("commit", "--quiet", "--all", "--message", f"change {path}")
        self.git("push", "--quiet")
        return self.git("rev-parse", "HEAD")

    def deploy_keys(self) -> list[dict[str, Any]]:
        url = f"http://{self.host}:3000/api/v1/repos/stagecraft/environments/keys"
        token = (self.credentials / "token").read_text().strip()
        request = urllib.request.Request(url, headers={"Authorization": f"token {token}"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            keys: list[dict[str, Any]] = json.load(answer)
        return keys


@pytest.fixture(scope="module")
def repository(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(lab, tmp_path_factory.mktemp("clone"))


def wait_for(lab: Lab, tmp_path: Path, commit: str) -> Run:
    """Run flux_wait for a commit, as an admin's playbook does after a push."""
    task = {"stagecraft.gitops.flux_wait": {"revision": commit, "timeout": TIMEOUT}}
    playbook = tmp_path / "wait.yml"
    playbook.write_text(yaml.safe_dump([{"hosts": "control_plane[0]", "gather_facts": False, "tasks": [task]}]))
    return lab.playbook(str(playbook))


def words(run: Run) -> str:
    return " ".join(run.output.split())


def status(lab: Lab) -> Run:
    return lab.playbook("playbooks/status.yml")


def hello(lab: Lab) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.kubectl("-n", "applications", "get", "deployment", "hello", "-o", "json"))
    return found


def flux_secret(lab: Lab) -> dict[str, str]:
    secret = json.loads(lab.kubectl("-n", "flux-system", "get", "secret", "flux-system", "-o", "json"))
    return {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}


def test_flux_reads_over_ssh_with_a_key_of_its_own(lab: Lab, repository: Repository) -> None:
    source = json.loads(lab.kubectl("-n", "flux-system", "get", "gitrepository", "flux-system", "-o", "json"))
    assert source["spec"]["url"] == f"ssh://git@{repository.host}:2222/stagecraft/environments.git"
    data = flux_secret(lab)
    assert data["identity.pub"].split()[0] == "ssh-ed25519"
    assert data["known_hosts"].split()[:3] == (repository.credentials / "known_hosts").read_text().split()[:3]
    allowed = {key["key"].split()[1]: key["read_only"] for key in repository.deploy_keys()}
    assert allowed == {data["identity.pub"].split()[1]: True}


def test_the_sample_application_is_ready_at_the_pushed_commit_and_status_says_so(
    lab: Lab, repository: Repository
) -> None:
    told = status(lab).must_work().output
    for stage in STAGES:
        assert f"ready      Kustomization flux-system/{stage}  main@sha1:{repository.head}" in told
    assert hello(lab)["status"]["readyReplicas"] == 1
    page = lab.kubectl("get", "--raw", "/api/v1/namespaces/applications/services/hello:http/proxy/")
    assert f"Hello from {lab.context}" in page


def test_a_pushed_change_arrives_and_check_mode_leaves_it(lab: Lab, repository: Repository, tmp_path: Path) -> None:
    commit = repository.push(f"{repository.environment}/applications/hello.yaml", "replicas: 1", "replicas: 2")
    wait_for(lab, tmp_path, commit).must_work()
    assert hello(lab)["status"]["readyReplicas"] == 2
    # the file is the user's from now on
    lab.setup("--check", "--diff").must_not_change()
    assert repository.head == commit


def test_a_suspended_stage_is_told_until_it_is_resumed(lab: Lab) -> None:
    stage = "Kustomization/applications"
    lab.playbook("playbooks/suspend.yml", "-e", json.dumps({"suspend_objects": [stage]})).must_work()
    told = status(lab)
    assert told.rc != 0
    assert "suspended  Kustomization flux-system/applications" in told.output
    assert "Kustomization flux-system/applications: Suspended: it is suspended at" in words(told)
    lab.playbook("playbooks/resume.yml", "-e", json.dumps({"resume_objects": [stage]})).must_work()
    status(lab).must_work()


def test_a_commit_that_cannot_be_applied_is_told_at_once_until_it_is_reverted(
    lab: Lab, repository: Repository, tmp_path: Path
) -> None:
    page = "clusters/base/applications/hello/page.yaml"
    failed = wait_for(lab, tmp_path, repository.push(page, "${DOMAIN}", "${NOT_SET}"))
    assert failed.rc != 0
    assert failed.seconds < TIMEOUT / 2, "it waited though waiting is of no use"
    for run in (failed, status(lab)):
        assert run.rc != 0
        assert "Kustomization flux-system/applications: BuildFailed" in words(run)
        assert "NOT_SET" in words(run)
    assert hello(lab)["status"]["readyReplicas"] == 2
    wait_for(lab, tmp_path, repository.push(page, "${NOT_SET}", "${DOMAIN}")).must_work()
    status(lab).must_work()


def test_flux_goes_without_hanging_and_leaves_the_application(lab: Lab) -> None:
    before = hello(lab)["metadata"]["uid"]
    lab.setup("-e", "flux_state=absent").must_work()
    assert not lab.kubectl("get", "namespace", "flux-system", "--ignore-not-found")
    left = lab.kubectl("get", "crd", "-o", "name")
    assert "toolkit.fluxcd.io" not in left
    after = hello(lab)
    assert after["metadata"]["uid"] == before
    assert after["status"]["readyReplicas"] == 2
    lab.setup("-e", "flux_state=absent").must_not_change()
    told = status(lab)
    assert told.rc != 0
    assert "Flux is not installed" in words(told)


def test_flux_comes_back_to_the_repository_as_it_is(lab: Lab, repository: Repository) -> None:
    before = repository.head
    lab.setup().must_work()
    assert repository.head == before
    assert hello(lab)["status"]["readyReplicas"] == 2
    # the key of the Flux that went is not allowed any more
    (key,) = repository.deploy_keys()
    assert key["read_only"]
    assert key["key"].split()[1] == flux_secret(lab)["identity.pub"].split()[1]
    status(lab).must_work()
