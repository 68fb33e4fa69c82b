#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.sealed_secret, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sealed_secret
short_description: Seal Secrets into files of a repository
version_added: 0.1.0
description:
  - Writes SealedSecrets of C(bitnami.com/v1alpha1), each into a file of its own, without the program kubeseal and without a cluster. The ciphertexts
    are those of upstream, in both directions and with every scope.
  - The cipher is random, and yet a second run changes nothing. Where the private key is at hand (O(backup)) each ciphertext is opened and compared.
    Else a keyed MAC in an annotation tells that a ciphertext still holds its value. It binds the ciphertext too, so one that somebody else sealed and
    put in its place is sealed over. Nobody without O(mac_key) learns anything from it.
  - Only items that have to be are sealed anew, and those that are no longer declared go.
  - Many secrets in one call are one commit.
  - Values are in no result, diff, message or log of this module. Keep them out of others by taking them from a vault at the task itself, not by
    registering or printing them.
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
  secrets:
    description: The Secrets. All problems of all of them are told at once, before anything is written.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The Secret's name.
        type: str
        required: true
      namespace:
        description: Its namespace.
        type: str
        required: true
      path:
        description: Its file in the repository, which holds nothing else. Without it C(NAMESPACE/NAME.yaml) below O(folder).
        type: str
      state:
        description: V(absent) removes the file.
        type: str
        choices: [present, absent]
        default: present
      string_data:
        description: Items and their values, as text.
        type: dict
        default: {}
      data:
        description: Items and their values, as base64.
        type: dict
        default: {}
      scope:
        description: What the ciphertexts are bound to. V(strict) is namespace and name, V(namespace-wide) the namespace, V(cluster-wide) nothing.
        type: str
        choices: [strict, namespace-wide, cluster-wide]
        default: strict
      type:
        description: The Secret's type, such as V(kubernetes.io/dockerconfigjson).
        type: str
        default: ""
      labels:
        description: Labels of the Secret.
        type: dict
        default: {}
      annotations:
        description: Annotations of the Secret. Those in which kubectl keeps a whole object in clear are left out.
        type: dict
        default: {}
      template_data:
        description: Go templates that the controller renders with the items, by the name of the entry that they make. They stand in clear in Git.
        type: dict
        default: {}
      immutable:
        description: Whether the Secret must not be changed any more.
        type: bool
        default: false
      allow_empty:
        description: Accept a secret without items.
        type: bool
        default: false
  folder:
    description: Where in the repository the secrets without a path of their own stand.
    type: str
    default: secrets
  purge_items:
    description: Whether items go that are in the file and not declared.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Seal the database's password for staging, and commit it
  stagecraft.gitops.sealed_secret:
    environment: staging
    certificate_path: clusters/staging/sealed-secrets.crt
    mac_key: "{{ vault_seal_mac_key }}"
    repository: {url: ssh://git@git.example.com/infra.git}
    secrets:
      - name: db
        namespace: shop
        path: clusters/staging/secrets/db.yaml
        string_data:
          password: "{{ vault_staging_db_password }}"

- name: Seal a certificate into a clone, and compare by opening what is there
  stagecraft.gitops.sealed_secret:
    environment: staging
    certificate_path: clusters/staging/sealed-secrets.crt
    backup: ~/keys/staging.age
    identity_files: [~/.config/age/identity.txt]
    directory: ~/infra
    secrets:
      - name: tls
        namespace: shop
        path: clusters/staging/secrets/tls.yaml
        type: kubernetes.io/tls
        data:
          tls.crt: "{{ vault_tls_certificate | b64encode }}"
          tls.key: "{{ vault_tls_key | b64encode }}"
"""

RETURN = r"""
commit:
  description: The branch's commit; empty with O(directory).
  returned: success
  type: str
  sample: 1f0c5bd5b6d1f6a7c2f0a4f0d7f3a5ad4b2a9c11
files:
  description: Files that were written or removed, or would be.
  returned: success
  type: list
  elements: str
  sample: [clusters/staging/secrets/db.yaml]
added:
  description: Items that were not there, each with its file.
  returned: success
  type: list
  elements: str
  sample: [clusters/staging/secrets/db.yaml password]
resealed:
  description: Items that were sealed anew.
  returned: success
  type: list
  elements: str
  sample: []
removed:
  description: Items that went.
  returned: success
  type: list
  elements: str
  sample: []
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
  sample: 0.12
"""
