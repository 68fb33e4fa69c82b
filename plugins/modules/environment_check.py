#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.environment_check, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: environment_check
short_description: Check the whole inventory before anything is changed
version_added: 0.1.0
description:
  - Looks at the groups C(control_plane) and C(workers) and at the variables of all their hosts, whatever C(--limit)
    says, and fails with everything that is wrong at once. Each message names the variable, host or group, what is
    there, the file and line where that is known, and what to do.
  - It asks no host, so it is meant as the first task of a play. What only a host can tell (its memory, its time, its
    ports) is checked by the role P(stagecraft.gitops.host#role).
  - Every name that begins with a role's prefix, or with C(stagecraft_), must be one that is read; a misspelt one is
    reported with the right one. Names with two underscores in a row are left to the roles themselves.
author:
  - The stagecraft.gitops contributors (@stagecraft)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
    details: Nothing is changed.
  idempotent:
    support: full
options:
  distribution:
    description:
      - The distribution that the play sets up. An inventory of another one is refused with the name of its playbook.
    type: str
    choices: [minikube, k3s, kubeadm]
"""

EXAMPLES = r"""
- name: Check the inventory before anything is changed
  hosts: all:localhost
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - name: Check the inventory
      stagecraft.gitops.environment_check:
        distribution: kubeadm
      run_once: true
"""

RETURN = r"""
problems:
  description:
    - Everything that was found, errors before warnings. The failure's message and the warnings say it in full.
  returned: always
  type: list
  elements: dict
  contains:
    rule:
      description: The name of the rule.
      type: str
      returned: always
    level:
      description: V(error) makes the task fail, V(warning) does not.
      type: str
      returned: always
    subject:
      description: The variable, host or group.
      type: str
      returned: always
    origin:
      description: The file and line where the value was written; empty where that is not known.
      type: str
      returned: always
  sample:
    - rule: control-plane-even
      level: error
      subject: group control_plane
      origin: ""
"""
