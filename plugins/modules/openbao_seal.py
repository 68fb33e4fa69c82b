#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.openbao_seal, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: openbao_seal
short_description: Refuse a seal that OpenBao or HashiCorp Vault was not moved to
version_added: 0.1.0
description:
  - A server that is restarted with a seal of another type stays sealed until its keys come by C(bao operator unseal -migrate), or does not start.
    This is to be asked before the server's configuration is changed. It fails, and says how to move the server by hand, where O(escrow) says that
    the server is unsealed in another way than by O(type).
  - A server that serves requests with the seal O(type) was moved to it by hand. That is noted in the escrow, which is encrypted, read back and opened
    as by M(stagecraft.gitops.openbao_init); the keys stay, as recovery keys or as those that unseal it.
  - Without an escrow, or with one of a server that was not initialised yet, any seal will do. The server is asked only where the escrow has another seal.
  - Other settings of the same seal, such as another key, are not compared.
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
    description: The file that M(stagecraft.gitops.openbao_init) wrote, or will write.
    type: path
    required: true
  recipients:
    description: Who can open the escrow, as for M(stagecraft.gitops.openbao_init).
    type: list
    elements: str
    required: true
  identity_files:
    description: Files with age identities (or an SSH private key without passphrase) that open the escrow.
    type: list
    elements: path
    required: true
  type:
    description: What the server is to be unsealed by, V(shamir) or the type of a seal in the server's words.
    type: str
    required: true
  timeout:
    description: Seconds for the server's answer.
    type: float
    default: 60.0
"""

EXAMPLES = r"""
- name: Make sure that the server can be restarted with this seal
  stagecraft.gitops.openbao_seal:
    url: https://bao.staging.example.com:8200
    ca_file: ~/pki/staging-ca.crt
    environment: staging
    escrow: ~/keys/staging-openbao.age
    recipients: "{{ recipients }}"
    identity_files: [~/.config/age/identity.txt]
    type: static
"""

RETURN = r"""
seal:
  description: V(shamir), or what the server unseals itself by, as the escrow says now; empty where there is none.
  returned: success
  type: str
  sample: static
"""
