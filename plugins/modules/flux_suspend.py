#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.flux_suspend, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: flux_suspend
short_description: Suspend or resume objects of Flux
version_added: 0.1.0
description:
  - Sets C(spec.suspend). A suspended object is left as it is until it is resumed, also when new commits arrive.
  - On suspending, sources come last; on resuming, first.
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
    support: full
  idempotent:
    support: full
options:
  objects:
    description: What to suspend or resume, as V(KIND/NAME) or V(KIND/NAMESPACE/NAME).
    type: list
    elements: str
  all:
    description: Take all Kustomizations and HelmReleases of the cluster.
    type: bool
    default: false
  state:
    description: What is wanted.
    type: str
    choices: [suspended, resumed]
    required: true
  namespace:
    description: The namespace of what is named without one.
    type: str
    default: flux-system
"""

EXAMPLES = r"""
- name: Keep the applications as they are during the work on the database
  stagecraft.gitops.flux_suspend:
    objects: [Kustomization/apps]
    state: suspended
"""

RETURN = r"""
objects:
  description: What was changed, or would be.
  returned: success
  type: list
  elements: str
  sample: [Kustomization flux-system/apps]
"""
