# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Applications are waited for, which of them are touched, and when the wait ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.argocd import wait as waiting
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.argocd.wait import Goal, NoApplication, Outcome, wait
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.session import Resource
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import delivery

from tests.unit.argocd.test_applications import FAILED, NEW, OLD, URL, application, source, synced

FILE = "clusters/production/app/kustomization.yaml"
OUT_OF_SYNC = {"status": "OutOfSync", "revision": NEW}


def named(name: str, path: str = "clusters/production", **changed: Any) -> dict[str, Any]:
    """Return an Application that is synced at the new commit and healthy, but for what is changed."""
    return application(name, source(path), **synced(**changed)["status"])


class Server:
    """An API server with Applications, which `after` may change before each look but the first."""

    def __init__(self, *items: dict[str, Any], after: Callable[[Server], None] | None = None) -> None:
        self.there = list(items)
        self.calls: list[tuple[str, str]] = []
        self.looks = 0
        self.troubles: list[ApiError] = []
        self._after = after

    def preferred(self, group: str, kind: str) -> Resource:
        return Resource(f"{group}/v1alpha1", kind, "applications", namespaced=True)

    def items(self, _path: str) -> list[dict[str, Any]]:
        self.looks += 1
        if self._after is not None and self.looks > 1:
            self._after(self)
        return self.there

    def call(self, ask: Callable[[Any], Any]) -> Any:
        return ask(self)

    def request(self, method: str, path: str, **_more: Any) -> None:
        if self.troubles:
            raise self.troubles.pop()
        self.calls.append((method, path.rpartition("/")[2]))

    def wait(
        self, *files: str, application: tuple[str, str] | None = None, seconds: float = 0.0, **more: Any
    ) -> Outcome:
        session: Any = self
        goal = Goal(URL, "main", files, NEW, application)
        return wait(session, goal, seconds, lambda *_: False, **more)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_LOOK", 0.01)


def said(outcome: Outcome) -> dict[str, str]:
    return {one.name: verdict.state for one, verdict in outcome.verdicts.items()}


class TestWhich:
    def test_one_that_nobody_syncs_is_synced_where_it_brings_the_files(self) -> None:
        server = Server(named("production", sync=OUT_OF_SYNC), named("staging", "clusters/staging", sync=OUT_OF_SYNC))
        assert said(server.wait(FILE)) == {"production": "out of sync"}
        assert server.calls == [("PATCH", "production"), ("PUT", "production")]

    def test_those_that_might_bring_a_file_are_left_alone(self) -> None:
        server = Server(named("production", sync=OUT_OF_SYNC), named("staging", "clusters/staging", sync=OUT_OF_SYNC))
        with pytest.raises(
            NoApplication, match=r"2 Applications follow the branch main of forge.example/team/fleet, and none"
        ) as told:
            server.wait("base/x.yaml")
        assert "Application argocd/production, Application argocd/staging. Name it by source: Application/" in str(
            told.value
        )
        assert server.calls == []

    def test_the_only_one_that_might_is_waited_for_and_not_synced(self) -> None:
        server = Server(named("production", sync=OUT_OF_SYNC))
        outcome = server.wait("base/x.yaml")
        assert said(outcome) == {"production": "passing"}
        assert "is not synced from here" in str(outcome.verdicts)
        assert server.calls == [("PATCH", "production")]

    def test_one_that_is_named_is_synced_wherever_the_files_are(self) -> None:
        chart = {**source("", "https://charts.example"), "chart": "web"}
        several = synced(sync={"status": "OutOfSync", "revisions": ["1.0.0", NEW]})["status"]
        web = application("web", chart, source("clusters/web"), **several)
        server = Server(named("production"), web)
        assert said(server.wait(FILE, application=("argocd", "web"))) == {"web": "out of sync"}
        assert server.calls == [("PATCH", "web"), ("PUT", "web")]
        with pytest.raises(NoApplication, match="the cluster has no Application argocd/gone"):
            server.wait(FILE, application=("argocd", "gone"))


class TestEnd:
    def test_a_failure_of_before_it_was_asked_ends_nothing(self) -> None:
        """Its new operation was not taken up yet, so it was not asked; what it says is of the last one."""
        stale = {
            **named("b", sync=OUT_OF_SYNC, conditions=[{"type": "InvalidSpecError", "message": "x"}]),
            "operation": {"sync": {}},
        }

        def taken_up(server: Server) -> None:
            if server.looks == 4:
                server.there = [named("a"), named("b")]

        server = Server(named("a"), stale, after=taken_up)
        assert server.wait(FILE, seconds=5.0).ok
        assert server.calls == [("PATCH", "a"), ("PATCH", "b")]

    def test_one_that_could_not_be_asked_was_not(self) -> None:
        def well(server: Server) -> None:
            if server.looks == 3:
                server.there = [named("a")]

        server = Server(named("a", sync=OUT_OF_SYNC, operationState=FAILED), after=well)
        server.troubles = [ApiError("it starts", 503)]
        assert said(server.wait(FILE, seconds=5.0)) == {"a": "ready"}

    def test_a_failure_of_one_that_was_asked_ends_the_wait(self) -> None:
        server = Server(named("a"), named("b", sync=OUT_OF_SYNC, operationState=FAILED))
        assert said(server.wait(FILE, seconds=60.0)) == {"a": "ready", "b": "failed"}
        assert server.looks == 2
        assert said(server.wait(FILE, seconds=60.0, ask=False)) == {"a": "ready", "b": "failed"}
        assert server.looks == 3

    def test_one_that_is_elsewhere_is_waited_for(self) -> None:
        def there(server: Server) -> None:
            if server.looks == 4:
                server.there = [named("a")]

        server = Server(named("a", sync={"status": "Synced", "revision": OLD}), after=there)
        assert said(server.wait(FILE, seconds=60.0)) == {"a": "ready"}
        server = Server(named("a", sync={"status": "Synced", "revision": OLD}))
        told = delivery.by_argocd(server.wait(FILE), NEW)
        assert told.failures == ()
        assert told.unknown == (f"Application argocd/a: it is at {OLD[:12]}",)
