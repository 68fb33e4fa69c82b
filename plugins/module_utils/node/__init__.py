# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that becomes a node, as every distribution's verbs see it: paths, programs, durable files, one run at a time.

Private to the collection. Standard library only, Python 3.9 and newer.
"""
