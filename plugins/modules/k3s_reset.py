#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_reset
short_description: Take K3s off a host
version_added: 0.1.0
description:
  - Ends K3s and all of its containers, unmounts what they mounted, takes their network rules out and removes their files, so that the host is
    bare for K3s again. Versioned programs below C(/opt/stagecraft) stay.
  - A host that carries somebody else's K3s is refused unless O(foreign=true).
author: [The stagecraft.gitops contributors (@stagecraft)]
options:
  environment:
    description: The environment that the host is expected to belong to; a host of another one is refused.
    type: str
    required: true
  foreign:
    description: Also remove a K3s that this collection did not set up.
    type: bool
    default: false
  timeout:
    description: Seconds that a unit may take to stop.
    type: int
    default: 180
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode: {support: full, description: Says whether it would run.}
  diff_mode: {support: none, description: The outcome is a bare host.}
  idempotent: {support: full, description: Does nothing on a bare host.}
"""

EXAMPLES = r"""
- name: Take K3s off the host
  stagecraft.gitops.k3s_reset:
    environment: staging
"""

RETURN = r"""
membership:
  description: What the host was before.
  type: str
  returned: success
removed:
  description: What was removed.
  type: list
  elements: str
  returned: when it ran
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s import observe
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.host import Host, NodeError, exclusive, read_json
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.reset import reset


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "environment": {"type": "str", "required": True},
            "foreign": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    host, params = Host(), module.params
    try:
        with exclusive(host):
            begun, member = read_json(host.state / "begun.json"), read_json(host.state / "member.json")
            traces = [trace for trace in observe.TRACES if host.exists(trace)]
            state = observe.membership(begun, member, traces, ())
            owner = (member or begun or {}).get("environment")
            if owner is not None and owner != params["environment"]:
                raise NodeError(
                    f"this host belongs to environment {owner!r}, and {params['environment']!r} was to be reset. "
                    "Nothing was changed: check the inventory."
                )
            if state == observe.FOREIGN and not params["foreign"]:
                raise NodeError(
                    f"this host carries a K3s that this collection did not set up ({', '.join(traces)}). Nothing was changed. "
                    "If it is to go, set reset_foreign: true."
                )
            if state == observe.ABSENT:
                module.exit_json(changed=False, membership=state)
            if module.check_mode:
                module.exit_json(changed=True, membership=state)
            module.exit_json(changed=True, membership=state, removed=reset(host, params["timeout"]))
    except NodeError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
