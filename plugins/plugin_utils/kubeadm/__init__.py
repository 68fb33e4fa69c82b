# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a kubeadm cluster as a whole needs, decided on the controller from what its hosts say.

Private to the collection. ``plan`` is pure: observations in, steps or problems out.
"""
