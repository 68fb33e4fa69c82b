# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which artefacts are meant: single ones by name, or all that one environment needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import UnknownArtifact

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .catalogue import Catalogue, Entry
    from .source import Source
    from .transport import Transport

AUTO = "auto"
NONE = "none"


@dataclass(frozen=True)
class Selection:
    """What was asked for: `named` pairs of name and version (empty for the default), or an environment, or both.

    An option of the environment that is "auto" takes its default where the source holds what that needs, else "none".
    """

    architectures: tuple[str, ...]
    named: tuple[tuple[str, str], ...] = ()
    distribution: str = ""
    kubernetes_version: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def select(selection: Selection, catalogue: Catalogue, source: Source, transport: Transport) -> list[Entry]:
    """Resolve a selection. Raises UnknownArtifact with everything in it that the catalogue does not have."""
    problems: list[str] = []
    entries: dict[str, Entry] = {}
    for name, version in selection.named:
        for arch in selection.architectures:
            try:
                entry = catalogue.resolve(name, version or selection.versions.get(name), arch)
            except UnknownArtifact as error:
                problems.append(str(error))
            else:
                entries[entry.key] = entry
    if selection.distribution:
        try:
            found = _environment(selection, catalogue, source, transport)
        except UnknownArtifact as error:
            problems.append(str(error))
        else:
            entries.update((entry.key, entry) for entry in found)
    if problems:
        raise UnknownArtifact("; ".join(dict.fromkeys(problems)))
    return list(entries.values())


def _environment(selection: Selection, catalogue: Catalogue, source: Source, transport: Transport) -> list[Entry]:
    fixed = {option: value for option, value in selection.options.items() if value != AUTO}
    automatic = [option for option, value in selection.options.items() if value == AUTO]

    def entries(extra: Mapping[str, str]) -> list[Entry]:
        return catalogue.environment(
            selection.distribution,
            selection.kubernetes_version or None,
            selection.architectures,
            {**fixed, **extra},
            selection.versions,
        )

    held = source.lock(transport)
    for option in automatic:
        without = {entry.key for entry in entries({option: NONE})}
        default = catalogue.option_default(selection.distribution, option)
        more = [entry for entry in entries({option: default}) if entry.key not in without]
        at_hand = held is None or all(held.get(entry.path) is not None for entry in more)
        fixed[option] = default if at_hand else NONE
    return entries({})
