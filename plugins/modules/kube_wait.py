#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.kube_wait, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kube_wait
short_description: Wait until objects are as their manifests want them, or gone
version_added: 0.1.0
description:
  - Judges objects by the rules of kstatus, as Flux and other tools do, and says for each what it lacks, with the reason and the message of its controller and
    what its pods wait for.
  - Three rules are stricter than those of kstatus, because who waits for these waits for their end. A Job is current when it is complete, a pod that
    ended with an error has failed, and a SealedSecret is current when its controller has unsealed it.
  - Watches instead of asking again and again, and goes on through restarts of the API server. Returns when all objects hold, and fails as soon as one has
    failed for good (a Deployment over its deadline, a failed Job, a crashing pod, a CustomResourceDefinition whose names are taken, C(Stalled)).
author:
  - The stagecraft.gitops contributors (@stagecraft)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
  - stagecraft.gitops.api_access
attributes:
  check_mode:
    support: full
    details: Looks once, asks for nothing, and never fails, so that a cluster that does not exist yet can be planned.
  diff_mode:
    support: N/A
    details: Nothing is changed.
  idempotent:
    support: full
options:
  objects:
    description: What to wait for.
    type: list
    elements: dict
    required: true
    suboptions:
      api_version:
        description: Its apiVersion, such as V(apps/v1).
        type: str
        default: v1
      kind:
        description: Its kind.
        type: str
        required: true
      name:
        description: Its name.
        type: str
        required: true
      namespace:
        description: Its namespace. Leave it out for kinds that have none.
        type: str
  state:
    description: V(current) waits until the objects are there and ready, V(absent) until they are gone.
    type: str
    choices: [current, absent]
    default: current
  timeout:
    description: For how many seconds to wait. V(0) looks once.
    type: float
    default: 300
"""

EXAMPLES = r"""
- name: Wait for the web server and its volume
  stagecraft.gitops.kube_wait:
    context: production
    objects:
      - {api_version: apps/v1, kind: Deployment, namespace: shop, name: web}
      - {kind: PersistentVolumeClaim, namespace: shop, name: data}
    timeout: 120
"""

RETURN = r"""
ok:
  description: Whether all objects are as waited for.
  returned: always
  type: bool
  sample: true
objects:
  description: Each object with its status.
  returned: always
  type: list
  elements: dict
  sample:
    - object: Deployment shop/web
      status: InProgress
      reason: LessReplicas
      message: 0 of 1 available
      cause: "pod web-1: container web waits: ImagePullBackOff"
problems:
  description: What does not hold, one sentence each.
  returned: always
  type: list
  elements: str
  sample: []
seconds:
  description: How long it took.
  returned: always
  type: float
  sample: 0.04
"""
