#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_member
short_description: Begin and finish making a host a node of a K3s cluster
version_added: 0.1.0
description:
  - With O(state=prepared), before K3s starts for the first time, writes down that this host is about to become a node, and puts the tokens
    in place, each in a file for root alone. A server that makes the cluster gets a token for agents that no server can join by.
  - With O(state=ready), restarts the unit where another version runs than the one that is wanted, waits until the program and its node are ready in
    this version (and a member of etcd votes), and writes down that the host is a node.
  - K3s itself goes on where it was cut short, so nothing is ever cleaned by this.
author: [The stagecraft.gitops contributors (@stagecraft)]
options:
  state:
    description: Which of the two.
    type: str
    choices: [prepared, ready]
    required: true
  environment:
    description: The environment that the cluster belongs to; written to the journal.
    type: str
    required: true
  role:
    description: What the host is to be.
    type: str
    choices: [server, agent]
    required: true
  node:
    description: The node's name.
    type: str
    required: true
  version:
    description: The version of K3s.
    type: str
    required: true
  server:
    description: The URL of the server that this host joins by; empty on the one that makes the cluster. Written to the journal.
    type: str
    default: ""
  port:
    description: The port that servers answer on.
    type: int
    default: 6443
  token:
    description: The token to join by, or to make the cluster with.
    type: str
  agent_token:
    description: The token by which agents join, for a further server.
    type: str
  timeout:
    description: Seconds that K3s and its node may take to be ready.
    type: int
    default: 300
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode: {support: full, description: Says whether it would change anything.}
  diff_mode: {support: none, description: "What is written is secret, or a journal."}
  idempotent: {support: full, description: Does nothing on a node that is as wanted.}
"""

EXAMPLES = r"""
- name: Write down that this host is about to become a server
  stagecraft.gitops.k3s_member:
    state: prepared
    environment: staging
    role: server
    node: s1
    version: v1.36.3+k3s1

- name: Wait until it is one
  stagecraft.gitops.k3s_member:
    state: ready
    environment: staging
    role: server
    node: s1
    version: v1.36.3+k3s1
"""

RETURN = r"""
restarted:
  description: Whether the unit was restarted because another version ran.
  type: bool
  returned: with O(state=ready)
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s import member
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.host import (
    UNITS,
    Host,
    NodeError,
    exclusive,
    read_json,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.observe import running_version, unit_status
from ansible_collections.stagecraft.gitops.plugins.module_utils.node.host import finish


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["prepared", "ready"], "required": True},
            "environment": {"type": "str", "required": True},
            "role": {"type": "str", "choices": ["server", "agent"], "required": True},
            "node": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "server": {"type": "str", "default": ""},
            "port": {"type": "int", "default": 6443},
            "token": {"type": "str", "no_log": True},
            "agent_token": {"type": "str", "no_log": True},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    host = Host()
    try:
        with exclusive(host):
            if module.params["state"] == "prepared":
                module.exit_json(**_prepared(host, module.params, module.check_mode))
            module.exit_json(**_ready(host, module.params, module.check_mode))
    except NodeError as error:
        module.fail_json(msg=str(error))


def _prepared(host: Host, params: dict[str, Any], check: bool) -> dict[str, Any]:
    if not check:
        entry = {key: params[key] for key in ("environment", "role", "version", "server")}
        secrets = {key: params[key] for key in ("token", "agent_token") if params[key]}
        member.prepare(host, entry, secrets)
    return {"changed": True}


def _ready(host: Host, params: dict[str, Any], check: bool) -> dict[str, Any]:
    role, version = params["role"], params["version"]
    known = read_json(host.state / "member.json") or {}
    entry = {key: params[key] for key in ("environment", "role", "version", "server")}
    same = all(known.get(key) == value for key, value in entry.items()) and not (host.state / "begun.json").exists()
    if check:
        stale = running_version(host, unit_status(host, UNITS[role])["pid"]) != version
        return {"changed": stale or not same, "restarted": stale}
    restarted = member.restart_stale(host, role, version, params["timeout"])
    member.wait(host, role, params["node"], version, params["port"], params["timeout"])
    if not same:
        finish(host.state, {**entry, "since": known.get("since", int(time.time()))})
    return {"changed": restarted or not same, "restarted": restarted}


if __name__ == "__main__":
    main()
