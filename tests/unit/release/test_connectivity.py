# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the target would serve what is promoted: its own DNS, classes of ingresses, gateways of routes."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Ref
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import verify
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates import policy
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.cluster import connectivity, inside
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.gate import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.render import Rendered

SLICES = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices"
CLASSES = "/apis/networking.k8s.io/v1/ingressclasses"
INGRESS = {"kind": "Ingress", "metadata": {"name": "shop", "namespace": "shop"}, "spec": {}}
ROUTE = {
    "kind": "HTTPRoute",
    "metadata": {"name": "shop", "namespace": "shop"},
    "spec": {"parentRefs": [{"name": "public"}, {"name": "shop", "kind": "Service", "group": ""}]},
}
DEFAULT = {"metadata": {"name": "nginx", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}}


class Session:
    """An API server that has these lists and objects."""

    def __init__(self, lists: Mapping[str, list[dict[str, Any]]], there: tuple[Ref, ...] = ()) -> None:
        self._lists, self._there = lists, there

    def get(self, _path: str) -> dict[str, str]:
        return {"major": "1"}

    def items(self, path: str, **_query: str) -> list[dict[str, Any]]:
        return self._lists.get(path, [])

    def object(self, named: Ref) -> dict[str, Any] | None:
        return {"kind": named.kind} if named in self._there else None


def ask(*objects: dict[str, Any], there: tuple[Ref, ...] = (), **lists: list[dict[str, Any]]) -> Verdict:
    session = Session({{"slices": SLICES, "classes": CLASSES}[name]: value for name, value in lists.items()}, there)
    rendered = Rendered({f"{one['kind']} shop/{n}": one for n, one in enumerate(objects)}, ())
    cluster: Any = SimpleNamespace(session=session)
    return connectivity(cluster, rendered, {})


@pytest.mark.parametrize(
    ("endpoints", "ok"),
    [
        ([{"conditions": {"ready": True}}], True),
        ([{"conditions": {"ready": False}}, {"conditions": {}}], True),
        ([{"conditions": {"ready": False}}], False),
        ([], False),
    ],
)
def test_dns_of_the_target(endpoints: list[dict[str, Any]], *, ok: bool) -> None:
    found = ask(slices=[{"endpoints": endpoints}])
    assert found.ok is ok
    assert ("no ready endpoint" in found.detail) is not ok


def test_a_dns_of_another_name_is_not_judged() -> None:
    assert ask() == Verdict(True, "")


@pytest.mark.parametrize(
    ("name", "classes", "said"),
    [
        ("", [DEFAULT], ""),
        ("nginx", [DEFAULT], ""),
        ("traefik", [DEFAULT], "the target has no IngressClass traefik; it has nginx"),
        ("traefik", [], "the target has no IngressClass traefik; it has none"),
        ("", [{"metadata": {"name": "nginx"}}], "names no class, and the target has no default IngressClass"),
        ("${CLASS}", [], ""),
    ],
)
def test_ingresses_need_a_class(name: str, classes: list[dict[str, Any]], said: str) -> None:
    one = {**INGRESS, "spec": {"ingressClassName": name}} if name else INGRESS
    found = ask(one, classes=classes)
    assert found.ok is not bool(said)
    assert said in found.detail


def test_routes_need_their_gateway() -> None:
    found = ask(ROUTE)
    assert found.detail == "HTTPRoute shop/0: there is no Gateway shop/public, neither in Git nor in the target"
    assert ask(ROUTE, {"kind": "Gateway", "metadata": {"name": "public", "namespace": "shop"}}).ok
    assert ask(ROUTE, there=(Ref("gateway.networking.k8s.io", "Gateway", "shop", "public"),)).ok


def script(*arguments: str) -> tuple[int, str]:
    """Run what the pod runs, with a name that is known and a port that answers nobody."""
    job = inside({"image": "x"}, [], [])
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    tools = "nslookup() { [ $1 = known.example ]; }; nc() { [ $4 = 443 ]; }; "
    text = tools + command[2].replace("/dev/termination-log", "/dev/stdout")
    done = subprocess.run(["sh", "-c", text, "sh", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_the_pod_tells_all_that_is_wrong() -> None:
    assert script("dns:known.example", "tcp:registry.example:443") == (0, "")
    assert script("dns:a.example", "dns:known.example", "tcp:registry.example:5000") == (
        1,
        "the name a.example is not known there; nothing answers there at registry.example:5000",
    )


def test_the_pod_asks_the_registries_of_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run_job(_cluster: Any, manifest: Mapping[str, Any], _seconds: float) -> tuple[list[str], list[str]]:
        asked.append(manifest["spec"]["template"]["spec"]["containers"][0]["command"][4:])
        return [], []

    monkeypatch.setattr(verify, "run_job", run_job)
    containers = [{"image": name} for name in ("ghcr.io/x/app:1", "busybox", "localhost:5000/y@sha256:z")]
    one = {"kind": "Pod", "spec": {"containers": containers}}
    cluster: Any = SimpleNamespace(session=Session({}))
    choices: tuple[dict[str, Any], ...] = ({}, {"registries": ["quay.io"]}, {"registries": []})
    for options in choices:
        found = connectivity(cluster, Rendered({"Pod a/b": one}), {"image": "busybox", **options}, carried_out=True)
        assert found == Verdict(True, "")
    assert asked == [["tcp:ghcr.io:443", "tcp:localhost:5000", "tcp:registry-1.docker.io:443"], ["tcp:quay.io:443"]]


def test_no_pod_runs_before_a_plan_is_carried_out() -> None:
    cluster: Any = SimpleNamespace(session=Session({}))
    options = {"image": "busybox", "registries": ["ghcr.io"]}
    found = connectivity(cluster, Rendered(), options)
    assert found == Verdict(True, "a pod of the target is asked when it is carried out")


def test_the_pod_meets_the_strictest_level_of_pod_security() -> None:
    job = {"kind": "Job", **inside({"image": "busybox", "namespace": "shop"}, ["a.example"], [("ghcr.io", 443)])}
    assert policy.judge(Rendered({"Job shop/connectivity": job}), {"pod_security": "restricted"}) == Verdict(True, "")
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[-2:] == ["dns:a.example", "tcp:ghcr.io:443"]
    assert job["metadata"]["namespace"] == "shop"
