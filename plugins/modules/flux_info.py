#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.flux_info, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: flux_info
short_description: Tell what Flux has in a cluster, and what blocks it
version_added: 0.1.0
description:
  - Shows all objects of Flux with readiness and revision, who applied what, where an object comes from, what waits for what, what Flux
    told, and what keeps it from going on, in a sentence each.
author:
  - The stagecraft.gitops contributors (@stagecraft)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
  - stagecraft.gitops.api_access
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
    details: Nothing is changed.
  idempotent:
    support: full
options:
  gather:
    description:
      - What to show. V(all) lists the objects, V(tree) who applied what, V(graph) nodes and edges, V(events) what Flux told, V(trace) where
        O(object) comes from.
      - V(diagnosis) says what blocks reconciliation (a source that cannot be fetched, a dependency that is missing or part of a circle, a
        two Kustomizations with one object, a workload that does not become ready, a suspended object) and what makes it slow. What failed at its
        commit before and is being tried again counts as blocked.
    type: list
    elements: str
    choices: [all, tree, graph, events, trace, diagnosis]
    default: [all]
  object:
    description: One object, as V(KIND/NAME) or V(KIND/NAMESPACE/NAME); the root of the tree, what events are about, or what is traced.
    type: str
  api_version:
    description: The apiVersion of O(object) where it is none of Flux, such as V(apps/v1).
    type: str
  namespace:
    description: >-
      Show and diagnose only this namespace, and take it for O(object) where that names none. The V(tree) and the V(graph) go beyond namespaces, and
      are of all.
    type: str
"""

EXAMPLES = r"""
- name: Ask what blocks the cluster
  stagecraft.gitops.flux_info:
    gather: [diagnosis]
  register: flux

- name: Ask where a Deployment comes from
  stagecraft.gitops.flux_info:
    gather: [trace]
    object: Deployment/shop/web
    api_version: apps/v1
"""

RETURN = r"""
objects:
  description: All objects of Flux.
  returned: when V(all) is gathered
  type: list
  elements: dict
  sample:
    - object: Kustomization flux-system/apps
      kind: Kustomization
      namespace: flux-system
      name: apps
      ready: true
      suspended: false
      revision: main@sha1:4f9c6f2
      reason: ReconciliationSucceeded
      message: "Applied revision: main@sha1:4f9c6f2"
      since: "2026-01-01T00:00:00Z"
tree:
  description: Objects in order, each below the one that applied it; one that is not ready with its C(message).
  returned: when V(tree) is gathered
  type: list
  elements: dict
  sample: [{object: Kustomization flux-system/apps, depth: 0, ready: true}, {object: Deployment shop/web, depth: 1}]
graph:
  description: Nodes, edges, what is missing, and what goes in a circle. A dependency that an expression decides on has it as C(readyExpr).
  returned: when V(graph) is gathered
  type: dict
  sample: {nodes: [], edges: [], missing: [], cycles: []}
events:
  description: What Flux told, newest first.
  returned: when V(events) is gathered
  type: list
  elements: dict
  sample:
    - object: Kustomization flux-system/apps
      type: Normal
      reason: ReconciliationSucceeded
      message: done
      count: 1
      last: "2026-01-01T00:00:00Z"
      revision: ""
trace:
  description: The object, its owners, who applied it, and the source.
  returned: when V(trace) is gathered
  type: list
  elements: dict
  sample: [{object: Deployment shop/web, found: true}, {object: Kustomization flux-system/apps, ready: true}]
diagnosis:
  description: What is wrong, what blocks first.
  returned: when V(diagnosis) is gathered
  type: list
  elements: dict
  sample:
    - object: Kustomization flux-system/apps
      severity: blocked
      reason: Suspended
      sentence: "Kustomization flux-system/apps: Suspended: it is suspended at main@sha1:4f9c6f2. Resume it by flux_suspend."
causes:
  description: What the pods of workloads lack that Flux waits for.
  returned: when V(diagnosis) is gathered
  type: list
  elements: str
  sample: ["Deployment shop/web: InProgress: LessReplicas: 0 of 1 available (pod web-1: container web waits: ImagePullBackOff)"]
blocked:
  description: Whether something blocks.
  returned: when V(diagnosis) is gathered
  type: bool
  sample: true
"""
