# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""flux_bootstrap by ansible-playbook: what it says and does not do where the cluster is missing, or is not ours."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.controlplane.git_server import GitServer
from tests.integration.kube.api_server import ApiServer
from tests.integration.play import Play
from tests.unit.flux.release import RELEASE

DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gitrepositories.source.toolkit.fluxcd.io"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    made = GitServer(tmp_path / "git")
    yield made
    made.close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    directory = tmp_path / "api"
    directory.mkdir()
    made = ApiServer(directory)
    made.answers["/version"] = (200, {"gitVersion": "v1.36.3"})
    yield made
    made.close()


def task(tmp_path: Path, url: str, **options: Any) -> list[dict[str, Any]]:
    archive = tmp_path / "manifests.tar.gz"
    with tarfile.open(archive, "w:gz") as written:
        for name, text in RELEASE.items():
            (tmp_path / name).write_text(text)
            written.add(tmp_path / name, name)
    wanted: dict[str, Any] = {
        "environment": "staging",
        "version": "2.9.4",
        "manifests": str(archive),
        "repository": {"url": url, "path": "clusters/staging"},
        "kubeconfig": str(tmp_path / "kubeconfig"),
        "context": "admin",
    }
    return [{"name": "Follow", "stagecraft.gitops.flux_bootstrap": wanted | options}]


def test_check_mode_before_there_is_a_cluster_names_every_step(tmp_path: Path, server: GitServer, play: Play) -> None:
    repository = server.create("infra/environments.git")
    ran = play.run(task(tmp_path, f"{server.url}/infra/environments.git"), "--check", "--diff")
    assert (ran["code"], ran["changed"]) == (0, 1), play.output
    found = play.result()
    assert found["state"] == "absent"
    assert [step["action"] for step in found["steps"]] == ["install", "commit", "commit", "commit", "follow"]
    refs = subprocess.run(["git", "for-each-ref"], cwd=repository, check=True, capture_output=True).stdout
    assert refs == b""


def test_without_check_mode_a_missing_cluster_is_an_error(tmp_path: Path, server: GitServer, play: Play) -> None:
    server.create("infra/environments.git")
    assert play.run(task(tmp_path, f"{server.url}/infra/environments.git"))["code"] != 0
    assert "there is no kubeconfig" in play.output


def test_a_flux_by_helm_is_left_alone(tmp_path: Path, server: GitServer, play: Play, api: ApiServer) -> None:
    repository = server.create("infra/environments.git")
    (tmp_path / "kubeconfig").write_text(api.admin_conf())
    api.answers[DEFINITION] = (200, {"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}})
    assert play.run(task(tmp_path, f"{server.url}/infra/environments.git"))["code"] != 0
    assert "Flux was installed by Helm here" in play.output
    assert {method for method, _ in api.asked} == {"GET"}
    refs = subprocess.run(["git", "for-each-ref"], cwd=repository, check=True, capture_output=True).stdout
    assert refs == b""


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("git@git.example.com:infra/x.git", "which Flux cannot read: write ssh://git@HOST/OWNER/NAME.git"),
        ("ssh://git@git.example.com/infra/x.git", "git.known_hosts is empty"),
    ],
)
def test_an_address_that_cannot_be_followed_is_refused_first(
    tmp_path: Path, play: Play, api: ApiServer, url: str, said: str
) -> None:
    (tmp_path / "kubeconfig").write_text(api.admin_conf())
    assert play.run(task(tmp_path, url))["code"] != 0
    assert said in play.output


def test_nothing_to_remove_is_no_change(tmp_path: Path, play: Play, api: ApiServer) -> None:
    (tmp_path / "kubeconfig").write_text(api.admin_conf())
    api.answers[DEFINITION.rpartition("/")[0]] = (200, {"items": []})
    ran = play.run(task(tmp_path, "http://127.0.0.1:1/x.git", state="absent"))
    assert (ran["code"], ran["changed"]) == (0, 0), play.output
