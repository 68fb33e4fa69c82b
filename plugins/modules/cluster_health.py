#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.cluster_health, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_health
short_description: Wait until a cluster is healthy, or say what is not
version_added: 0.1.0
description:
  - Asks the API server whether it is ready, whether the given nodes are there, Ready and at the given version, and
    whether the DaemonSets, Deployments, StatefulSets and pods of the given namespaces are up to date and available.
  - Looks again, at short intervals over one open connection, until everything holds or O(timeout) is over. Then it
    fails, with one line for each thing that does not hold.
  - In check mode it looks once and never fails, so that a cluster that does not exist yet can be planned.
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
  nodes:
    description:
      - The names of the nodes that must be Ready, without memory, disk or process pressure.
    type: list
    elements: str
    default: []
  control_plane:
    description:
      - The names of the nodes whose static pods (etcd, kube-apiserver, kube-controller-manager, kube-scheduler) must be
        ready. For clusters made by kubeadm.
    type: list
    elements: str
    default: []
  version:
    description:
      - The Kubernetes version that the API server and the kubelets of O(nodes) must run, such as V(1.36.3).
    type: str
  namespaces:
    description:
      - The namespaces in which every DaemonSet, Deployment, StatefulSet and pod must be ready.
      - One that is not in the cluster does not hold, and neither does one in which nothing runs, but for C(kube-system).
    type: list
    elements: str
    default: [kube-system]
  workloads:
    description:
      - Workloads that must exist and be ready, as V(KIND/NAMESPACE/NAME) with the kind C(DaemonSet), C(Deployment) or
        C(StatefulSet).
    type: list
    elements: str
    default: []
  timeout:
    description:
      - For how many seconds to wait. V(0) looks once.
    type: float
    default: 300
"""

EXAMPLES = r"""
- name: Wait until all nodes run the new version and DNS answers
  stagecraft.gitops.cluster_health:
    nodes: "{{ groups['control_plane'] + groups['workers'] }}"
    control_plane: "{{ groups['control_plane'] }}"
    version: "1.36.3"
    workloads:
      - DaemonSet/kube-system/kube-proxy
      - Deployment/kube-system/coredns
  run_once: true

- name: Look once, through SSH
  stagecraft.gitops.cluster_health:
    timeout: 0
    api_access: ssh
  run_once: true
"""

RETURN = r"""
healthy:
  description: Whether everything holds.
  returned: always
  type: bool
  sample: true
problems:
  description: What does not hold, one sentence each.
  returned: always
  type: list
  elements: str
  sample:
    - "node worker1: not Ready: KubeletNotReady: container runtime network not ready"
version:
  description: The version of the API server.
  returned: always
  type: str
  sample: v1.36.3
nodes:
  description: All nodes of the cluster by name.
  returned: always
  type: dict
  contains:
    ready:
      description: Whether the node is Ready, without pressure, and at O(version).
      type: bool
      returned: always
    problem:
      description: Why it is not; empty when it is.
      type: str
      returned: always
    version:
      description: The version of its kubelet.
      type: str
      returned: always
    unschedulable:
      description: Whether it is cordoned.
      type: bool
      returned: always
  sample:
    cp1:
      ready: true
      problem: ""
      version: v1.36.3
      unschedulable: false
seconds:
  description: How long it took.
  returned: always
  type: float
  sample: 0.042
"""
