#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.release_hold, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_hold
short_description: Hold versions of components in an environment, or lift holds
version_added: 0.1.0
description:
  - A version that is held is not promoted to the environment, and a marker of Flux's image automation behind it is hidden. Any other version may still come.
  - Holds stand in C(gitops-holds.yaml) in the environment's directory. Promoting another version ends the hold.
author:
  - The stagecraft.gitops contributors (@stagecraft)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
  - stagecraft.gitops.release
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  environment:
    description: The environment.
    type: str
    required: true
  component:
    description: The components. With O(state=absent) and none all holds of the environment are lifted.
    type: list
    elements: str
    default: []
  state:
    description: Whether the hold is to be there.
    type: str
    choices: [present, absent]
    default: present
  version:
    description: The version to hold, as O(stagecraft.gitops.rollback#module:to) takes it. Without it the one that is there.
    type: str
    default: ""
  until:
    description:
      - From when on the version may be promoted again, such as V(2026-12-24T18:00:00Z).
      - A marker that was hidden stays so until another version is promoted or the hold is lifted; M(stagecraft.gitops.release_info) tells of it.
    type: str
    default: ""
  reason:
    description: Why, as the commit and later refusals tell it.
    type: str
    default: ""
  message:
    description: More text for the commit.
    type: str
    default: ""
  retries:
    description: How often to try where others push at the same time.
    type: int
    default: 25
"""

EXAMPLES = r"""
- name: Do not take this version
  stagecraft.gitops.release_hold:
    repository: {url: "ssh://git@git.example.com/infra.git"}
    environment: production
    component: podinfo
    version: 6.7.0
    reason: the migration takes hours

- name: Take it after all
  stagecraft.gitops.release_hold:
    repository: {url: "ssh://git@git.example.com/infra.git"}
    environment: production
    component: podinfo
    state: absent
"""

RETURN = r"""
changed:
  description: Whether a commit was made, or would be.
  returned: always
  type: bool
  sample: true
commit:
  description: The commit that was made.
  returned: always
  type: str
  sample: 9d2f6b1c0e3a4958b7c6d5e4f3a2b1c0d9e8f7a6
base:
  description: The commit that the plan was made on.
  returned: always
  type: str
  sample: 4be1c0de9a0b3d5f7c6e8a1b2c3d4e5f60718293
holds:
  description: The holds in force afterwards, a sentence each.
  returned: always
  type: list
  elements: str
  sample: ["podinfo is held in production since 2026-11-21 by ada: the migration takes hours (images[ghcr.io/x/podinfo] 6.7.0)"]
"""
