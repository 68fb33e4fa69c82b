# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Artefacts: the catalogue of all that goes on a host, and the way each thing gets here verified.

Private to the collection: names and behaviour may change in any release.
"""
