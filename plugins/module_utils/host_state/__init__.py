# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host state engine: the one way in which roles change a host.

Four steps, a module each: ``observe`` reads, ``plan`` (pure) compares with the declaration of ``spec``,
``apply`` carries the plan out in an order that survives being killed, ``verify`` looks again.
Private to the collection.
"""
