#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: artifact_push
short_description: Put big files on a host by SFTP, verified, resumable and only once
version_added: 0.1.0
author:
  - The stagecraft.gitops contributors (@stagecraft-gitops)
description:
  - Sends files from the controller over one SSH connection. Each grows under a temporary name beside its place, is
    checked on the host by its sha256 and only then renamed, so there is never a half file under O(files[].dest).
  - A file that is there with the right digest costs no byte. An upload that was interrupted goes on where it stopped,
    after what has arrived is known to be a true beginning of the file.
  - The space on the host is checked for all files before the first byte is sent.
  - Missing directories are made with mode 0755.
  - The host needs C(sh), C(df), C(stat) and one of C(openssl), C(python3) and C(sha256sum), no Python modules.
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows digest and mode, never the content.
  idempotent:
    support: full
requirements:
  - paramiko >= 4 (on the controller)
options:
  files:
    description:
      - The files.
    type: list
    elements: dict
    required: true
    suboptions:
      src:
        description: File on the controller.
        type: path
        required: true
      dest:
        description: Absolute path on the host, the file's own name included.
        type: path
        required: true
      sha256:
        description:
          - The digest that the file must have, in hex. Without it the file on the controller says what is right. Give
            it wherever it is known from somewhere else, so that a damaged cache is noticed.
        type: str
      mode:
        description: Permissions, octal, in quotes.
        type: str
        default: "0644"
seealso:
  - module: stagecraft.gitops.host_state
  - module: ansible.builtin.copy
"""

EXAMPLES = r"""
- name: Put the images of the control plane on the host
  stagecraft.gitops.artifact_push:
    files:
      - src: ~/.cache/stagecraft/images/kube-apiserver.oci.tar
        dest: /var/lib/stagecraft/incoming/kube-apiserver.oci.tar
        sha256: 3f1c6dd0f0b4e9a9b7be6d1f0f3d7c1a9b3d5f4a5f1d2c3b4a5968778695a4b3
"""

RETURN = r"""
sent_bytes:
  description: Bytes of content that went over the line, or would in check mode.
  returned: success
  type: int
  sample: 314572800
files:
  description: What was done about each file, in the order of O(files).
  returned: success
  type: list
  elements: dict
  contains:
    dest:
      description: Path on the host.
      type: str
      sample: /var/lib/stagecraft/incoming/kube-apiserver.oci.tar
    changed:
      description: Whether content or mode was changed.
      type: bool
    size:
      description: The file's size in bytes.
      type: int
      sample: 314572800
    sent_bytes:
      description: Bytes that were sent for it.
      type: int
      sample: 1048576
    resumed_at:
      description: The byte at which an interrupted upload was taken up again; 0 where it was sent from the start.
      type: int
      sample: 313524224
"""
