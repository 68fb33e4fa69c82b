# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What processes and files show while something runs, kept until it is known what to look for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.integration.canary import Sampler


class Watch(Sampler):
    """Keeps the arguments of processes, and the files of directories that may live for a moment only."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self.arguments: set[bytes] = set()
        self.files: set[bytes] = set()
        super().__init__(
            lambda _process, words: self.arguments.add(words), lambda _path, data: self.files.add(data), directories
        )

    def __enter__(self) -> Watch:
        super().__enter__()
        return self
