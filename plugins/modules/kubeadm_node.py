#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_node
short_description: Empty a node, or make the cluster forget it
version_added: 0.1.0
description:
  - Runs on a control plane that stays. With O(state=drained) the node takes no new pods and its pods move elsewhere; with O(state=absent)
    the node and its member of etcd, if it had one, are removed from the cluster.
author: [The stagecraft.gitops contributors (@stagecraft)]
options:
  name:
    description: The node's name.
    type: str
    required: true
  state:
    description: What is wanted of it.
    type: str
    choices: [drained, absent]
    required: true
  timeout:
    description: Seconds that the pods may take to move.
    type: int
    default: 120
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode: {support: full, description: Says whether there is such a node.}
  diff_mode: {support: none, description: There is no text to compare.}
  idempotent: {support: full, description: Does nothing where the cluster has no such node.}
"""

EXAMPLES = r"""
- name: Empty the node before its host goes
  stagecraft.gitops.kubeadm_node:
    name: worker-1
    state: drained
  delegate_to: cp1
"""

RETURN = r"""
removed:
  description: What was removed from the cluster.
  type: list
  elements: str
  returned: with O(state=absent)
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm import node
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.host import Host, KubeadmError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["drained", "absent"], "required": True},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    host = Host()
    name = module.params["name"]
    try:
        there = node.exists(host, name)
        if module.check_mode or not there:
            module.exit_json(changed=there, removed=[])
        if module.params["state"] == "drained":
            node.drain(host, name, module.params["timeout"])
            module.exit_json(changed=True)
        module.exit_json(changed=True, removed=node.forget_member(host, name))
    except KubeadmError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
