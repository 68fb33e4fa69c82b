#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_plan
short_description: Decide what each host of a kubeadm cluster needs
version_added: 0.1.0
description:
  - Takes what M(stagecraft.gitops.kubeadm_info) has seen on every host and says who initializes, who joins, who is cleaned first and whose
    configuration changed. Changes nothing.
  - Fails, with all reasons at once, where going on could hurt, such as a second cluster beside one that is only not reached.
  - Runs on the controller. Use it with C(run_once).
author: [The stagecraft.gitops contributors (@stagecraft)]
options:
  environment:
    description: The environment of the inventory.
    type: str
    required: true
  kubernetes_version:
    description: The version that is declared, without C(v).
    type: str
    required: true
  settings_digest:
    description: The digest of the configuration that is declared.
    type: str
    required: true
  encryption_at_rest:
    description: Whether Secrets are to be encrypted in etcd. It can be switched on later, and not off.
    type: bool
    required: true
  control_planes:
    description: Inventory names of the control planes, in inventory order.
    type: list
    elements: str
    required: true
  workers:
    description: Inventory names of the workers.
    type: list
    elements: str
    default: []
  observed_in:
    description: The name of the variable in which each host holds the result of M(stagecraft.gitops.kubeadm_info).
    type: str
    required: true
  node_name_in:
    description: The name of the variable in which a host may hold the name of its node; otherwise it is the inventory name.
    type: str
    required: true
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode: {support: full, description: Changes nothing in either mode.}
  diff_mode: {support: none, description: There is nothing to show.}
  idempotent: {support: full, description: Changes nothing.}
"""

EXAMPLES = r"""
- name: Plan the cluster
  stagecraft.gitops.kubeadm_plan:
    environment: production
    kubernetes_version: 1.36.3
    settings_digest: 0d9c1b
    encryption_at_rest: true
    control_planes: "{{ groups['control_plane'] }}"
    observed_in: kubeadm__observed
    node_name_in: kubeadm_node_name
  run_once: true
  register: plan
"""

RETURN = r"""
primary:
  description: The control plane that initializes, or that newcomers join through.
  type: str
  returned: success
nodes:
  description: The node's name of every host.
  type: dict
  returned: success
  sample: {cp1.example.com: cp1}
steps:
  description: The steps of each host that has work, out of C(clean), C(initialize), C(join) and C(converge).
  type: dict
  returned: success
  sample: {cp1: [initialize], worker1: [join]}
newcomers:
  description: Node names of the control planes that join.
  type: list
  elements: str
  returned: success
unmanaged:
  description: Nodes of the cluster that the inventory does not name.
  type: list
  elements: str
  returned: success
"""
