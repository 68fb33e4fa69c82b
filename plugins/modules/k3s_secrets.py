#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_secrets
short_description: Read the tokens that newcomers join a K3s cluster by
version_added: 0.1.0
description:
  - Runs on a server of the cluster. Returns the token that servers join by and the one for agents.
  - Its result is secret. Use it with C(no_log) and hand it to M(stagecraft.gitops.k3s_member) at once.
author: [The stagecraft.gitops contributors (@stagecraft)]
options: {}
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode: {support: full, description: Returns nothing.}
  diff_mode: {support: none, description: The result is secret.}
  idempotent: {support: full, description: Changes nothing.}
"""

EXAMPLES = r"""
- name: Read what newcomers need
  stagecraft.gitops.k3s_secrets:
  no_log: true
  register: secrets
"""

RETURN = r"""
token:
  description: The token that servers join by, with the digest of the cluster's CA. Secret.
  type: str
  returned: not in check mode
agent_token:
  description: The token that agents join by. Secret.
  type: str
  returned: not in check mode
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.host import Host, NodeError
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.member import cluster_secrets


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    if module.check_mode:
        module.exit_json(changed=False)
    try:
        module.exit_json(changed=False, **cluster_secrets(Host()))
    except NodeError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
