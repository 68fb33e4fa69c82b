#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_init
short_description: Make the first control plane of a cluster
version_added: 0.1.0
description:
  - Runs C(kubeadm init) with the configuration in C(/etc/kubernetes/stagecraft/kubeadm.yaml) and writes down, durably, that it
    began and that it ended. A host that lost power in between is recognised by the next run.
  - Does nothing on a host that is a member, and refuses one that was begun and never finished
    (M(stagecraft.gitops.kubeadm_reset) cleans it) or that carries somebody else's cluster.
  - Makes the key for encryption at rest if it is asked for and none is there; the key never leaves the host in a result.
author: [The stagecraft.gitops contributors (@stagecraft)]
options:
  address:
    description: The address of this host's API server.
    type: str
    required: true
  port:
    description: Its port.
    type: int
    default: 6443
  environment:
    description: The environment that this cluster belongs to; written to the journal.
    type: str
    required: true
  kubernetes_version:
    description: The version without C(v); written to the journal.
    type: str
    required: true
  settings_digest:
    description: A digest of the configuration; a later run compares it.
    type: str
    required: true
  encryption_at_rest:
    description: Whether the configuration names an encryption file, so that its key has to be made.
    type: bool
    default: false
  timeout:
    description: Seconds that C(kubeadm init) may take.
    type: int
    default: 300
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode: {support: full, description: Says whether it would run.}
  diff_mode: {support: none, description: "The outcome is a cluster, not a text."}
  idempotent: {support: full, description: Does nothing on a member.}
"""

EXAMPLES = r"""
- name: Make the first control plane
  stagecraft.gitops.kubeadm_init:
    address: 192.0.2.11
    environment: production
    kubernetes_version: 1.36.3
    settings_digest: 0d9c1b
    encryption_at_rest: true
"""

RETURN = r"""
output:
  description: What kubeadm said.
  type: str
  returned: when it ran
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm import observe
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.api import LocalApi
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.host import (
    Host,
    KubeadmError,
    exclusive,
    read_json,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.initialize import initialize


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "default": 6443},
            "environment": {"type": "str", "required": True},
            "kubernetes_version": {"type": "str", "required": True},
            "settings_digest": {"type": "str", "required": True},
            "encryption_at_rest": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    host = Host()
    member = {
        "environment": module.params["environment"],
        "role": "control_plane",
        "kubernetes_version": module.params["kubernetes_version"],
        "settings_digest": module.params["settings_digest"],
        "since": int(time.time()),
    }
    try:
        with exclusive(host):
            traces = [trace for trace in observe.TRACES if host.exists(trace)]
            state = observe.membership(
                read_json(host.state / "begun.json"), read_json(host.state / "member.json"), traces
            )
            if state == observe.MEMBER:
                module.exit_json(changed=False)
            if state != observe.ABSENT:
                raise KubeadmError(
                    f"this host is not bare but {state}: {', '.join(traces) or 'a run began here and never ended'}. "
                    "Nothing was changed. Clean it with playbooks/reset.yml."
                )
            if module.check_mode:
                module.exit_json(changed=True)
            api = LocalApi(host, module.params["address"], module.params["port"])
            output = initialize(host, member, api, module.params["encryption_at_rest"], module.params["timeout"])
            module.exit_json(changed=True, output=output)
    except KubeadmError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
