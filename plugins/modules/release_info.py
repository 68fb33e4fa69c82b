#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.release_info, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_info
short_description: Tell what runs where, since when, who put it there, and whether it is well
version_added: 0.1.0
description:
  - Reads it all from the GitOps repository (versions, commits, notes, holds) and from the clusters that are named. Nothing is kept beside them.
  - Gives data, a table of text, and one HTML page that needs nothing else and can be left open on a second screen.
author:
  - The stagecraft.gitops contributors (@stagecraft)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
  - stagecraft.gitops.release
attributes:
  check_mode:
    support: full
    details: The page is not written.
  diff_mode:
    support: N/A
    details: Nothing is changed.
  idempotent:
    support: full
options:
  environment:
    description: The environments to tell of. Without it all.
    type: list
    elements: str
    default: []
  component:
    description: The components to tell of. Without it all.
    type: list
    elements: str
    default: []
  versions:
    description: How many earlier versions of each to tell of.
    type: int
    default: 0
  html:
    description: Where to write the page.
    type: path
  title:
    description: The title of the page.
    type: str
    default: Releases
  refresh:
    description: After how many seconds a browser reads the page again. V(0) for never.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Look
  stagecraft.gitops.release_info:
    repository: {url: "ssh://git@git.example.com/infra.git"}
    clusters:
      production: {context: production}
    html: ~/releases.html
  register: found

- name: Show
  ansible.builtin.debug:
    msg: "{{ found.table.splitlines() }}"
"""

RETURN = r"""
releases:
  description:
    - Each component in each environment. C(behind) is how many versions of the environment before are newer, null where that never had this one.
    - C(verified) and C(healthy) are null where nobody knows.
    - C(ran_out) says which hold has run out and left a marker of image automation hidden. Lift it with M(stagecraft.gitops.release_hold).
  returned: always
  type: list
  elements: dict
  sample:
    - environment: production
      component: podinfo
      version: 6.6.0
      selectors: {"images[ghcr.io/x/podinfo]": "6.6.0@sha256:bb"}
      since: "2026-11-21T12:00:00Z"
      by: ada (laptop, ansible-core 2.21.0)
      action: promote
      commit: 9d2f6b1c0e3a4958b7c6d5e4f3a2b1c0d9e8f7a6
      verified: true
      healthy: true
      trouble: []
      held: ""
      behind: 0
      behind_of: staging
      versions: []
      ran_out: ""
table:
  description: The same as a table of text.
  returned: always
  type: str
  sample: "environment  component  version ..."
"""
