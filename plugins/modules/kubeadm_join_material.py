#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_join_material
short_description: Give newcomers what they need to join, and take it back
version_added: 0.1.0
description:
  - Runs on a control plane that is a member. With O(state=present) it makes a bootstrap token that lives for O(ttl) and returns it with
    the cluster's CA; for further control planes also the cluster's private keys. With O(state=absent) it removes the token.
  - Removes what lost control planes of the newcomers' names have left in etcd and in the API, so that a replaced host can join under its old name.
  - Its result holds secrets. Use it with C(no_log) and hand the result to M(stagecraft.gitops.kubeadm_join) at once.
author: [The stagecraft.gitops contributors (@stagecraft)]
options:
  state:
    description: Whether to make the material or to take the token back.
    type: str
    choices: [present, absent]
    default: present
  ttl:
    description: How long the token lives, as a Go duration.
    type: str
    default: 15m
  control_plane:
    description: Whether the keys for further control planes are wanted.
    type: bool
    default: false
  encryption_at_rest:
    description: Whether the key for encryption at rest belongs to them.
    type: bool
    default: false
  newcomers:
    description: Node names of the control planes that are about to join, as bare hosts.
    type: list
    elements: str
    default: []
  token_id:
    description: The first part of the token to remove.
    type: str
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode: {support: full, description: Makes nothing and returns nothing.}
  diff_mode: {support: none, description: The outcome is secret.}
  idempotent: {support: none, description: Every call with O(state=present) makes a token; it is called only when somebody joins.}
"""

EXAMPLES = r"""
- name: Make what the newcomers need
  stagecraft.gitops.kubeadm_join_material:
    control_plane: true
    encryption_at_rest: true
  no_log: true
  register: material

- name: Take the token back
  stagecraft.gitops.kubeadm_join_material:
    state: absent
    token_id: "{{ material.token_id }}"
"""

RETURN = r"""
token:
  description: The bootstrap token. Secret.
  type: str
  returned: with O(state=present), not in check mode
token_id:
  description: Its first part, which names it and is no secret.
  type: str
  returned: with O(state=present), not in check mode
ca_certificate:
  description: The cluster's CA in PEM.
  type: str
  returned: with O(state=present), not in check mode
files:
  description: The cluster's keys, as paths and contents in base64. Secret.
  type: list
  elements: dict
  returned: with O(control_plane=true), not in check mode
removed:
  description: What lost control planes had left.
  type: list
  elements: str
  returned: with O(state=present), not in check mode
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm import join, node
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.host import Host, KubeadmError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "ttl": {"type": "str", "default": "15m"},
            "control_plane": {"type": "bool", "default": False},
            "encryption_at_rest": {"type": "bool", "default": False},
            "newcomers": {"type": "list", "elements": "str", "default": []},
            "token_id": {"type": "str", "no_log": False},
        },
        required_if=[("state", "absent", ["token_id"])],
        supports_check_mode=True,
    )
    host = Host()
    if module.check_mode:
        module.exit_json(changed=True)
    try:
        if module.params["state"] == "absent":
            join.remove_token(host, module.params["token_id"])
            module.exit_json(changed=True)
        removed = [what for name in module.params["newcomers"] for what in node.forget_member(host, name)]
        token = join.mint_token(host, module.params["ttl"])
        authority = host.read_text("/etc/kubernetes/pki/ca.crt") or ""
        files = join.shared_files(host, module.params["encryption_at_rest"]) if module.params["control_plane"] else []
        module.exit_json(
            changed=True,
            token=token,
            token_id=token.split(".")[0],
            ca_certificate=authority,
            files=files,
            removed=removed,
        )
    except KubeadmError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
