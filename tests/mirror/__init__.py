# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds the artefact mirror where the download sites cannot be reached.

The mirror has the layout that a download gives: upstream host names as top folders, and a lock file of checksums.
Run it as ``python3 -m tests.mirror build`` from the root of the checkout; ``README.md`` beside this file says the rest.
"""
