# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action flux_bootstrap against an API server from a dictionary."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.action import flux_bootstrap as action
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import deploy_key, manifests, state
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.branch import Branch, Changes, publish
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.remote import Author, Remote

from tests.unit.flux.release import RELEASE
from tests.unit.flux.test_bootstrap import FOLLOWS
from tests.unit.flux.test_cluster import CRDS, NAME, FakeApi, definition, installed
from tests.unit.git.test_forge import TOKEN, Server

HOME = "/api/v1/namespaces/flux-system"
OTHER = "kustomizations.kustomize.toolkit.fluxcd.io"
FLUX = {"metadata": {"labels": {"app.kubernetes.io/part-of": "flux"}}, "status": {"phase": "Active"}}


KEPT = {"/version", "/api/v1/namespaces/applications"}


PAGE = 4096


class Killed(BaseException):
    """What stands for SIGKILL."""


class Mortal(FakeApi):
    """Takes so many writes, then the run is killed."""

    left = 10**6

    def request(self, method: str, path: str, *, body: Any = None, **more: Any) -> Any:
        if not self.left:
            raise Killed
        self.left -= 1
        return super().request(method, path, body=body, **more)


class _Task:
    check_mode = False
    diff = False
    action = "stagecraft.gitops.flux_bootstrap"
    async_val = 0
    args: dict[str, Any]


def absent(api: FakeApi, *, check: bool = False, **options: Any) -> dict[str, Any]:
    plugin = action.ActionModule.__new__(action.ActionModule)
    plugin._task = _Task()
    plugin._task.check_mode = check
    repository = {"url": FOLLOWS.url, "branch": FOLLOWS.branch, "path": FOLLOWS.path}
    wanted = {"namespace": "flux-system", "timeout": 1.0, "takeover": False, "repository": repository, **options}
    return plugin._absent(api, wanted)  # type: ignore[arg-type]


KUSTOMIZATION = b"apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: x}\n---\n"


@pytest.mark.parametrize(("count", "workers"), [(20, "4"), (100, "8")])
def test_the_second_run_finds_the_size_that_the_first_one_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, workers: str
) -> None:
    # a page instead of a mebibyte, to keep the repository small
    monkeypatch.setattr(manifests, "_MEBI", PAGE)
    monkeypatch.setattr(manifests, "_OWN_FILES", 0)
    server = tmp_path / "server.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(server)], check=True)
    remote, author = Remote(f"file://{server}", "main"), Author("Ada", "ada@example.com")
    # at a threshold in both: one Kustomization more, or one page more, would be another size
    pages = -(-len(KUSTOMIZATION * count) // PAGE)
    stages: Changes = {
        "clusters/staging/stages.yaml": KUSTOMIZATION * count,
        "large": b"x" * PAGE * (256 // int(workers) - pages),
    }
    publish(remote, lambda *_: stages, lambda _: "stages", author)
    repository = {"url": FOLLOWS.url, "branch": "main", "path": FOLLOWS.path}
    plugin = action.ActionModule.__new__(action.ActionModule)
    plugin._task = _Task()
    plugin._task.args = {"environment": "staging", "version": "2.9.4", "repository": repository, "manifests": "x"}
    options = plugin._options()
    for _run in range(2):
        with Branch(remote) as branch:
            base = branch.fetch()
            wanted = action._wanted(options, RELEASE, branch, base)
            changes = action._changes(wanted, branch, base)
        controller = next(
            i for i in wanted.components if i["metadata"]["name"] == "kustomize-controller" and "spec" in i
        )
        spec = controller["spec"]["template"]["spec"]
        assert f"--concurrent={workers}" in spec["containers"][0]["args"]
        assert spec["volumes"][0]["emptyDir"]["sizeLimit"] == "256Mi"
        publish(remote, lambda *_, changes=changes: changes, lambda _: "flux", author)
    assert changes == {}


def of_flux() -> Mortal:
    """Flux that reads its repository over HTTP, so without a key."""
    api = Mortal(installed().objects)
    api.objects |= {
        "/version": {"gitVersion": "v1.36.3"},
        HOME: FLUX,
        f"{CRDS}/{OTHER}": definition(OTHER, "kustomizations"),
    }
    api.objects[f"{CRDS}/{NAME}"]["metadata"]["managedFields"] = [{"manager": "stagecraft.gitops"}]
    return api


@pytest.mark.parametrize(
    "remaining",
    [{f"{CRDS}/{OTHER}": definition(OTHER, "kustomizations"), HOME: FLUX}, {HOME: FLUX}, {HOME: {"status": {"phase": "Terminating"}}}],
    ids=["definitions", "namespace", "going"],
)  # fmt: skip
def test_what_a_removal_has_left_is_found(remaining: dict[str, Any]) -> None:
    api = FakeApi({"/version": {"gitVersion": "v1.36.3"}, **remaining})
    assert absent(api, check=True)["changed"]
    assert absent(api)["changed"]
    assert not absent(api)["changed"]


def test_a_removal_that_is_killed_anywhere_is_finished_by_the_next_run() -> None:
    kills = 0
    while True:
        api = of_flux()
        api.left = kills
        try:
            absent(api)
            break
        except Killed:
            kills += 1
        api.left = 10**6
        assert absent(api)["changed"]
        # the API server removes instances with their definition
        assert {name for name in api.objects if "gitrepositories/" not in name} == KEPT
    assert kills > 5


def test_a_namespace_of_that_name_is_not_flux() -> None:
    api = FakeApi({"/version": {"gitVersion": "v1.36.3"}, HOME: {"status": {"phase": "Active"}}})
    assert not absent(api)["changed"]
    assert HOME in api.objects


def test_somebody_elses_flux_is_left_as_it_is() -> None:
    api = of_flux()
    api.objects[f"{CRDS}/{NAME}"]["metadata"]["managedFields"] = [{"manager": "flux"}]
    before = set(api.objects)
    with pytest.raises(FluxError, match="may be somebody else's"):
        absent(api)
    assert set(api.objects) == before
    assert absent(api, takeover=True)["changed"]


KEY = deploy_key.KeySecret("ssh-ed25519 KEY1 flux-staging", "", complete=True)
LEFT = state.Observed(key=KEY)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def options(server: Server | None, directory: Path) -> dict[str, Any]:
    (directory / "token").write_text(TOKEN)
    api = {"url": server.url, "token_file": str(directory / "token")} if server else None
    return {"environment": "staging", "forge": api}


def test_a_deploy_key_that_nobody_forgets_is_named(tmp_path: Path) -> None:
    found = action._allowed(options(None, tmp_path), LEFT, FOLLOWS)
    assert found.git_host is None
    assert found.said == (
        f"The deploy key may still be allowed for {FOLLOWS.url}: {KEY.public}. Delete it there, among the repository's deploy keys."
    )
    assert action._allowed(options(None, tmp_path), state.Observed(), FOLLOWS).said == ""


@pytest.mark.parametrize(
    ("title", "ours", "said"),
    [
        ("flux-staging", True, ""),
        ("mine", False, "still allows the deploy key for infra/environments, by the name 'mine', which is not ours: "),
        ("", False, ""),
    ],
)
def test_only_what_we_have_allowed_is_forgotten(
    server: Server, tmp_path: Path, title: str, ours: bool, said: str
) -> None:
    server.keys = [{"id": 1, "title": title, "key": KEY.public}] if title else []
    found = action._allowed(options(server, tmp_path), LEFT, FOLLOWS)
    assert (found.git_host is not None) == ours
    assert said in found.said
    assert bool(found.said) == bool(said)


def test_a_git_server_that_does_not_answer_keeps_flux_where_it_is(server: Server, tmp_path: Path) -> None:
    wanted = options(server, tmp_path)
    wanted["forge"]["url"] = "http://127.0.0.1:1"
    with pytest.raises(FluxError, match=r"Flux was left as it is.*no answer.*flux_forge: \{\}"):
        action._allowed(wanted, LEFT, FOLLOWS)
