#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_reset
short_description: Take a host out of its cluster
version_added: 0.1.0
description:
  - Runs C(kubeadm reset) and removes what it leaves behind, so that the host is bare for kubeadm again. Binaries, images and container
    runtime stay.
  - A host that carries somebody else's cluster is refused unless O(foreign=true).
author: [The stagecraft.gitops contributors (@stagecraft)]
options:
  environment:
    description: The environment that the host is expected to belong to; a host of another one is refused.
    type: str
    required: true
  only_interrupted:
    description: Clean a host on which a run was cut short, and leave a member alone.
    type: bool
    default: false
  foreign:
    description: Also reset a cluster that this collection did not make.
    type: bool
    default: false
  timeout:
    description: Seconds that C(kubeadm reset) may take.
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
- name: Clean up after a power cut
  stagecraft.gitops.kubeadm_reset:
    environment: production
    only_interrupted: true
"""

RETURN = r"""
membership:
  description: What the host was before.
  type: str
  returned: success
removed:
  description: The files that were removed.
  type: list
  elements: str
  returned: when it ran
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm import observe
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.host import (
    Host,
    KubeadmError,
    exclusive,
    read_json,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.reset import reset


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "environment": {"type": "str", "required": True},
            "only_interrupted": {"type": "bool", "default": False},
            "foreign": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    host = Host()
    params = module.params
    try:
        with exclusive(host):
            begun, member = read_json(host.state / "begun.json"), read_json(host.state / "member.json")
            traces = [trace for trace in observe.TRACES if host.exists(trace)]
            state = observe.membership(begun, member, traces)
            owner = (member or begun or {}).get("environment")
            if owner is not None and owner != params["environment"]:
                raise KubeadmError(
                    f"this host belongs to environment {owner!r}, and {params['environment']!r} was to be reset. "
                    "Nothing was changed: check the inventory."
                )
            if state == observe.FOREIGN and not params["foreign"]:
                raise KubeadmError(
                    f"this host carries a cluster that this collection did not make ({', '.join(traces)}). Nothing was changed. "
                    "If it is to go, set reset_foreign: true."
                )
            if state == observe.ABSENT or (params["only_interrupted"] and state != observe.INTERRUPTED):
                module.exit_json(changed=False, membership=state)
            if module.check_mode:
                module.exit_json(changed=True, membership=state)
            module.exit_json(changed=True, membership=state, removed=reset(host, params["timeout"]))
    except KubeadmError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
