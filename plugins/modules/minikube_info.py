#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: minikube_info
short_description: Tell what a machine has of a Minikube profile
version_added: 0.1.0
description:
  - Reads everything that decides what is to be done about a profile, in one round trip, and changes nothing. Minikube itself is not run, so
    that this takes a fraction of a second.
author: [The stagecraft.gitops contributors (@stagecraft)]
options:
  user:
    description: The user that Minikube runs as.
    type: str
    default: root
  profile:
    description: The name of the profile.
    type: str
    required: true
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode: {support: full, description: Changes nothing in either mode.}
  diff_mode: {support: none, description: There is nothing to show.}
  idempotent: {support: full, description: Changes nothing.}
"""

EXAMPLES = r"""
- name: See what there is of the profile
  stagecraft.gitops.minikube_info:
    profile: minikube
  register: observed
"""

RETURN = r"""
membership:
  description: What the profile is.
  type: str
  returned: success
  sample: member
  choices: [absent, interrupted, member, damaged, foreign]
begun:
  description: The journal entry of a run that began and did not end; none where there is none.
  type: dict
  returned: success
member:
  description: The journal entry of the run that made the profile; none where there is none.
  type: dict
  returned: success
profile:
  description: What Minikube has written down of the profile, sizes in MiB; none where it knows no such profile.
  type: dict
  returned: success
  sample: {driver: none, version: v1.36.3, runtime: containerd, cpus: 2, memory_mb: 4096, disk_mb: 20000, port: 8443,
    address: 192.0.2.31, addons: [default-storageclass]}
installed:
  description: The version of Minikube on disk, where this collection has put it there.
  type: str
  returned: success
running:
  description: Whether the API server answers and every node is ready.
  type: bool
  returned: success
api:
  description: Whether the API server is ready, the nodes that it knows, and what is wrong where it does not answer.
  type: dict
  returned: success
kubelet:
  description: Whether the machine's own kubelet runs, with the driver V(none); none with others.
  type: bool
  returned: success
names:
  description: The cluster's names in C(/etc/hosts) by their address.
  type: dict
  returned: success
kubeconfig:
  description: The file on the machine that holds the administrator's credentials.
  type: str
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.minikube.host import NodeError
from ansible_collections.stagecraft.gitops.plugins.module_utils.minikube.observe import INFO_OPTIONS, info_result


def main() -> None:
    module = AnsibleModule(argument_spec=INFO_OPTIONS, supports_check_mode=True)
    try:
        module.exit_json(**info_result(module.params, module.check_mode))
    except NodeError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
