#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.flux_reconcile, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: flux_reconcile
short_description: Ask Flux to reconcile objects now, and wait until it has
version_added: 0.1.0
description:
  - Sends the request that C(flux reconcile) sends, and watches until Flux has handled it and the object is ready, or says why it is not.
  - Refuses what cannot be reconciled before anything is asked, all problems at once.
author:
  - The stagecraft.gitops contributors (@stagecraft)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
  - stagecraft.gitops.api_access
attributes:
  check_mode:
    support: full
    details: Says who would be asked.
  diff_mode:
    support: N/A
    details: A request is no change to what is wanted.
  idempotent:
    support: N/A
    details: Each call is a new request.
options:
  objects:
    description: What to reconcile, as V(KIND/NAME) or V(KIND/NAMESPACE/NAME).
    type: list
    elements: str
    required: true
  namespace:
    description: The namespace of what is named without one.
    type: str
    default: flux-system
  with_source:
    description: Whether to let the objects' sources look for something new first.
    type: bool
    default: false
  force:
    description: Let a HelmRelease upgrade once, even if nothing has changed.
    type: bool
    default: false
  reset:
    description: Let a HelmRelease that has used up its retries try again.
    type: bool
    default: false
  wait:
    description: Whether to wait for the result.
    type: bool
    default: true
  timeout:
    description: For how many seconds to wait for each step.
    type: float
    default: 300
"""

EXAMPLES = r"""
- name: Let the applications be reconciled from the newest commit
  stagecraft.gitops.flux_reconcile:
    objects: [Kustomization/apps]
    with_source: true
"""

RETURN = r"""
asked:
  description: Who was asked, or would be, in order.
  returned: success
  type: list
  elements: str
  sample: [GitRepository flux-system/flux-system, Kustomization flux-system/apps]
objects:
  description: Each object with what became of it.
  returned: success
  type: list
  elements: dict
  sample: [{object: Kustomization flux-system/apps, state: ready, reason: "", message: ""}]
"""
