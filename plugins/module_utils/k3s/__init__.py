# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on a host to make it a node of a K3s cluster.

Private to the collection. Standard library only, Python 3.9 and newer.

``observe`` reads, the other files each carry out one verb (``member``, ``node``, ``snapshot``, ``reset``) in an order
that survives being killed between any two steps. Files and units are the business of ``host_state``.
"""
