# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs where, since when, who put it there, and whether it is well: out of Git, its notes, and the clusters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.flux import kinds, readiness
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import KubeError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.objects import Object, listed, ref, text
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release import history, holds, live, model
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.cluster import mismatches
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.history import Entry
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.holds import Hold
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.model import Component, Environment
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.selectors import Version, semver, shown
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.state import Reader, State, Vector

if TYPE_CHECKING:
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.git.repository import Repository
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.operation import Place
    from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.run import Clusters


_FLUX_OBJECT = re.compile(r"(\w+)/(\S+) ")


@dataclass(frozen=True)
class Row:
    """A component in an environment. `since` is ISO 8601 in UTC; `behind` counts versions of the environment before.

    `verified` and `healthy` are None where nobody knows; `trouble` says what is not well. `ran_out` says which hold has run
    out and left a marker of image automation hidden: nothing brings that back by itself.
    """

    environment: str
    component: str
    version: str
    selectors: Mapping[str, str]
    since: str
    by: str
    action: str
    commit: str
    verified: bool | None
    healthy: bool | None
    trouble: tuple[str, ...]
    held: str
    behind: int | None
    behind_of: str
    versions: tuple[Mapping[str, str], ...] = ()
    ran_out: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the row as a module's result has it."""
        return {
            **{key: getattr(self, key) for key in self.__dataclass_fields__},
            "trouble": list(self.trouble),
            "selectors": dict(self.selectors),
            "versions": [dict(one) for one in self.versions],
        }


@dataclass(frozen=True)
class _Place:
    environment: Environment
    component: Component
    entries: tuple[Entry, ...]
    vector: Vector
    images: tuple[live.Image, ...]
    verified: bool | None
    held: str
    ran_out: str


def collect(
    place: Place,
    clusters: Clusters,
    environments: Sequence[str],
    components: Sequence[str],
    now: datetime,
    versions: int = 0,
) -> list[Row]:
    """Return a row for each component in each environment, in the order of a release. Raises GitError, ReleaseError."""
    with place.open() as repository:
        found = _places(repository, place, environments, components, now, versions)
    rows = []
    for one in found:
        healthy, trouble = _health(one, clusters)
        before = _before(one, found)
        rows.append(_row(one, before, healthy, trouble, versions))
    return rows


def _places(
    repository: Repository,
    place: Place,
    environments: Sequence[str],
    components: Sequence[str],
    now: datetime,
    versions: int,
) -> list[_Place]:
    branch = place.remote.branch
    tip = repository.fetch([branch])[branch]
    reader = Reader(repository)
    settings = model.load(reader.content(tip, model.SETTINGS_FILE), place.environments, place.components)
    known = reader.files(tip)
    names = list(environments) or list(settings.environments) or _discovered(known)
    if not names:
        raise ReleaseError("no environment is described, and there is none below clusters/.")
    chosen = sorted((settings.environment(name, known) for name in names), key=lambda one: one.order)
    others = [one.branch for one in chosen if one.branch and one.branch != branch]
    tips = {branch: tip, **(repository.fetch(others) if others else {})}
    notes = repository.notes()
    found = []
    for environment in chosen:
        base = tips[environment.branch or branch]
        path = holds.path_of(environment.path)
        held = holds.parse(reader.content(base, path), path)
        labels = components or list(settings.components) or reader.labels(base, environment)
        for name in labels:
            component = settings.component(name)
            state = reader.state(base, environment, component)
            if not state.vector:
                continue
            entries = history.versions(repository, reader, base, environment, component)
            # only what is shown: a merge has to be asked for what it brought
            for number, entry in enumerate(entries[: max(1, versions)]):
                text = history.said(repository, entry.commit, environment.name, [name])
                entries[number] = replace(entry, commit=replace(entry.commit, message=text))
            said = None
            for commit in entries[0].commits if entries else ():
                said = said or (history.verification(repository.note(commit)) if commit in notes else None)
            hold = holds.of(held, environment.name, name, now)
            found.append(
                _Place(
                    environment,
                    component,
                    tuple(entries),
                    state.vector,
                    tuple(live.images(state.occurrences)),
                    None if said is None else said["verified"],
                    str(hold) if hold else "",
                    _ran_out(held, state, now),
                )
            )
    return found


def _ran_out(held: Sequence[Hold], state: State, now: datetime) -> str:
    environment, component = state.environment.name, state.component.name
    over = holds.ran_out(held, environment, component, now)
    if over is None or not holds.unpark(state.occurrences, state.contents):
        return ""
    return (
        f"the hold on {component} in {environment} ran out at {over.until}, and its marker is still hidden from image automation:"
        f" promote another version, or playbooks/hold.yml -e environment={environment} -e component={component} -e state=absent"
    )


def _discovered(known: Mapping[str, Any]) -> list[str]:
    names = {path.split("/")[1] for path in known if path.startswith("clusters/") and path.count("/") > 1}
    order = {"local": 0, "dev": 0, "staging": 1, "production": 3}
    return sorted(names - {"base"}, key=lambda name: (order.get(name, 2), name))


def _health(one: _Place, clusters: Clusters) -> tuple[bool | None, tuple[str, ...]]:
    cluster = clusters.of(one.environment)
    named = _flux_objects(one.vector)
    if cluster is None or not (one.images or named):
        return None, ()
    where = model.namespaces(one.environment, one.component)
    trouble: list[str] = []
    try:
        if one.images:
            running = cluster.running([image.name for image in one.images], where)
            trouble += mismatches(one.images, running)
            if not running:
                trouble.append(f"no pod runs {', '.join(image.name for image in one.images)}")
        for (kind, name), version in named.items():
            trouble += flux_trouble(kind, name, version, cluster.flux(kind), where)
    except KubeError as error:
        return None, (str(error),)
    return not trouble, tuple(trouble)


def _flux_objects(vector: Vector) -> dict[tuple[str, str], str]:
    """Return the objects of Flux whose versions these are: kind and name, with the version where it is a chart's."""
    found = {}
    for selector, version in vector.items():
        said = _FLUX_OBJECT.match(selector)
        if said and said[1] in kinds.BY_NAME:
            found[said[1], said[2]] = dict(version).get("version", "") if said[1] == "HelmRelease" else ""
    return found


def flux_trouble(kind: str, name: str, version: str, items: Iterable[Object], namespaces: Sequence[str]) -> list[str]:
    """Say what is not well with the objects of Flux of a name; `version` is the chart's, "" for any. Pure.

    A HelmRelease that was put back says that it is ready, so the chart that is deployed is compared as well. Ranges of
    versions are not: what they mean is known to Flux alone.
    """
    found = [item for item in items if text(item, "metadata", "name") == name]
    # objects of Flux often stand in a namespace of their own, which an environment need not name
    own = [item for item in found if not namespaces or text(item, "metadata", "namespace") in namespaces] or found
    if not own:
        return [f"{kind} {name} is not in the cluster"]
    said = []
    for item in own:
        verdict = readiness.judge(item, readiness.Asked())
        if verdict.state != "ready":
            said.append(f"{ref(item)}: {verdict}")
            continue
        newest: Mapping[str, Any] = next(iter(listed(item, "status", "history")), {}) if kind == "HelmRelease" else {}
        runs = text(newest, "chartVersion")
        if runs and semver(version) is not None and runs.removeprefix("v") != version.removeprefix("v"):
            said.append(f"{ref(item)}: chart {runs} is deployed, Git says {version}")
    return said


def _before(one: _Place, found: Sequence[_Place]) -> _Place | None:
    """Return the same component in the environment before."""
    earlier = [
        other
        for other in found
        if other.component.name == one.component.name and other.environment.order < one.environment.order
    ]
    if not earlier and one.environment.order == 0:
        names = [other.environment.name for other in found if other.component.name == one.component.name]
        number = names.index(one.environment.name)
        earlier = [o for o in found if o.component.name == one.component.name and o.environment.name in names[:number]]
    return earlier[-1] if earlier else None


def behind(own: Vector, source: Sequence[Entry]) -> int | None:
    """Return how many versions of the source are newer than what is there; None where it never had this one."""
    for number, entry in enumerate(source):
        if all(_same(entry.vector[key], value) for key, value in own.items() if key in entry.vector):
            return number
    return None


def _same(one: Version, other: Version) -> bool:
    """Compare versions; a digest that only one of them names does not tell them apart."""
    first, second = dict(one), dict(other)
    return all(first[key] == second[key] for key in first.keys() & second.keys() if key != "newName")


def _row(one: _Place, before: _Place | None, healthy: bool | None, trouble: tuple[str, ...], versions: int) -> Row:
    newest = one.entries[0] if one.entries else None
    return Row(
        environment=one.environment.name,
        component=one.component.name,
        version=words(one.vector),
        selectors={key: shown(value) for key, value in one.vector.items()},
        since=_iso(newest.commit.time) if newest else "",
        by=newest.actor if newest else "",
        action=newest.action if newest else "",
        commit=newest.commit.id if newest else "",
        verified=one.verified,
        healthy=healthy,
        trouble=trouble,
        held=one.held,
        behind=None if before is None else behind(one.vector, before.entries),
        behind_of="" if before is None else before.environment.name,
        versions=tuple(
            {
                "version": words(entry.vector),
                "since": _iso(entry.commit.time),
                "by": entry.actor,
                "action": entry.action,
                "commit": entry.commit.id,
            }
            for entry in one.entries[:versions]
        ),
        ran_out=one.ran_out,
    )


def words(vector: Vector) -> str:
    """Return a vector in few words: tags without digests, each once."""
    tags = [
        shown(tuple(pair for pair in version if pair[0] not in ("digest", "newName")) or version)
        for version in vector.values()
    ]
    return ", ".join(dict.fromkeys(tags))


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat().replace("+00:00", "Z")


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table of text."""
    head = ("environment", "component", "version", "since", "by", "verified", "healthy", "behind", "held")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(head))]
    return (
        "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        )
        + "\n"
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.environment,
        row.component,
        row.version or "-",
        row.since or "-",
        row.by.partition(" (")[0].partition(" <")[0] or "-",
        answer(row.verified),
        answer(row.healthy),
        "-" if not row.behind_of else "?" if row.behind is None else str(row.behind),
        "held" if row.held else "ran out" if row.ran_out else "-",
    )


def answer(value: bool | None) -> str:
    """Return yes, no or a dash."""
    return "-" if value is None else "yes" if value else "NO"
