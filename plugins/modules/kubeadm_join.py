#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_join
short_description: Make a bare host a member of a cluster
version_added: 0.1.0
description:
  - Runs C(kubeadm join), for a worker or a further control plane, and writes down, durably, that it began and that it ended.
  - Does nothing on a host that is a member; refuses one that was begun and never finished, or that carries somebody else's cluster.
author: [The stagecraft.gitops contributors (@stagecraft)]
options:
  environment:
    description: The environment that the cluster belongs to; written to the journal.
    type: str
    required: true
  role:
    description: What the host becomes.
    type: str
    choices: [control_plane, worker]
    required: true
  kubernetes_version:
    description: The version without C(v); written to the journal.
    type: str
    required: true
  settings_digest:
    description: A digest of the configuration; a later run compares it.
    type: str
    required: true
  endpoint:
    description: Where the API answers, as C(host:port) seen from this host.
    type: str
    required: true
  configuration:
    description: The JoinConfiguration (kubeadm.k8s.io/v1beta4) without its C(discovery).
    type: dict
    required: true
  token:
    description: The bootstrap token.
    type: str
  ca_certificate:
    description: The cluster's CA in PEM.
    type: str
  files:
    description: The cluster's keys as M(stagecraft.gitops.kubeadm_join_material) returns them; for a control plane.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where the file belongs.
        type: path
        required: true
      content:
        description: Its content in base64.
        type: str
        required: true
  timeout:
    description: Seconds that C(kubeadm join) may take.
    type: int
    default: 300
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode: {support: full, description: Says whether it would run.}
  diff_mode: {support: none, description: "The outcome is a node, not a text."}
  idempotent: {support: full, description: Does nothing on a member.}
"""

EXAMPLES = r"""
- name: Join a worker
  stagecraft.gitops.kubeadm_join:
    environment: production
    role: worker
    kubernetes_version: 1.36.3
    settings_digest: 0d9c1b
    endpoint: 127.0.0.1:7443
    configuration:
      nodeRegistration: {name: worker-1}
    token: "{{ material.token }}"
    ca_certificate: "{{ material.ca_certificate }}"
"""

RETURN = r"""
output:
  description: What kubeadm said, without the token.
  type: str
  returned: when it ran
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm import observe
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.host import (
    Host,
    KubeadmError,
    exclusive,
    read_json,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.join import DISCOVERY_FILE, TOKEN, join


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "environment": {"type": "str", "required": True},
            "role": {"type": "str", "choices": ["control_plane", "worker"], "required": True},
            "kubernetes_version": {"type": "str", "required": True},
            "settings_digest": {"type": "str", "required": True},
            "endpoint": {"type": "str", "required": True},
            "configuration": {"type": "dict", "required": True},
            "token": {"type": "str", "no_log": True},
            "ca_certificate": {"type": "str"},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "path": {"type": "path", "required": True},
                    "content": {"type": "str", "required": True, "no_log": True},
                },
            },
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    host = Host()
    params = module.params
    member = {
        "environment": params["environment"],
        "role": params["role"],
        "kubernetes_version": params["kubernetes_version"],
        "settings_digest": params["settings_digest"],
        "since": int(time.time()),
    }
    configuration = {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "JoinConfiguration",
        **params["configuration"],
        "discovery": {
            "file": {"kubeConfigPath": str(host.path(DISCOVERY_FILE))},
            "tlsBootstrapToken": params["token"],
        },
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
            output = join(
                host,
                member,
                configuration,
                params["ca_certificate"] or "",
                params["endpoint"],
                params["files"],
                params["timeout"],
            )
            module.exit_json(changed=True, output=TOKEN.sub("…", output))
    except KubeadmError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
