# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an environment says of itself: the namespaces of its pods, and what has to hold after a release."""

from __future__ import annotations

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import model, verify
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.live import Image, containers
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.model import Component, Environment

from tests.unit.release.test_live import pod

HTTP = {"url": "https://shop.example.com"}


@pytest.mark.parametrize(
    ("environment", "component", "wanted"),
    [
        ((), (), ()),
        ((), ("shop",), ("shop",)),
        (("shop-staging",), (), ("shop-staging",)),
        (("shop-staging",), ("shop-staging", "shop-production"), ("shop-staging",)),
        (("shop-staging",), ("shop",), ("shop-staging",)),
    ],
)
def test_the_namespaces_of_an_environment_narrow_those_of_a_component(
    environment: tuple[str, ...], component: tuple[str, ...], wanted: tuple[str, ...]
) -> None:
    found = model.namespaces(
        Environment("staging", "x", namespaces=environment), Component("shop", namespaces=component)
    )
    assert found == wanted


def test_environments_of_one_cluster_do_not_see_each_others_pods() -> None:
    pods = []
    for namespace, tag in (("shop-staging", "2"), ("shop-production", "1")):
        one = pod(f"ghcr.io/x/app:{tag}")
        one["metadata"]["namespace"] = namespace
        pods.append(one)
    settings = model.load(
        b"environments:\n- {name: staging, namespaces: [shop-staging]}\n- {name: production, namespaces: shop-production}\n"
    )
    for name, tag in (("staging", "2"), ("production", "1")):
        where = model.namespaces(settings.environment(name, ()), Component("shop"))
        assert [one.wanted for one in containers(pods, {"ghcr.io/x/app"}, where)] == [Image("ghcr.io/x/app", tag)]


def test_who_delivers_an_environment() -> None:
    text = b"environments:\n- {name: a}\n- {name: b, gitops: argocd}\n- {name: c, gitops: argocd, source: Application/argocd/c}\n"
    found = [model.load(text).environment(name, ()) for name in "abc"]
    assert [one.gitops for one in found] == ["flux", "argocd", "argocd"]
    assert [one.source for one in found] == ["GitRepository/flux-system", "", "Application/argocd/c"]
    assert [model.application(one) for one in found[1:]] == [None, ("argocd", "c")]


def test_what_has_to_hold_is_an_environments_and_a_runs() -> None:
    own = {"settle": 30, "timeout": 900, "http": [HTTP], "command": ["true"], "on_failure": "keep"}
    run = verify.Options(settle=2, http=({"url": "https://other"},))
    found = verify.combined(run, {"settle", "http"}, own)
    assert (found.settle, found.timeout, found.on_failure, found.command) == (2, 900, "keep", ("true",))
    assert [one["url"] for one in found.http] == ["https://shop.example.com", "https://other"]
    assert verify.combined(run, {"settle"}, {}) == run


def test_what_is_wrong_with_it_is_told_at_once() -> None:
    text = b"""\
environments:
- {name: staging, verify: {htp: [], timeout: soon, on_failure: pray}}
- {name: production, order: last, verify: {http: [shop.example.com], command: curl}}
- {name: other, verify: {promql: [{url: "http://p"}], http: [{url: "http://a", count: many, status: [ok]}]}}
- {name: another, verify: {promql: [{url: "http://p", query: up, max: low}]}}
- {name: argo, gitops: argo}
- {name: shop, gitops: argocd, source: GitRepository/flux-system}
"""
    with pytest.raises(ReleaseError) as told:
        model.load(text)
    for said in (
        "environment staging: verify: there is no 'htp'; write http",
        "environment staging: verify: timeout: wanted seconds, found 'soon'",
        "environment staging: verify: on_failure: wanted rollback or keep, found 'pray'",
        "environment production: verify: http: wanted a list of dicts with url",
        "environment production: verify: command: wanted a list",
        "environment production: order: wanted a whole number, found 'last'",
        "environment other: verify: promql: wanted a list of dicts with url and query",
        "environment other: verify: http: count of http://a: wanted a number, found 'many'",
        "environment other: verify: http: status of http://a: wanted a number, found ['ok']",
        "environment another: verify: promql: max of http://p: wanted a number, found 'low'",
        "environment argo: gitops: wanted flux or argocd, found argo",
        "environment shop: source: wanted Application/[NAMESPACE/]NAME, found GitRepository/flux-system",
    ):
        assert said in str(told.value)
