# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes that every module documents."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragments `stagecraft.gitops.attributes` and `stagecraft.gitops.attributes.controller`."""

    # Each module adds `support` (and `details` where it is not full).
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and say what would change, without changing it.
  diff_mode:
    description: Returns what was changed, or would be, in diff mode. Secrets are never part of it.
  idempotent:
    description: A second run with the same options finds nothing to do.
  action_group:
    description: C(group/stagecraft.gitops.all) in C(module_defaults) sets options of all modules at once.
    support: full
    membership: [stagecraft.gitops.all]
"""

    CONTROLLER = r"""
options: {}
attributes:
  action:
    description: Runs on the controller; nothing is copied to the host.
    support: full
  platform:
    description: Platforms that it works for.
    support: full
    platforms: posix
"""
