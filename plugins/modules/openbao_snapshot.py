#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.openbao_snapshot, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: openbao_snapshot
short_description: Save a server of OpenBao or HashiCorp Vault encrypted, and drill its restore
version_added: 0.1.0
description:
  - V(saved) takes a snapshot of a server with raft storage, checks it by the checksums in it, and writes it encrypted by age. The file is read back, opened
    and compared before it takes the place of the old one. In clear the snapshot is on no disk.
  - V(drilled) brings a lost server back from the snapshot and the escrow alone. A server that is thrown away is started on this machine, on loopback, takes
    the snapshot, is opened with the escrow's keys (or O(seal)), and logged in to with the escrow's credential; then a secret is read that has to be there.
    Nothing of the real server is touched, and nothing of the other stays.
  - Keys, tokens and values are in no result, message, log, argument or file.
author:
  - The stagecraft.gitops contributors (@stagecraft)
requirements:
  - cryptography (on the controller)
  - Linux on the controller, for V(drilled)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
  - stagecraft.gitops.openbao
attributes:
  check_mode:
    support: full
    details: No snapshot is taken; the login is tried. A drill changes nothing, and is held in check mode, too.
  diff_mode:
    support: N/A
    details: All that changes is secret.
  idempotent:
    support: partial
    details: Each V(saved) is a new snapshot.
options:
  state:
    description: What is wanted.
    type: str
    choices: [saved, drilled]
    default: saved
  url:
    description: The server's address, for V(saved). Plain HTTP is refused but on this machine itself.
    type: str
  escrow:
    description: The file that M(stagecraft.gitops.openbao_init) wrote and M(stagecraft.gitops.openbao_config) completed.
    type: path
    required: true
  path:
    description: The file of the snapshot, on the controller.
    type: path
    required: true
  recipients:
    description: Who can open the snapshot, as age recipients or SSH public keys; for V(saved). Two at least.
    type: list
    elements: str
  identity_files:
    description: Files with age identities that open escrow and snapshot.
    type: list
    elements: path
    required: true
  program:
    description: The program C(bao) or C(vault) on the controller, for V(drilled). Of the server's version, or newer.
    type: path
  seal:
    description: What the server unseals itself by, for V(drilled). Not given where it takes keys. It is never written to a disk.
    type: dict
    suboptions:
      type:
        description: V(static), V(transit), or another that the program knows.
        type: str
        required: true
      settings:
        description: Its settings in the server's words.
        type: dict
        required: true
  canary:
    description: The secret that has to be in the snapshot.
    type: dict
    default: {}
    suboptions:
      mount:
        description: Its engine, KV of version 2.
        type: str
        default: kv
      path:
        description: Where it stands in the engine.
        type: str
        default: sys-canary
      data:
        description: Values that it has to hold. When not given, C(environment) with the name of the environment.
        type: dict
  timeout:
    description: Seconds for each answer, and each step of the drill.
    type: float
    default: 60.0
"""

EXAMPLES = r"""
- name: Save the server of staging
  stagecraft.gitops.openbao_snapshot:
    url: https://bao.staging.example.com:8200
    ca_file: ~/pki/staging-ca.crt
    environment: staging
    escrow: ~/keys/staging-openbao.age
    path: ~/backups/staging-openbao.snap.age
    recipients: "{{ recipients }}"
    identity_files: [~/.config/age/identity.txt]

- name: Make sure that it can be restored
  stagecraft.gitops.openbao_snapshot:
    state: drilled
    environment: staging
    escrow: ~/keys/staging-openbao.age
    path: ~/backups/staging-openbao.snap.age
    identity_files: [~/.config/age/identity.txt]
    program: /usr/local/bin/bao
    seal:
      type: static
      settings: {current_key_id: "1", current_key: "{{ vault_openbao_seal_key }}"}
"""

RETURN = r"""
path:
  description: The file of the snapshot.
  returned: success
  type: str
index:
  description: How many changes the server had seen when it was taken.
  returned: success, but not by V(saved) in check mode
  type: int
  sample: 412
size:
  description: Its bytes before it was encrypted.
  returned: success, but not by V(saved) in check mode
  type: int
  sample: 22718
cluster_id:
  description: What tells the restored server from others.
  returned: when O(state=drilled)
  type: str
mounts:
  description: The engines that the restored server has.
  returned: when O(state=drilled)
  type: list
  elements: str
  sample: [cubbyhole, identity, kv, sys]
canary_version:
  description: The version of the canary that was read.
  returned: when O(state=drilled)
  type: int
seconds:
  description: How long the drill took.
  returned: when O(state=drilled)
  type: float
"""
