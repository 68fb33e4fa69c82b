#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_node
short_description: Empty a node of a K3s cluster, give it back, wait for it, or make the cluster forget it
version_added: 0.1.0
description:
  - Runs on a server that stays.
  - With O(state=drained) the node takes no new pods and its pods move elsewhere; where that fails, a node that was cordoned by this is given back.
  - With O(state=schedulable) a node that was cordoned by this module takes pods again; one that somebody else cordoned stays as it is.
  - With O(state=ready) it waits until the node is Ready in O(version), its member of etcd voting where it has one.
  - With O(state=absent) the node, its member of etcd and its password are removed, so that a new host may take its name.
author: [The stagecraft.gitops contributors (@stagecraft)]
options:
  name:
    description: The node's name.
    type: str
    required: true
  state:
    description: What is wanted of it.
    type: str
    choices: [drained, schedulable, ready, absent]
    required: true
  version:
    description: The version of K3s to wait for, with O(state=ready).
    type: str
  timeout:
    description: Seconds that the pods may take to move, or the node to be ready.
    type: int
    default: 120
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode: {support: full, description: Says whether it would change anything.}
  diff_mode: {support: none, description: There is no text to compare.}
  idempotent: {support: full, description: Does nothing where the node is as wanted.}
"""

EXAMPLES = r"""
- name: Empty the node before its K3s is replaced
  stagecraft.gitops.k3s_node:
    name: a1
    state: drained
  delegate_to: s1
"""

RETURN = r"""
cordoned:
  description: Whether this module cordoned the node, so that O(state=schedulable) will undo it.
  type: bool
  returned: with O(state=drained)
removed:
  description: What was removed from the cluster.
  type: list
  elements: str
  returned: with O(state=absent)
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s import node
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.host import Host, NodeError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["drained", "schedulable", "ready", "absent"], "required": True},
            "version": {"type": "str"},
            "timeout": {"type": "int", "default": 120},
        },
        required_if=[("state", "ready", ["version"])],
        supports_check_mode=True,
    )
    try:
        module.exit_json(**_carry_out(Host(), module.params, module.check_mode))
    except NodeError as error:
        module.fail_json(msg=str(error))


def _carry_out(host: Host, params: dict[str, Any], check: bool) -> dict[str, Any]:
    name, state = params["name"], params["state"]
    if state == "ready":
        if not check:
            node.wait(host, name, params["version"], params["timeout"])
        return {"changed": False}
    if check:
        try:
            found = node.read(host, name)
        except NodeError:
            # no server answers, and one would have been started by now; whether the node was cordoned is not known
            return {"changed": state != "schedulable"}
        return {"changed": found is not None and (state != "schedulable" or node.is_marked(found))}
    if state == "drained":
        return {"changed": True, "cordoned": node.drain(host, name, params["timeout"])}
    if state == "schedulable":
        return {"changed": node.uncordon(host, name)}
    removed = node.forget(host, name)
    return {"changed": bool(removed), "removed": removed}


if __name__ == "__main__":
    main()
