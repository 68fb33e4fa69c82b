# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH to managed hosts from the controller, for what Ansible's own connection cannot do or does too slowly.

Private to the collection: names and behaviour may change in any release.
"""
