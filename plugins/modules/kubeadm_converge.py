#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_converge
short_description: Bring a running control plane to a changed configuration
version_added: 0.1.0
description:
  - Issues the API server's certificate anew when names are missing from it, and writes the static pods anew when
    the configuration in C(/etc/kubernetes/stagecraft/kubeadm.yaml) has another digest than the one this host runs with.
  - Waits until the API server serves the new certificate and runs with the new flags. Use it on one control plane at a time.
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
  certificate_sans:
    description: Names and addresses that the certificate must carry. More than these do no harm.
    type: list
    elements: str
    default: []
  settings_digest:
    description: The digest of the configuration that is wanted.
    type: str
    required: true
  encryption_at_rest:
    description: Whether the configuration names an encryption file. The first control plane makes the key where it has none.
    type: bool
    default: false
  encryption_file:
    description: The encryption file of the first control plane in base64, for one that has none.
    type: str
  first:
    description: Whether this control plane also uploads the configuration and renews kube-proxy. True on one only.
    type: bool
    default: false
  timeout:
    description: Seconds that a restarted API server may take to be ready.
    type: int
    default: 180
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode: {support: full, description: Says what it would do.}
  diff_mode: {support: full, description: Shows names and digests before and after.}
  idempotent: {support: full, description: Does nothing when names and digest fit.}
"""

EXAMPLES = r"""
- name: Let the API server answer under a new name
  stagecraft.gitops.kubeadm_converge:
    address: 192.0.2.11
    certificate_sans: [api.example.com]
    settings_digest: 0d9c1b
    first: true
"""

RETURN = r"""
done:
  description: What was done, or would be.
  type: list
  elements: str
  returned: success
  sample: [certificate]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm import converge
from ansible_collections.stagecraft.gitops.plugins.module_utils.kubeadm.host import (
    Host,
    KubeadmError,
    exclusive,
    read_json,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.inspect import certificate, missing_names


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "default": 6443},
            "certificate_sans": {"type": "list", "elements": "str", "default": []},
            "settings_digest": {"type": "str", "required": True},
            "encryption_at_rest": {"type": "bool", "default": False},
            "encryption_file": {"type": "str", "no_log": True},
            "first": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    host = Host()
    params = module.params
    try:
        with exclusive(host):
            if not module.check_mode:
                converge.restore_serving_certificate(host)
            member = read_json(host.state / "member.json")
            shown = certificate(host, "/etc/kubernetes/pki/apiserver.crt")
            if member is None or (shown is None and not module.check_mode):
                raise KubeadmError("this host is no control plane of ours: there is nothing to converge")
            shown = shown or {"sans": []}  # a renewal was cut short, which check mode does not repair
            missing = missing_names(params["certificate_sans"], shown["sans"])
            stale = member.get("settings_digest") != params["settings_digest"]
            done = (["certificate"] if missing else []) + (["settings"] if stale else [])
            before = {"certificate_sans": shown["sans"], "settings_digest": member.get("settings_digest")}
            after = {
                "certificate_sans": sorted({*shown["sans"], *missing}),
                "settings_digest": params["settings_digest"],
            }
            if not module.check_mode and missing:
                converge.renew_serving_certificate(host, params["address"], params["port"])
            if not module.check_mode and stale:
                if params["encryption_at_rest"]:
                    converge.provide_encryption_key(host, params["encryption_file"], params["first"])
                converge.apply_settings(host, params["address"], params["port"], params["timeout"], params["first"])
                converge.record(host, {**member, "settings_digest": params["settings_digest"]})
            module.exit_json(changed=bool(done), done=done, diff={"before": before, "after": after})
    except KubeadmError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
