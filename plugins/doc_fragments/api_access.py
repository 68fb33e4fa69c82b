# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every module that talks to an API server from the controller."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragment `stagecraft.gitops.api_access`."""

    DOCUMENTATION = r"""
requirements:
  - urllib3 >= 2 (on the controller)
  - paramiko >= 4 (on the controller)
options:
  kubeconfig:
    description:
      - The kubeconfig file to take the server's address and the credentials from.
      - Without it the variable C(kubeconfig_path) is taken, and C(~/.kube/config) where that is not set.
    type: path
  context:
    description:
      - The context in O(kubeconfig).
      - Without it the variable C(kubeconfig_name) is taken, or C(stagecraft_environment), which is how the role
        P(stagecraft.gitops.kubeconfig#role) calls it, and without these the current context.
    type: str
  api_access:
    description:
      - How the API server is reached. V(direct) connects to the address in the kubeconfig.
      - V(ssh) goes through an SSH connection to a control plane, for servers that answer on no other port.
        Certificates are checked in the same way.
      - Without it the variable C(stagecraft_api_access) is taken, and V(direct) where that is not set.
    type: str
    choices: [direct, ssh]
  ssh_host:
    description:
      - With O(api_access=ssh), the inventory name of the host to go through. Its connection variables are used.
      - Without it, the first host of the group C(control_plane) that has not failed, or the task's own host where that
        group is empty.
    type: str
"""
