#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_info
short_description: Tell what a host is to a K3s cluster
version_added: 0.1.0
description:
  - Reads everything that decides what is to be done on a host of a K3s cluster, in one round trip, and changes nothing.
  - The version that B(runs) is asked of the program in memory. A program that was replaced on disk and not restarted, or a run that was cut
    short in between, is seen by that.
author: [The stagecraft.gitops contributors (@stagecraft)]
options:
  role:
    description: What the host is to be.
    type: str
    choices: [server, agent]
    required: true
  address:
    description: The address of this host that the other nodes use.
    type: str
    required: true
  port:
    description: The port that servers answer on.
    type: int
    default: 6443
  certificate_sans:
    description: Names that the API server's certificate is to carry; RV(missing_sans) says which are not in it.
    type: list
    elements: str
    default: []
  token:
    description: The cluster's token where the inventory has one; RV(token_fits) says whether the cluster was made with it.
    type: str
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode: {support: full, description: Changes nothing in either mode.}
  diff_mode: {support: none, description: There is nothing to show.}
  idempotent: {support: full, description: Changes nothing.}
"""

EXAMPLES = r"""
- name: See whether the host is a node already
  stagecraft.gitops.k3s_info:
    role: server
    address: 192.0.2.21
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
  description: The journal entry of the run that made this host a node; none where there is none.
  type: dict
  returned: success
traces:
  description: The files of K3s that are here.
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
runs_as:
  description: Which unit runs, V(server) or V(agent); empty for none.
  type: str
  returned: success
active:
  description: The state of the unit as systemd has it.
  type: str
  returned: success
pid:
  description: The main process of the unit; 0 for none.
  type: int
  returned: success
running:
  description: The version that runs; empty where nothing runs.
  type: str
  returned: success
  sample: v1.36.3+k3s1
installed:
  description: The version on disk.
  type: str
  returned: success
datastore:
  description: What a server keeps its objects in, V(sqlite), V(etcd) or V(external); empty where it has none yet.
  type: str
  returned: success
encryption_key:
  description: Whether Secrets are encrypted in the datastore.
  type: bool
  returned: success
agent_token:
  description: Whether there is a token for agents that servers do not join by.
  type: bool
  returned: success
token_fits:
  description: Whether the cluster was made with O(token); true where there is nothing to compare.
  type: bool
  returned: success
certificate:
  description: The names (C(sans)) and end (C(not_after), seconds since 1970) of the API server's certificate; servers only.
  type: dict
  returned: success
missing_sans:
  description: Those of O(certificate_sans) that the certificate lacks; servers only.
  type: list
  elements: str
  returned: success
snapshots:
  description: The snapshots of ours on a server, with the version that each was saved under.
  type: dict
  returned: success
api:
  description: Whether the API server of this host is ready, and the nodes that it knows; servers only.
  type: dict
  returned: success
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.host import NodeError
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.observe import INFO_OPTIONS, info_result


def main() -> None:
    module = AnsibleModule(argument_spec=INFO_OPTIONS, supports_check_mode=True)
    try:
        module.exit_json(**info_result(module.params, module.check_mode))
    except NodeError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
