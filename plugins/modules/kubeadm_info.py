#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_info
short_description: Tell what a host is to a kubeadm cluster
version_added: 0.1.0
description:
  - Reads everything that decides what kubeadm has to do on a host, in one round trip, and changes nothing.
  - Whether the host is a member is judged from the journal that this collection keeps below C(/var/lib/stagecraft/kubeadm)
    and from the files that kubeadm leaves. A host on which a run was cut short is C(interrupted), never a member.
author: [The stagecraft.gitops contributors (@stagecraft)]
options:
  address:
    description: The address of this host that the other nodes use, where its API server would answer.
    type: str
    required: true
  port:
    description: The API server's port.
    type: int
    default: 6443
  certificate_sans:
    description: Names that the API server's certificate is to carry; RV(missing_sans) says which are not in it.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode: {support: full, description: Changes nothing in either mode.}
  diff_mode: {support: none, description: There is nothing to show.}
  idempotent: {support: full, description: Changes nothing.}
"""

EXAMPLES = r"""
- name: See whether the host is a member already
  stagecraft.gitops.kubeadm_info:
    address: 192.0.2.11
  register: observed
"""

RETURN = r"""
membership:
  description: What this host is to a cluster.
  type: str
  returned: success
  sample: member
  choices: [absent, interrupted, member, damaged, foreign]
member:
  description: The journal entry of the run that made this host a member; none where there is none.
  type: dict
  returned: success
traces:
  description: The files of kubeadm that are here.
  type: list
  elements: str
  returned: success
address:
  description: The address that was asked about.
  type: str
  returned: success
address_is_local:
  description: Whether O(address) belongs to an interface of this host.
  type: bool
  returned: success
kubelet:
  description: The process id and executable of the running kubelet; none where none runs.
  type: dict
  returned: success
control_plane:
  description: Whether this host carries the manifest of an API server.
  type: bool
  returned: success
encryption_key:
  description: Whether the cluster's key for encryption at rest is here.
  type: bool
  returned: success
certificate:
  description: The names (C(sans)) and end (C(not_after), seconds since 1970) of the API server's certificate; control planes only.
  type: dict
  returned: success
missing_sans:
  description: Those of O(certificate_sans) that the certificate lacks; control planes only.
  type: list
  elements: str
  returned: success
api:
  description: Whether the API server of this host is ready, its process id, and the nodes that it knows; control planes only.
  type: dict
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.host import KubeadmError
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.observe import INFO_OPTIONS, info_result


def main() -> None:
    module = AnsibleModule(argument_spec=INFO_OPTIONS, supports_check_mode=True)
    try:
        module.exit_json(**info_result(module.params, module.check_mode))
    except KubeadmError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
