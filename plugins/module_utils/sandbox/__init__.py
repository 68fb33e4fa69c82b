# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Named hosts by systemd-nspawn on the local machine.

Private to the collection: no name in here is a public interface.

The same files run in two places: inside the module ``stagecraft.gitops.sandbox_hosts``, and, copied into the state
directory of a sandbox, as its long-running programs (``supervisor``, one per host, and ``repository``, one per
sandbox).
"""
