#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: minikube_plan
short_description: Decide what a Minikube profile needs
version_added: 0.1.0
description:
  - Takes what M(stagecraft.gitops.minikube_info) has seen and what is declared, and says what is to be done. Changes nothing.
  - Fails, with all reasons at once, where a profile that exists is not as declared and Minikube could not change it (driver, version,
    container runtime, port, processors, memory, disk). Each difference is named. With O(recreate) the plan is to delete it and to make it anew.
  - Runs on the controller.
author: [The stagecraft.gitops contributors (@stagecraft)]
options:
  environment:
    description: The environment of the inventory.
    type: str
    required: true
  observed:
    description: The result of M(stagecraft.gitops.minikube_info).
    type: dict
    required: true
  profile:
    description: The name of the profile.
    type: str
    required: true
  state:
    description: Whether it is to run.
    type: str
    choices: [started, stopped]
    default: started
  driver:
    description: The driver that is declared.
    type: str
    required: true
  version:
    description: The Kubernetes version that is declared.
    type: str
    required: true
  runtime:
    description: The container runtime that is declared.
    type: str
    required: true
  cpus:
    description: The processors of the node, for drivers that make one.
    type: int
    required: true
  memory_mb:
    description: The memory of the node in MiB, for drivers that make one.
    type: int
    required: true
  disk_mb:
    description: The disk of the node in MiB, for drivers that make a virtual machine.
    type: int
    required: true
  port:
    description: The port of the API server.
    type: int
    required: true
  addons:
    description: The addons that are to be enabled; all others are not.
    type: list
    elements: str
    default: []
  names:
    description: The names of the cluster in C(/etc/hosts).
    type: list
    elements: str
    default: []
  settings:
    description: A digest of the settings that a start applies to a profile that exists.
    type: str
    default: ""
  recreate:
    description: The name of the profile, if it may be deleted and made anew.
    type: str
    default: ""
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode: {support: full, description: Changes nothing in either mode.}
  diff_mode: {support: none, description: There is nothing to show.}
  idempotent: {support: full, description: Changes nothing.}
"""

EXAMPLES = r"""
- name: Plan the profile
  stagecraft.gitops.minikube_plan:
    environment: local
    observed: "{{ observed }}"
    profile: minikube
    driver: none
    version: "1.36.3"
    runtime: containerd
    cpus: 2
    memory_mb: 4096
    disk_mb: 20000
    port: 8443
  register: plan
"""

RETURN = r"""
steps:
  description: What is to be done, out of C(delete), C(start), C(stop), C(addons) and C(names).
  type: list
  elements: str
  returned: success
  sample: [start]
drift:
  description: What differs from the profile that exists, where that may be deleted.
  type: list
  elements: str
  returned: success
"""
