# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who would undo a rollback: what in the repository writes newer versions by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, text
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import holds
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.charts import documents

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.model import Environment, Settings
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.operation import Observation
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.state import Reader

_MOST = 20
_KINDS = {
    "ResourceSetInputProvider": "a ResourceSetInputProvider, which can bring a newer version back; suspend it, or narrow its filter",
    "ImageUpdateAutomation": "an ImageUpdateAutomation, which writes the newer version behind its marker; suspend it, or hold the version",
    "ImageUpdater": "an ImageUpdater of Argo CD, which can write the newer version back; narrow what it allows",
}
#: Texts in YAML, wherever in it they stand.
_SIGNS = {
    "argocd-image-updater.argoproj.io/image-list": "an annotation of Argo CD Image Updater, which can write the newer version back",
    "renovate: automerge": "a hint that lets Renovate merge by itself",
}
_HEALS = "an Argo CD Application that heals itself: it follows Git, so the rollback holds as long as Git does"
#: Where Renovate looks for its configuration, by its documentation; package.json is for programs.
_RENOVATE = frozenset(
    f"{directory}{name}"
    for directory in ("", ".github/", ".gitlab/")
    for name in ("renovate.json", "renovate.json5", ".renovaterc", ".renovaterc.json", ".renovaterc.json5")
)
#: As JSON and JSON5 have it, and the presets that mean it.
_AUTOMERGE = re.compile(
    rb"""["']?\bautomerge["']?\s*:\s*true\b|:automerge(?:All|Minor|Patch|Digest|StableNonMajor)\b"""
)


def named(reader: Reader, seen: Observation, *, markers_hidden: bool) -> list[str]:
    """Name what in the repository may bring a version of the environment back by itself, wherever it stands.

    What stands below the path of another environment is that one's. With `markers_hidden`, as a hold does it, Flux's image
    automation finds nothing that it may change.
    """
    everything = reader.files(seen.base)
    others = _others(seen.settings, seen.environment, everything)
    paths = [path for path in everything if not path.startswith(others) and not path.endswith(f"/{holds.FILE}")]
    manifests = [path for path in paths if path.endswith((".yaml", ".yml"))]
    found = [path for path in paths if path in _RENOVATE]
    contents = reader.contents(everything[path].blob for path in (*manifests, *found))
    own = f"{seen.environment.path}/" if seen.environment.path else ""
    said = []
    for path in manifests:
        content = contents[everything[path].blob]
        said += [f"{path} has {what}" for what in _writers(content, markers_hidden=markers_hidden)]
        if path.startswith(own) and b"selfHeal: true" in content:
            said.append(f"{path} has {_HEALS}")
    said += [
        f"{path} lets Renovate merge by itself, which can bring a newer version back"
        for path in found
        if _AUTOMERGE.search(contents[everything[path].blob])
    ]
    return sorted(dict.fromkeys(said))[:_MOST]


def _writers(content: bytes, *, markers_hidden: bool) -> Iterator[str]:
    for sign, what in _SIGNS.items():
        if sign.encode() in content:
            yield what
    kinds = [kind for kind in _KINDS if kind.encode() in content]
    for item in documents(content) if kinds else ():
        kind = text(item, "kind")
        if kind in kinds and not (kind == "ImageUpdateAutomation" and (markers_hidden or _is_suspended(item))):
            yield _KINDS[kind]


def _is_suspended(item: Object) -> bool:
    return text(item, "spec", "suspend") == "true"


def _others(settings: Settings, own: Environment, known: Iterable[str]) -> tuple[str, ...]:
    """Return the beginnings of the paths that belong to other environments."""
    if settings.environments:
        paths = {one.path for one in settings.environments.values()}
    else:
        within = (path.split("/") for path in known if path.startswith("clusters/") and path.count("/") > 1)
        # what stands there is for all of them
        paths = {"/".join(steps[:2]) for steps in within} - {"clusters/base"}
    return tuple(f"{path}/" for path in sorted(paths) if path and not f"{own.path}/".startswith(f"{path}/"))
