#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.sealed_secrets_key, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sealed_secrets_key
short_description: Own the sealing keys of an environment
version_added: 0.1.0
description:
  - Makes the key that an environment's secrets are sealed for, backs it up, and brings it into the cluster, before the controller starts or to one that
    runs. A cluster that was made anew gets its keys back from the backup. Keys that a controller made itself are backed up, with O(adopt).
  - A key is used only after the backup with it has been written, read back, decrypted and compared. The backup is encrypted by age to two recipients at
    least.
  - Where backup and cluster disagree about a key, it is as little trusted as either says. A key that was marked as compromised is never loaded again.
  - A run that is killed anywhere leaves both places readable, and the next one finishes.
  - The controller reads keys only when it starts. RV(loaded) changes with the keys that it has to load; put it into an annotation of its pods, as the
    role P(stagecraft.gitops.sealed_secrets#role) does, and it is started again when it has to be.
author:
  - The stagecraft.gitops contributors (@stagecraft)
requirements:
  - cryptography >= 45 (on the controller)
  - pyrage >= 1.2 (on the controller)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
  - stagecraft.gitops.api_access
attributes:
  check_mode:
    support: full
    details: No key is made, so a key that would be has no fingerprint yet. A cluster that does not answer has no keys.
  diff_mode:
    support: full
    details: The steps with fingerprints, and the recipients where they change.
  idempotent:
    support: full
options:
  state:
    description:
      - V(present) sees to it that there is a key to seal with, that every key of the cluster is in the backup, and every active key of the backup in
        the cluster.
      - V(retired) and V(compromised) mark O(fingerprints); the controller does not load such keys any more. They stay in the backup.
      - V(verified) changes nothing and fails unless the backup has every key of the cluster, and is encrypted to O(recipients) where they are given.
    type: str
    choices: [present, retired, compromised, verified]
    default: present
  environment:
    description: The environment. Without it C(stagecraft_environment) is taken. A cluster or a backup with keys of another one is refused.
    type: str
  namespace:
    description: The controller's namespace. It has to be there.
    type: str
    default: kube-system
  backup:
    description: The backup, a file on the controller. It is written anew when a key is added or marked, and when O(recipients) change.
    type: path
    required: true
  recipients:
    description:
      - Who can open the backup, as age recipients (C(age1...)) or SSH public keys. Two at least; keep the identity of one off this machine.
      - They are noted inside the backup, since age does not tell them. Where others are wanted, or none are noted, the backup is encrypted anew. Who was
        removed can still open older copies and may have kept the keys; O(replace) the key then.
    type: list
    elements: str
    default: []
  identity_files:
    description: Files with age identities (or an SSH private key without passphrase) that open the backup. One of the recipients' must be among them.
    type: list
    elements: path
    required: true
  fingerprints:
    description: The keys that O(state=retired) and O(state=compromised) are about.
    type: list
    elements: str
    default: []
  replace:
    description: The fingerprint of a key that is to be the current one no longer. Where another one is that already, nothing is made.
    type: str
    default: ""
  max_age:
    description: The age of the current key, in days, from which on a new one is made.
    type: float
  adopt:
    description:
      - Whether keys that a controller made by itself are taken for this environment's. Nothing in them tells whose they are.
      - It is not needed where the cluster also has a key of this environment, or the backup has one of the cluster's.
    type: bool
    default: false
  size:
    description: Bits of a new key.
    type: int
    choices: [2048, 3072, 4096]
    default: 4096
  lifetime:
    description: Days until the certificate of a new key expires.
    type: int
    default: 3650
"""

EXAMPLES = r"""
- name: Have a sealing key, in the backup and in the cluster
  stagecraft.gitops.sealed_secrets_key:
    environment: staging
    backup: ~/keys/staging.age
    recipients:
      - age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq
      - age1xyf0n5vj0zpl5q3yqnt4k9sxyuhx3k7vkd2g2zf9dzhmnqqrp0vsv4m0pd
    identity_files: [~/.config/age/identity.txt]
  register: sealing_key

- name: Do not load a key any more
  stagecraft.gitops.sealed_secrets_key:
    environment: staging
    state: compromised
    fingerprints: ["SHA256:DtFDesvRc65GJHs0Fmi2FHTbxPI7NJBCxVxGW96tDq4"]
    backup: ~/keys/staging.age
    recipients: "{{ recipients }}"
    identity_files: [~/.config/age/identity.txt]
"""

RETURN = r"""
fingerprint:
  description: The fingerprint of the key that is sealed with; empty where check mode would make one.
  returned: success
  type: str
  sample: SHA256:DtFDesvRc65GJHs0Fmi2FHTbxPI7NJBCxVxGW96tDq4
certificate:
  description: Its certificate, in PEM form. It is public.
  returned: success
  type: str
loaded:
  description: A digest that changes with the set of keys which the controller has to load.
  returned: success
  type: str
  sample: 6b86b273ff34fce1
sealing_keys:
  description: All keys, without their private halves.
  returned: success
  type: list
  elements: dict
  sample:
    - fingerprint: SHA256:DtFDesvRc65GJHs0Fmi2FHTbxPI7NJBCxVxGW96tDq4
      state: active
      secret: sealed-secrets-key-3f1c0a9b7d
      not_before: "2026-05-01T12:00:00+00:00"
      not_after: "2036-04-28T12:00:00+00:00"
      in_cluster: true
steps:
  description: What was done, or would be, in this order.
  returned: success
  type: list
  elements: str
  sample: ["generate SHA256:DtFDesvRc65GJHs0Fmi2FHTbxPI7NJBCxVxGW96tDq4"]
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 2.1
"""
