# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a K3s cluster, and what K3s' own flags are.

Private to stagecraft.gitops: names and shapes may change in any release.
"""
