# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments that Argo CD delivers: promotions are verified, and bad ones rolled back, by the Kubernetes API alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.argocd.wait import Goal, Outcome, wait
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref, mapping, text

from tests.integration.controlplane.argocd import CRD, NAMESPACE, ArgoCD
from tests.integration.controlplane.control_plane import send
from tests.integration.controlplane.site import Site
from tests.integration.controlplane.test_release import Releases


class ByArgo(Releases):
    """Two environments of one cluster, each an Application."""

    def follow(self, argo: ArgoCD, **policy: Any) -> Ref:
        """Have Argo CD bring both, production by this policy, and wait until it has; return production's."""
        staging = argo.application("staging", "clusters/staging", automated={"prune": True})
        production = argo.application("production", "clusters/production", **policy)
        for named in (staging, production):
            outcome = self.wait(named.name, self.first, 30.0)
            assert outcome.ok, outcome.verdicts
        return production

    def wait(self, application: str, commit: str, seconds: float) -> Outcome:
        goal = Goal(f"file://{self.site.repository.bare}", "main", (), commit, (NAMESPACE, application))
        return wait(self.site.session, goal, seconds, lambda *_: False)

    def cluster(self) -> dict[str, str]:
        return {"kubeconfig": str(self.site.plane.kubeconfig), "gitops": "argocd"}


@pytest.fixture
def argo(site: Site) -> Iterator[ArgoCD]:
    send(site.session, [CRD, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
    running = ArgoCD(site)
    running.start()
    yield running
    running.close()


def test_a_promotion_is_verified_where_argo_cd_delivers_it(site: Site, argo: ArgoCD) -> None:
    releases = ByArgo(site)
    production = releases.follow(argo, automated={})
    done = releases.promote()
    assert (done["changed"], done["verified"], done.get("failed")) == (True, True, None), done.get("msg", done)
    assert releases.image("production").endswith(":2")
    assert text(site.live(production), "status", "sync", "revision") == done["commit"]
    again = releases.promote()
    assert (again["changed"], again.get("failed")) == (False, None), again


def test_one_that_nobody_syncs_is_synced_to_the_commit(site: Site, argo: ArgoCD) -> None:
    releases = ByArgo(site)
    production = releases.follow(argo)
    done = releases.promote()
    assert done["verified"], done.get("msg", done)
    operation = mapping(site.live(production), "status", "operationState")
    assert text(operation, "operation", "initiatedBy", "username") == "stagecraft.gitops"
    assert text(operation, "syncResult", "revision") == done["commit"]


def test_a_bad_release_is_rolled_back(site: Site, argo: ArgoCD) -> None:
    releases = ByArgo(site)
    releases.follow(argo, automated={})
    assert releases.promote()["verified"]
    releases.push("staging", "missing")
    done = releases.promote(gates={"source_healthy": "off"})
    assert (done["failed"], done["verified"], done["rolled_back"]) == (True, False, True), done.get("msg", done)
    assert "where it is well" in done["msg"]
    assert releases.image("production").endswith(":2")


def test_a_source_that_is_not_healthy_is_refused(site: Site, argo: ArgoCD) -> None:
    releases = ByArgo(site)
    releases.follow(argo, automated={})
    releases.wait(f"{site.name}-staging", releases.push("staging", "missing"), 5.0)
    said = releases.promote()["msg"]
    assert "source_healthy" in said
    assert f"Application {NAMESPACE}/{site.name}-staging: it is Progressing" in said


def test_an_environment_without_an_application_is_told(site: Site, argo: ArgoCD) -> None:
    assert argo
    releases = ByArgo(site)
    done = releases.promote(gates={"source_healthy": "off"})
    assert "no Application follows the branch main of" in done["msg"]
