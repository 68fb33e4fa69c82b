#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tls_info
short_description: Tell whether the certificates that names serve are accepted, and for how long
version_added: 0.1.0
description:
  - Connects to each name by TLS as a user would, from the host that it runs on, and looks at the certificate that is served there.
  - Such a certificate is wrong when a client would not accept it (issuer, name, time), and when it ends soon. That is no failure of the task.
author: [The stagecraft.gitops contributors (@stagecraft)]
options:
  names:
    description: The names, each with C(:PORT) where that is not 443. IPv6 addresses stand in brackets.
    type: list
    elements: str
    required: true
  ca_file:
    description: A file with the certificates (PEM) to trust, where not those that the system trusts.
    type: path
  days:
    description: For how many days a certificate must be valid.
    type: int
    default: 30
  timeout:
    description: How many seconds a server may take to answer.
    type: float
    default: 10
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode: {support: full, description: Changes nothing in either mode.}
  diff_mode: {support: none, description: There is nothing to show.}
  idempotent: {support: full, description: Changes nothing.}
"""

EXAMPLES = r"""
- name: Look at the certificate of the shop
  stagecraft.gitops.tls_info:
    names: [shop.example.com]
  delegate_to: localhost
  register: served
"""

RETURN = r"""
certificates:
  description: The C(name), the end (C(not_after), seconds since 1970; 0 where it was not accepted) and the C(problem) (empty for none) of each.
  type: list
  elements: dict
  returned: success
  sample: [{name: shop.example.com, not_after: 1798761599, problem: ""}]
problems:
  description: What is wrong, a sentence for each name where something is.
  type: list
  elements: str
  returned: success
  sample: ["shop.example.com: its certificate is not accepted: self-signed certificate"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.tls import INFO_OPTIONS, TlsError, info_result


def main() -> None:
    module = AnsibleModule(argument_spec=INFO_OPTIONS, supports_check_mode=True)
    try:
        module.exit_json(**info_result(module.params))
    except TlsError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
