# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What registries and pods know of images: the digest behind a tag, and whether an old one can still be pulled."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.catalogue import ImageReference
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.errors import ArtifactError, MissingArtifact
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.registry import Registry
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.artifacts.transport import Policy, Transport
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import live, model
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.plan import Change
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.state import State

_POLICY = Policy(attempts=1, connect_timeout=3.0, read_timeout=5.0)


def gone(changes: Iterable[Change], registry: Registry | None = None) -> tuple[list[str], list[str]]:
    """Say which images of a plan their registries have no more, and which registries do not tell."""
    registry = registry or Registry(Transport(_POLICY))
    missing, silent = [], {}
    for image in dict.fromkeys(live.image(one.selector, one.after) for one in changes):
        if image is None or not (image.digest or image.tag):
            continue
        name = f"{image.name}:{image.tag}" if image.tag else f"{image.name}@{image.digest[:19]}"
        host = image.registry
        if host in silent:
            continue
        try:
            registry.digest(ImageReference.parse(f"{image.name}:{image.tag or image.digest[7:]}"), image.digest)
        except MissingArtifact:
            missing.append(f"{name}: its registry has it no more")
        except ArtifactError as error:
            silent[host] = f"whether {name} can still be pulled is not known: {error}"
    return missing, list(silent.values())


class Resolver:
    """Finds digests ahead of a plan and answers from memory while one is made.

    `truth` says whether running pods that disagree with Git are a problem (``running``) or not (``git``). With `pin`
    false nothing is looked up, without `ask_registry` no registry is asked. `problems` tells where the sources disagree,
    `unknown` which images no digest was found for.
    """

    def __init__(self, truth: Literal["git", "running"], *, pin: bool, ask_registry: bool) -> None:
        self._truth, self._pin, self._ask_registry = truth, pin, ask_registry
        self._cluster: live.Cluster | None = None
        self._known: dict[tuple[str, str], str | None] = {}
        self._registry = Registry(Transport(_POLICY))
        self._silent: set[str] = set()
        self.problems: list[str] = []
        self.unknown: list[str] = []

    def __call__(self, image: str, tag: str) -> str | None:
        """Return the digest of an image at a tag, as far as it was found."""
        return self._known.get((live.full_name(image), tag))

    def prepare(self, states: Iterable[State], cluster: live.Cluster | None) -> None:
        """Find the digests of all images of the source that need one. Asks its cluster and registries."""
        self._cluster = cluster
        if not self._pin:
            return
        for state in states:
            for image in live.images(state.occurrences):
                if (image.name, image.tag) in self._known:
                    continue
                running = self._running(image, state)
                if image.digest:
                    self._compare(image, running)
                    continue
                found = running[0] if len(running) == 1 else None
                if len(running) > 1:
                    self.problems.append(
                        f"{image.name}:{image.tag} runs in {state.environment.name} with {len(running)} digests"
                        f" ({', '.join(one[:19] for one in running)}): the tag was moved. Wait for the rollout, or pin a digest"
                    )
                    continue
                found = found or self._ask(image)
                self._known[image.name, image.tag] = found
                if found is None:
                    self.unknown.append(f"{image.name}:{image.tag}")

    def facts(self, image: live.Image, archs: Collection[str]) -> Mapping[str, int] | None:
        """Return for which architectures an image is there, with its bytes for `archs`; None where nobody knows.

        A registry that has not answered once is not asked again: it may take seconds each time.
        """
        host = image.registry
        if not self._ask_registry or host in self._silent or not (image.tag or image.digest):
            return None
        try:
            reference = ImageReference.parse(f"{image.name}:{image.tag or image.digest[7:]}")
            return self._registry.platforms(reference, archs, image.digest)
        except MissingArtifact:
            return None
        except ArtifactError:
            self._silent.add(host)
            return None

    def _running(self, image: live.Image, state: State) -> list[str]:
        if self._cluster is None:
            return []
        try:
            found = self._cluster.running([image.name], model.namespaces(state.environment, state.component))
        except KubeError:
            return []
        return live.running_digests(found, image)

    def _compare(self, image: live.Image, running: list[str]) -> None:
        other = [one for one in running if one != image.digest]
        if other and self._truth == "running":
            self.problems.append(
                f"{image.name}{':' if image.tag else ''}{image.tag}: Git says {image.digest[:19]}, and what runs is"
                f" {other[0][:19]}. Let the source follow Git first"
            )

    def _ask(self, image: live.Image) -> str | None:
        if not self._ask_registry or image.registry in self._silent:
            return None
        try:
            return self._registry.digest(ImageReference.parse(f"{image.name}:{image.tag}"))
        except MissingArtifact:
            return None
        except ArtifactError:
            self._silent.add(image.registry)
            return None
