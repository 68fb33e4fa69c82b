# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of the host state engine: which bytes the declared artefacts are, and how much room they take.

Private to the collection: names and behaviour may change in any release.
"""
