# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on a machine to make it the home of a Minikube cluster.

Private to the collection. Standard library only, Python 3.9 and newer.

``observe`` reads, ``profile`` carries out the steps of a plan in an order that survives being killed between any two
of them. Minikube itself does the work: its own record of a profile is what counts, ours only says who made it.
"""
