#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_host_key
short_description: Pin a host's SSH key, and refuse a changed one
version_added: 0.1.0
author:
  - The stagecraft.gitops contributors (@stagecraft-gitops)
description:
  - Reads the key that the host proves to own, without logging in, and compares it with the admin's known_hosts files.
  - A host that is not in them yet is pinned only if its key has one of O(fingerprints), or with O(trust_on_first_use).
  - A changed key fails the task, with both fingerprints and the line of the old one. It takes O(replace) and a
    fingerprint to accept it.
  - Address, port, known_hosts files, C(HostKeyAlias) and jump hosts are taken from the host's connection variables,
    from C(ansible_ssh_common_args) and from the admin's ssh_config.
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
requirements:
  - paramiko >= 4 (on the controller)
options:
  state:
    description:
      - V(present) to pin and check, V(absent) to forget the host's keys. Patterns, revocations and certificate
        authorities in the file are never removed.
    type: str
    choices: [present, absent]
    default: present
  fingerprints:
    description:
      - SHA256 fingerprints as C(ssh-keygen -lf) prints them on the host's console. When there are any, the host must
        show a key with one of them, also if another one is pinned.
    type: list
    elements: str
    default: []
    aliases: [fingerprint]
  trust_on_first_use:
    description:
      - Pin whatever key an unknown host shows. Whoever is between you and the host at that moment stays there.
    type: bool
    default: false
  replace:
    description:
      - Let a key with one of O(fingerprints) take the place of the pinned one, after the host was installed anew.
    type: bool
    default: false
  known_hosts:
    description:
      - The file to edit. Without it, the first one that OpenSSH would read for this host.
    type: path
seealso:
  - module: stagecraft.gitops.bootstrap_user
"""

EXAMPLES = r"""
- name: Pin the host's key, as the provider's console shows it
  stagecraft.gitops.ssh_host_key:
    fingerprint: SHA256:uNiVztksCsDhcc0u9e8BrrqXVpTEb0QGg7Tlq8t4Zxk

- name: Refuse to go on when the host's key has changed
  stagecraft.gitops.ssh_host_key:
"""

RETURN = r"""
name:
  description: The name under which known_hosts files list the host.
  returned: success
  type: str
  sample: "[192.0.2.10]:2222"
known_hosts:
  description: The file that holds the key.
  returned: success
  type: str
  sample: /home/admin/.ssh/known_hosts
key_type:
  description: Type of the key that the host showed.
  returned: when O(state=present)
  type: str
  sample: ssh-ed25519
fingerprint:
  description: Fingerprint of the key that the host showed.
  returned: when O(state=present)
  type: str
  sample: SHA256:uNiVztksCsDhcc0u9e8BrrqXVpTEb0QGg7Tlq8t4Zxk
"""
