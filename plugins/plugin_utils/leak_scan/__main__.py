# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line of the scan; `--help` tells the rest."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    # Called by its path: what lies beside this file is no top-level module, and the directory above ansible_collections
    # goes first, for a package of that name may be installed.
    above = [place.parent for place in Path(__file__).absolute().parents if place.name == "ansible_collections"]
    sys.path[:1] = [str(place) for place in above[:1]]

from ansible_collections.stagecraft.gitops.plugins.plugin_utils.leak_scan.command import main

if __name__ == "__main__":
    sys.exit(main())
