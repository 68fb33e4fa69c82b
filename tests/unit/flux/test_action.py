# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action flux_bootstrap against an API server from a dictionary."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.action import flux_bootstrap as action
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux.errors import FluxError

from tests.unit.flux.test_bootstrap import FOLLOWS
from tests.unit.flux.test_cluster import CRDS, NAME, FakeApi, definition, installed

HOME = "/api/v1/namespaces/flux-system"
OTHER = "kustomizations.kustomize.toolkit.fluxcd.io"
FLUX = {"metadata": {"labels": {"app.kubernetes.io/part-of": "flux"}}, "status": {"phase": "Active"}}


KEPT = {"/version", "/api/v1/namespaces/applications"}


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


def absent(api: FakeApi, *, check: bool = False, **options: Any) -> dict[str, Any]:
    plugin = action.ActionModule.__new__(action.ActionModule)
    plugin._task = _Task()
    plugin._task.check_mode = check
    repository = {"url": FOLLOWS.url, "branch": FOLLOWS.branch, "path": FOLLOWS.path}
    wanted = {"namespace": "flux-system", "timeout": 1.0, "takeover": False, "repository": repository, **options}
    return plugin._absent(api, wanted)  # type: ignore[arg-type]


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
