#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.sealed_secret_reseal, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sealed_secret_reseal
short_description: Seal for a newer key, or for another environment, what is sealed already
version_added: 0.1.0
description:
  - Opens the SealedSecrets of a repository with the keys of a backup and seals each item that needs it for O(certificate). Nothing else in the files
    is touched, not even white space or comments, and what is sealed for that key already stays.
  - With O(source), what another environment has is sealed for O(environment) and put below O(path). There too, ciphertexts that hold the same value
    stay, as long as O(backup) or O(mac_key) tells so.
  - The controller's own endpoint for this (C(kubeseal --re-encrypt)) needs the cluster, seals everything anew, and loses labels and annotations.
  - To seal anew is not to change a secret. What was sealed for a key that got lost must be changed where it is used.
author:
  - The stagecraft.gitops contributors (@stagecraft)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
  - stagecraft.gitops.sealing.files
  - stagecraft.gitops.sealing.certificate
  - stagecraft.gitops.sealing.backup
attributes:
  check_mode:
    support: full
    details: The same plan that decides in a real run.
  diff_mode:
    support: full
    details: Names of items, and what becomes of them and why.
  idempotent:
    support: full
options:
  path:
    description:
      - Files, and folders with files, in the repository. One that is not there is passed over where another has files.
      - With O(source) it is one.
    type: list
    elements: str
    required: true
  source:
    description: Another environment to take the sealed secrets from.
    type: dict
    suboptions:
      environment:
        description: Its name.
        type: str
        required: true
      path:
        description: The file or folder in the repository.
        type: str
        required: true
      backup:
        description: Its backup of sealing keys.
        type: path
        required: true
      identity_files:
        description: Files with age identities that open it.
        type: list
        elements: path
        required: true
"""

EXAMPLES = r"""
- name: Seal everything of staging for its newest key
  stagecraft.gitops.sealed_secret_reseal:
    environment: staging
    path: clusters/staging
    certificate: "{{ sealing_key.certificate }}"
    certificate_path: clusters/staging/sealed-secrets.crt
    backup: ~/keys/staging.age
    identity_files: [~/.config/age/identity.txt]
    mac_key: "{{ vault_seal_mac_key }}"
    repository: {url: ssh://git@git.example.com/infra.git}

- name: Give production what staging has
  stagecraft.gitops.sealed_secret_reseal:
    environment: production
    path: clusters/production/secrets
    certificate_path: clusters/production/sealed-secrets.crt
    mac_key: "{{ vault_seal_mac_key }}"
    source:
      environment: staging
      path: clusters/staging/secrets
      backup: ~/keys/staging.age
      identity_files: [~/.config/age/identity.txt]
    directory: ~/infra
"""

RETURN = r"""
commit:
  description: The branch's commit; empty with O(directory).
  returned: success
  type: str
  sample: 1f0c5bd5b6d1f6a7c2f0a4f0d7f3a5ad4b2a9c11
files:
  description: Files that were written, or would be.
  returned: success
  type: list
  elements: str
  sample: [clusters/staging/secrets/db.yaml]
added:
  description: Items that the target did not have.
  returned: success
  type: list
  elements: str
  sample: []
resealed:
  description: Items that were sealed anew.
  returned: success
  type: list
  elements: str
  sample: [clusters/staging/secrets/db.yaml shop/db password]
unchanged:
  description: How many items stayed as they were.
  returned: success
  type: int
  sample: 12
fingerprint:
  description: The fingerprint of the certificate.
  returned: success
  type: str
  sample: SHA256:DtFDesvRc65GJHs0Fmi2FHTbxPI7NJBCxVxGW96tDq4
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 0.3
"""
