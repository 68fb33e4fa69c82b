# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be done about a Minikube profile, decided on the controller from what the machine says.

Private to stagecraft.gitops: names and shapes may change in any release.
"""
