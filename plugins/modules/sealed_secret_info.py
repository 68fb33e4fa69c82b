#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.sealed_secret_info, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sealed_secret_info
short_description: Verify sealed secrets without a cluster
version_added: 0.1.0
description:
  - Reads every SealedSecret of a repository and, where O(backup) is given, opens each item with its keys. Values are dropped at once; the result has
    names, fingerprints and problems.
  - This is the restore drill. What opens here, from the backup alone, a cluster made anew can unseal.
  - Without O(backup) only the shape is verified. That an item was sealed for the right key cannot be told then, but for keys of another size.
  - A problem tells its cause where it can be found out. A scope that does not fit the annotations, a ciphertext that was changed, and a key that is not
    there are told apart.
author:
  - The stagecraft.gitops contributors (@stagecraft)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
  - stagecraft.gitops.sealing.files
  - stagecraft.gitops.sealing.backup
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
    details: Nothing is changed.
  idempotent:
    support: full
options:
  path:
    description: Files, and folders with files, in the repository. By default all of it. One that is not there has no items.
    type: list
    elements: str
    default: []
  environment:
    description: The environment whose sealed secrets these are. Without it C(stagecraft_environment) is taken.
    type: str
  certificate_path:
    description: The environment's certificate in the repository, which is verified too.
    type: str
  fingerprint:
    description: The fingerprint that the certificate must have.
    type: str
    default: ""
  only:
    description: Fingerprints of keys. An item that none of these opens is a problem, such as before the other keys are retired.
    type: list
    elements: str
    default: []
  at_least:
    description: How many items there must be, so that a drill that looks into the wrong folder does not pass.
    type: int
    default: 0
  fail:
    description: Whether a problem makes the task fail.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Unseal everything of staging from the backup alone
  stagecraft.gitops.sealed_secret_info:
    environment: staging
    path: clusters/staging
    certificate_path: clusters/staging/sealed-secrets.crt
    backup: ~/keys/staging.age
    identity_files: [/media/stick/identity.txt]
    at_least: 1
    repository: {url: ssh://git@git.example.com/infra.git}
"""

RETURN = r"""
secrets:
  description: Every SealedSecret.
  returned: always
  type: list
  elements: dict
  sample:
    - name: db
      namespace: shop
      path: clusters/staging/secrets/db.yaml
      scope: strict
      item_names: [password]
      fingerprints: ["SHA256:DtFDesvRc65GJHs0Fmi2FHTbxPI7NJBCxVxGW96tDq4"]
      problems: []
item_count:
  description: How many items they have.
  returned: always
  type: int
  sample: 12
opened:
  description: Whether the items were opened; false without O(backup).
  returned: always
  type: bool
opened_by:
  description: How many items each key opens, by its fingerprint.
  returned: always
  type: dict
  sample: {"SHA256:DtFDesvRc65GJHs0Fmi2FHTbxPI7NJBCxVxGW96tDq4": 12}
current:
  description: The fingerprint of the key that the environment seals with, as O(backup) has it.
  returned: always
  type: str
problems:
  description: Everything that is wrong.
  returned: always
  type: list
  elements: str
  sample: []
commit:
  description: The branch's commit that was looked at; empty with O(directory).
  returned: always
  type: str
seconds:
  description: How long it took.
  returned: always
  type: float
  sample: 0.8
"""
