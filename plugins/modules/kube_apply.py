#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.kube_apply, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kube_apply
short_description: Bring objects of a cluster to their declared state
version_added: 0.1.0
description:
  - Applies many objects through one connection, by server-side apply under a field manager of its own.
  - The API server is asked first what an apply would make of each object (a dry run). Only an object for which that differs from what is there
    is applied. All objects that the server refuses are reported at once, before any is applied.
author:
  - The stagecraft.gitops contributors (@stagecraft)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
  - stagecraft.gitops.api_access
attributes:
  check_mode:
    support: full
    details: The same dry run that decides in a real run. Where no API server answers yet, everything counts as new.
  diff_mode:
    support: full
    details: The data of a Secret is not part of it.
  idempotent:
    support: full
options:
  manifests:
    description: YAML texts, each with one object or several.
    type: list
    elements: str
    required: true
  field_manager:
    description: The name under which the fields are owned.
    type: str
    default: stagecraft.gitops
  force:
    description: Take fields over that another manager owns. Without it such a conflict fails and names the manager and the field.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Apply the network's objects
  stagecraft.gitops.kube_apply:
    context: production
    manifests:
      - "{{ lookup('ansible.builtin.template', 'network.yaml.j2') }}"
"""

RETURN = r"""
objects:
  description: What was changed, or would be.
  type: list
  elements: dict
  returned: success
  sample: [{object: DaemonSet kube-system/kube-router, action: create}]
"""
