# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The digest behind a tag: what the source's pods run, then what the registry says, else nobody knows."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import ImageReference
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import DownloadFailed, MissingArtifact
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import live
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.digests import Resolver, gone
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.cluster import digest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.gate import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.model import Component, Environment
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.plan import Change
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.selectors import occurrences
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.state import State

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
NAME = "127.0.0.1:1/x/app"  # nobody answers there


class Cluster:
    """A cluster whose pods run some digests, or that does not answer."""

    def __init__(self, *running: str, broken: bool = False) -> None:
        self._running, self._broken = running, broken

    def running(self, names: list[str], namespaces: tuple[str, ...]) -> list[live.Container]:
        if self._broken:
            raise ApiError("nobody answers")
        return [
            live.Container(f"apps/{n}", live.Image(names[0], "1"), one, True, 0, "")
            for n, one in enumerate(self._running)
        ]


def resolver(
    cluster: Any, own: str = "", truth: Literal["git", "running"] = "git", *, pin: bool = True, tag: str = "1"
) -> Resolver:
    text = f"images:\n- name: {NAME}\n" + (f"  newTag: '{tag}'\n" if tag else "")
    text += f"  digest: {own}\n" if own else ""
    found = tuple(occurrences("kustomization.yaml", text.encode()))
    made = Resolver(truth, pin=pin, ask_registry=True)
    made.prepare([State(Environment("staging", ""), Component("app"), "", found, {})], cluster)
    return made


def test_what_runs_is_pinned() -> None:
    assert resolver(Cluster(A, A))(NAME, "1") == A
    assert resolver(Cluster(A))(NAME, "2") is None


def test_a_tag_that_was_moved_is_refused() -> None:
    made = resolver(Cluster(A, B))
    assert made(NAME, "1") is None
    verdict = digest(made, {})
    assert (verdict.ok, verdict.mild) == (False, False)
    assert "runs in staging with 2 digests" in verdict.detail


@pytest.mark.parametrize("cluster", [None, Cluster(), Cluster(broken=True)])
def test_without_pods_and_with_a_registry_that_is_down_nobody_knows(cluster: Any) -> None:
    made = resolver(cluster)
    assert made(NAME, "1") is None
    verdict = digest(made, {})
    assert (verdict.ok, verdict.mild) == (None, True)
    assert f"no digest is known of {NAME}:1" in verdict.detail
    assert digest(made, {"required": True}) == Verdict(False, f"no digest is known of {NAME}:1")


def test_git_is_believed_unless_what_runs_is_to_count() -> None:
    assert digest(resolver(Cluster(B), own=A), {}).ok
    verdict = digest(resolver(Cluster(B), own=A, truth="running"), {})
    assert verdict.ok is False
    assert f"Git says {A[:19]}, and what runs is {B[:19]}" in verdict.detail


def test_an_image_that_goes_by_its_digest_alone_is_held_against_what_runs() -> None:
    assert digest(resolver(Cluster(A), own=A, truth="running", tag=""), {}).ok
    verdict = digest(resolver(Cluster(B), own=A, truth="running", tag=""), {})
    assert verdict.detail.startswith(f"{NAME}: Git says {A[:19]}, and what runs is {B[:19]}")


def test_nothing_is_looked_up_where_nothing_is_to_be_pinned() -> None:
    made = resolver(Cluster(A), pin=False)
    assert (made(NAME, "1"), made.unknown) == (None, [])


class Registry:
    """Registries of which one has lost an image and one does not answer."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def digest(self, image: ImageReference, name: str = "") -> str:
        self.asked.append((f"{image.registry}/{image.repository}", name or image.tag))
        if image.registry == "silent.example":
            raise DownloadFailed("nobody answers")
        if image.repository == "x/lost":
            raise MissingArtifact("no such image")
        return A

    def platforms(self, image: ImageReference, _archs: Any, name: str = "") -> dict[str, int]:
        self.digest(image, name)
        return {"amd64": 7}


def test_platforms_are_asked_for_and_a_registry_that_is_silent_once_only() -> None:
    made, registry = Resolver("git", pin=True, ask_registry=True), Registry()
    made._registry = registry  # type: ignore[assignment]
    silent = live.Image("silent.example/x/a", "1")
    assert made.facts(live.Image("ghcr.io/x/app", "", A), ["amd64"]) == {"amd64": 7}
    assert made.facts(live.Image("ghcr.io/x/lost", "1"), ["amd64"]) is None
    assert [made.facts(silent, ["amd64"]), made.facts(silent, ["amd64"])] == [None, None]
    assert registry.asked == [("ghcr.io/x/app", A), ("ghcr.io/x/lost", "1"), ("silent.example/x/a", "1")]
    assert Resolver("git", pin=True, ask_registry=False).facts(silent, ["amd64"]) is None


def change(name: str, tag: str, digest: str = "") -> Change:
    version = (("newTag", tag), *((("digest", digest),) if digest else ()))
    return Change("app", "production", "k.yaml", f"images[{name}]", (("newTag", "9"),), version)


def test_what_a_rollback_needs_is_asked_for() -> None:
    registry = Registry()
    changes = [
        change("ghcr.io/x/app", "1", A),
        change("ghcr.io/x/lost", "1"),
        change("silent.example/x/a", "1"),
        change("silent.example/x/b", "1"),
        Change("app", "production", "r.yaml", "HelmRelease/x chart", (("version", "2"),), (("version", "1"),)),
    ]
    missing, silent = gone(changes, registry)  # type: ignore[arg-type]
    assert missing == ["ghcr.io/x/lost:1: its registry has it no more"]
    assert silent == ["whether silent.example/x/a:1 can still be pulled is not known: nobody answers"]
    assert registry.asked == [("ghcr.io/x/app", A), ("ghcr.io/x/lost", "1"), ("silent.example/x/a", "1")]
