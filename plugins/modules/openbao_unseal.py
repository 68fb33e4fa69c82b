#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.openbao_unseal, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: openbao_unseal
short_description: Unseal OpenBao or HashiCorp Vault with the keys in escrow
version_added: 0.1.0
description:
  - Sends as many keys of O(escrow) as the server wants and waits until it serves requests. One that is not sealed is left alone.
  - Keys that somebody sent before and did not go on with are forgotten first, so that they do not make the attempt fail.
  - Keys are in no result, message or log, and in no argument of a program.
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
    details: All that is sent is secret.
  idempotent:
    support: full
options:
  escrow:
    description: The file that M(stagecraft.gitops.openbao_init) wrote.
    type: path
    required: true
  identity_files:
    description: Files with age identities (or an SSH private key without passphrase) that open the escrow.
    type: list
    elements: path
    required: true
  timeout:
    description: Seconds for each answer, and until the server serves requests.
    type: float
    default: 60.0
"""

EXAMPLES = r"""
- name: Unseal the server of staging after a restart
  stagecraft.gitops.openbao_unseal:
    url: https://bao.staging.example.com:8200
    ca_file: ~/pki/staging-ca.crt
    environment: staging
    escrow: ~/keys/staging-openbao.age
    identity_files: [~/.config/age/identity.txt]
"""

RETURN = r"""
steps:
  description: What was done, or would be. V(reset) forgets keys that somebody else sent.
  returned: success
  type: list
  elements: str
  sample: [unseal]
sealed:
  description: Whether the server is sealed now.
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
