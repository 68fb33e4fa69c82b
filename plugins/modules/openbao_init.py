#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.openbao_init, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: openbao_init
short_description: Initialise OpenBao or HashiCorp Vault so that its keys cannot get lost
version_added: 0.1.0
description:
  - A server tells its keys and its root token once. Before it is asked, O(escrow) is written, read back and opened, so that there is a place for the
    answer; then it is asked; then the answer is written, read back, opened and compared; and only then the server is unsealed, with the keys as they
    stand in the escrow.
  - The escrow is encrypted by age to two recipients at least. Keys and token are in no result, message, log or other file.
  - Where the answer cannot be written after all, it is put, encrypted, into another file (beside the escrow, in the home directory, or where temporary
    files are), and the message says where. Where none of these can be written either, the encrypted text stands in the message, with what to do with it.
  - A server that is initialised while the escrow does not hold its keys is an error that says what happened and what to do.
  - A server that unseals itself (by a static key, or another server) gets recovery keys, which stand in the escrow in the same way.
author:
  - The stagecraft.gitops contributors (@stagecraft)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
  - stagecraft.gitops.openbao
  - stagecraft.gitops.openbao.server
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
    details: All that changes is secret.
  idempotent:
    support: full
options:
  escrow:
    description: The file on the controller that the keys are put into. Keep a copy of it elsewhere.
    type: path
    required: true
  recipients:
    description:
      - Who can open the escrow, as age recipients (C(age1...)) or SSH public keys. Two at least; keep the identity of one off this machine.
      - They are noted inside the escrow, which is encrypted anew when others are wanted or none are noted. Who was removed can still open older copies
        and may have kept the keys.
    type: list
    elements: str
    required: true
  identity_files:
    description: Files with age identities (or an SSH private key without passphrase) that open the escrow. One of the recipients' must be among them.
    type: list
    elements: path
    required: true
  shares:
    description: How many keys there are to be.
    type: int
    default: 3
  threshold:
    description: How many of them unseal the server, or make recovery possible.
    type: int
    default: 2
  timeout:
    description: Seconds for each answer, and until the server serves requests.
    type: float
    default: 60.0
"""

EXAMPLES = r"""
- name: Initialise the server of staging
  stagecraft.gitops.openbao_init:
    url: https://bao.staging.example.com:8200
    ca_file: ~/pki/staging-ca.crt
    environment: staging
    escrow: ~/keys/staging-openbao.age
    recipients: "{{ recipients }}"
    identity_files: [~/.config/age/identity.txt]
"""

RETURN = r"""
steps:
  description: What was done, or would be.
  returned: success
  type: list
  elements: str
  sample: [initialize, unseal]
initialized:
  description: Whether the server is initialised now.
  returned: success
  type: bool
sealed:
  description: Whether it is sealed now.
  returned: success
  type: bool
seal:
  description: V(shamir), or what it unseals itself by.
  returned: success
  type: str
  sample: shamir
version:
  description: The server's version.
  returned: success
  type: str
  sample: 2.7.2
cluster_id:
  description: What tells this server from every other; empty as long as it is sealed.
  returned: success
  type: str
"""
