# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with an artefact, one class per thing that a caller may want to treat differently."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class ArtifactError(Exception):
    """Base of all errors of this package. The text says what was wanted, what was found, where, and what to do."""


class CatalogueError(ArtifactError):
    """The catalogue file is damaged; the text lists everything that is wrong with it."""


class UnknownArtifact(ArtifactError):
    """Nobody can resolve this name, version or architecture; the text names those that exist."""


class SourceError(ArtifactError):
    """The source as a whole cannot be used: no such directory, no lock file, not trusted."""


class MissingArtifact(ArtifactError):
    """The source is fine but does not hold this artefact."""


class DigestMismatch(ArtifactError):
    """Two statements about the same bytes differ, or the bytes differ from the statement; the text names both."""


class DigestUnknown(ArtifactError):
    """Nothing states the digest yet; it is known (and locked) once the artefact has been fetched."""


class DownloadFailed(ArtifactError):
    """The artefact could not be brought here."""


class LockError(ArtifactError):
    """A lock file is damaged or contradicts what has just been learnt."""


class FetchFailed(ArtifactError):
    """One or more artefacts could not be fetched; `errors` holds each reason, the text all of them."""

    def __init__(self, errors: Sequence[ArtifactError], wanted: int) -> None:
        self.errors = tuple(errors)
        lines = "\n".join(f"- {error}" for error in self.errors)
        super().__init__(f"{len(self.errors)} of {wanted} artefacts could not be fetched:\n{lines}")
