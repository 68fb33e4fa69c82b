#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bootstrap_user
short_description: Turn a first login by password into a login by key
version_added: 0.1.0
author:
  - The stagecraft.gitops contributors (@stagecraft-gitops)
description:
  - Makes the user, installs its keys, lets it become root without a password, and tells sshd to refuse passwords.
  - Logs in by the key first. Only where that is refused, the first login that the provider gave is used.
  - Nobody is locked out. Passwords are refused only after a second connection has proved that the key opens the host,
    and the first connection is kept until a third one has proved it again; when it does not, sshd's configuration is
    put back.
  - The host's key must be known by then, see M(stagecraft.gitops.ssh_host_key). The host needs no Python.
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Keys are shown by their fingerprints.
  idempotent:
    support: full
requirements:
  - paramiko >= 4 (on the controller)
options:
  user:
    description:
      - The user for all later logins. Without it, C(ansible_user).
    type: str
  public_keys:
    description:
      - Lines for C(authorized_keys). Without it, the public half of O(private_key_file).
    type: list
    elements: str
    default: []
  private_key_file:
    description:
      - The key on the controller that all later logins are by. Without it, C(ansible_ssh_private_key_file).
    type: path
  login_user:
    description:
      - The user of the first login. Without it, C(ansible_user).
    type: str
  login_password:
    description:
      - Password of the first login, also for sudo. Without it, C(ansible_password).
    type: str
  login_key_file:
    description:
      - Key of the first login, where the provider installed one.
    type: path
  sudo:
    description:
      - Whether the user may become root without a password. For root it has no meaning.
    type: bool
    default: true
  disable_password_login:
    description:
      - Whether sshd refuses passwords from then on, and root except by key.
    type: bool
    default: true
  exclusive:
    description:
      - Whether other keys are removed from the user's C(authorized_keys).
    type: bool
    default: false
seealso:
  - module: stagecraft.gitops.ssh_host_key
"""

EXAMPLES = r"""
- name: From the provider's password to our key
  stagecraft.gitops.bootstrap_user:
    user: admin
    login_user: root
    login_password: "{{ provider_password }}"
    private_key_file: ~/.ssh/id_ed25519
"""

RETURN = r"""
user:
  description: The user for later logins.
  returned: success
  type: str
  sample: admin
private_key_file:
  description: The key for later logins; empty where an agent holds it.
  returned: success
  type: str
  sample: /home/admin/.ssh/id_ed25519
logged_in_by:
  description: V(key) where the key opened the host already, otherwise V(first login).
  returned: success
  type: str
  sample: key
changes:
  description: What was changed, or would be in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    step:
      description: One of V(user), V(keys), V(modes), V(sudo), V(sshd).
      type: str
      sample: sshd
    before:
      description: What was there.
      type: str
      sample: passwordauthentication yes
    after:
      description: What is there now.
      type: str
      sample: passwordauthentication no
"""
