#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.kubeconfig, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeconfig
short_description: Keep a cluster's admin credentials in the admin's kubeconfig
version_added: 0.1.0
description:
  - Merges the admin credentials of one cluster into a kubeconfig file on the controller, under names of its own.
    The cluster and the context are called O(name), the user O(name) with C(-admin) behind it.
  - Entries with other names, other settings, comments and the order of the file stay as they are. Of its own entries
    the module writes only what the connection needs; a namespace or an extension that somebody added there stays.
  - The file is replaced as a whole, by a rename, with mode 0600. A symbolic link stays one. Other writers are excluded
    by the lock file that kubectl uses.
  - A file that is not a valid kubeconfig is refused with the line that is wrong, and left as it is.
author:
  - The stagecraft.gitops contributors (@stagecraft)
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
options:
  path:
    description:
      - The kubeconfig file on the controller. It and its directory are made when they are missing.
    type: path
    default: ~/.kube/config
  name:
    description:
      - The name of the cluster and of the context; usually the name of the environment.
    type: str
    required: true
  state:
    description:
      - V(present) adds or repairs the entries.
      - V(absent) takes them out. A file in which nothing else is left is removed.
    type: str
    choices: [present, absent]
    default: present
  source:
    description:
      - The text of the cluster's admin kubeconfig, for kubeadm C(/etc/kubernetes/admin.conf) of a control plane.
        Certificates and keys must be embedded.
      - This or O(source_file) is required with O(state=present). In check mode it may be empty, for a cluster that does
        not exist yet.
    type: str
  source_file:
    description:
      - Where that text is on the host that the task is for (or delegated to). It is read with the rights of the task and
        goes into no variable and no result.
      - In check mode the file may be missing, for a cluster that does not exist yet.
    type: str
  server:
    description:
      - The address that kubectl is to use, V(https://HOST:PORT), in place of the one in O(source) or O(source_file).
    type: str
  tls_server_name:
    description:
      - The name to expect in the API server's certificate, where it differs from the host in O(server).
    type: str
  set_current:
    description:
      - Make this the current context. Without it, that is done only where no current context is set.
    type: bool
    default: false
  backup:
    description:
      - Keep what the file held before a change beside it, as C(.stagecraft.bak), mode 0600.
      - With O(state=absent) an existing backup is replaced too, so that no removed credentials stay behind.
    type: bool
    default: true
seealso:
  - name: Organizing cluster access using kubeconfig files
    description: What the file is.
    link: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

EXAMPLES = r"""
- name: Add the cluster of the first control plane to the admin's kubeconfig
  stagecraft.gitops.kubeconfig:
    name: production
    source_file: /etc/kubernetes/admin.conf
    server: https://cp1.example.com:6443
  delegate_to: cp1
  become: true
  run_once: true

- name: Take the cluster out again
  stagecraft.gitops.kubeconfig:
    name: production
    state: absent
"""

RETURN = r"""
path:
  description: The file, with symbolic links resolved.
  returned: success
  type: str
  sample: /home/admin/.kube/config
name:
  description: The O(name) given.
  returned: success
  type: str
  sample: production
cluster:
  description: The name of the cluster entry.
  returned: success
  type: str
  sample: production
context:
  description: The name of the context entry.
  returned: success
  type: str
  sample: production
user:
  description: The name of the user entry.
  returned: success
  type: str
  sample: production-admin
server:
  description: The address of the API server in the cluster entry.
  returned: when O(state=present)
  type: str
  sample: https://cp1.example.com:6443
current_context:
  description: The current context after the change; empty when there is none.
  returned: success, except in check mode for a cluster that does not exist yet
  type: str
  sample: production
changes:
  description: What was changed, or would be.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: One of V(cluster), V(user), V(context), V(current-context), V(mode).
      type: str
      returned: always
    name:
      description: The entry, the new current context, or the old and the new mode.
      type: str
      returned: always
    action:
      description: One of V(add), V(update), V(remove).
      type: str
      returned: always
  sample:
    - kind: cluster
      name: production
      action: add
backup_file:
  description: Where the file's content before the change was kept.
  returned: when a backup was written
  type: str
  sample: /home/admin/.kube/config.stagecraft.bak
"""
