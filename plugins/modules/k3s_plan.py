#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_plan
short_description: Decide what each host of a K3s cluster needs
version_added: 0.1.0
description:
  - Takes what M(stagecraft.gitops.k3s_info) has seen on every host, and what M(stagecraft.gitops.host_state) predicts for it, and says who makes the
    cluster, who joins, who is upgraded or restarted, in which order, who is emptied first and what is saved before. Changes nothing.
  - Fails, with all reasons at once, where going on could hurt, such as an older version on a datastore that a newer one has written to.
  - Runs on the controller. Use it with C(run_once), first without O(predicted_in) for what the configuration files depend on (RV(servers),
    RV(datastore)), then with it for RV(steps).
author: [The stagecraft.gitops contributors (@stagecraft)]
options:
  environment:
    description: The environment of the inventory.
    type: str
    required: true
  version:
    description: The version of K3s that is declared.
    type: str
    required: true
  datastore:
    description: >-
      What servers keep their objects in. V(auto) is what a cluster has, and for a new one V(sqlite) with one server and V(etcd) with several.
    type: str
    choices: [auto, sqlite, etcd, external]
    default: auto
  port:
    description: The port that servers answer on.
    type: int
    default: 6443
  secrets_encryption:
    description: Whether Secrets are to be encrypted in the datastore.
    type: bool
    default: true
  drain:
    description: Whether a node is emptied before its version changes, where another one can take its pods.
    type: bool
    default: true
  batch:
    description: How many agents change their version at the same time.
    type: int
    default: 1
  snapshot:
    description: The snapshot to go back to, which allows an older version.
    type: str
    default: ""
  control_planes:
    description: Inventory names of the servers, in inventory order.
    type: list
    elements: str
    required: true
  workers:
    description: Inventory names of the agents.
    type: list
    elements: str
    default: []
  observed_in:
    description: The name of the variable in which each host holds the result of M(stagecraft.gitops.k3s_info).
    type: str
    required: true
  predicted_in:
    description: The name of the variable in which each host holds the result of M(stagecraft.gitops.host_state) in check mode.
    type: str
    default: ""
  node_name_in:
    description: The name of the variable in which a host may hold the name of its node; otherwise it is the inventory name.
    type: str
    required: true
  addresses:
    description: The address of every host, by its inventory name.
    type: dict
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
  stagecraft.gitops.k3s_plan:
    environment: staging
    version: v1.36.3+k3s1
    control_planes: "{{ groups['control_plane'] }}"
    workers: "{{ groups['workers'] }}"
    observed_in: k3s__observed
    predicted_in: k3s__predicted
    node_name_in: k3s_node_name
    addresses: {s1: 192.0.2.21, a1: 192.0.2.22}
  run_once: true
  register: plan
"""

RETURN = r"""
primary:
  description: The server that makes the cluster, or that newcomers join by.
  type: str
  returned: success
datastore:
  description: What servers keep their objects in.
  type: str
  returned: success
servers:
  description: The URL that every host joins by; empty for the one that makes the cluster.
  type: dict
  returned: success
  sample: {s1: "", a1: "https://192.0.2.21:6443"}
nodes:
  description: The node's name of every host.
  type: dict
  returned: success
steps:
  description: >-
    The steps of each host that has work, out of C(initialize), C(join), C(upgrade), C(restart), C(restore), C(clean), C(forget) and C(release).
  type: dict
  returned: success
  sample: {s1: [initialize], a1: [join]}
waves:
  description: The hosts that are worked on at the same time, in order.
  type: list
  elements: list
  returned: success
drains:
  description: Hosts that are emptied first.
  type: list
  elements: str
  returned: success
snapshot:
  description: The server whose datastore is saved before the first version changes; empty for none.
  type: str
  returned: success
unmanaged:
  description: Nodes of the cluster that the inventory does not name.
  type: list
  elements: str
  returned: success
"""
