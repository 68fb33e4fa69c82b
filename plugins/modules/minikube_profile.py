#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: minikube_profile
short_description: Carry out what a Minikube profile needs
version_added: 0.1.0
description:
  - With O(state=planned), carries out the O(steps) of M(stagecraft.gitops.minikube_plan) by the program C(/usr/local/bin/minikube).
  - With O(state=absent), deletes the profile and everything that was written for it.
  - Killed at any point, the next plan knows what was begun, and the next run finishes it.
author: [The stagecraft.gitops contributors (@stagecraft)]
options:
  state:
    description: Which of the two.
    type: str
    choices: [planned, absent]
    default: planned
  environment:
    description: The environment that the profile belongs to; written to the journal. The profile of another one is not deleted.
    type: str
    required: true
  user:
    description: The user that Minikube runs as.
    type: str
    default: root
  profile:
    description: The name of the profile.
    type: str
    required: true
  steps:
    description: The steps, as M(stagecraft.gitops.minikube_plan) says them.
    type: list
    elements: str
    choices: [delete, start, stop, addons, names]
    default: []
  arguments:
    description: The arguments of C(minikube start).
    type: list
    elements: str
    default: []
  addons:
    description: The addons that are to be enabled; all others are disabled.
    type: list
    elements: str
    default: []
  names:
    description: The names of the cluster in C(/etc/hosts).
    type: list
    elements: str
    default: []
  settings:
    description: A digest of the settings, written to the journal.
    type: str
    default: ""
  foreign:
    description: With O(state=absent), also delete a profile that this collection did not make.
    type: bool
    default: false
  timeout:
    description: Seconds that each step may take.
    type: int
    default: 600
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode: {support: full, description: Says whether it would do anything.}
  diff_mode: {support: none, description: The steps are what differs.}
  idempotent: {support: full, description: Does nothing without steps.}
"""

EXAMPLES = r"""
- name: Start the cluster
  stagecraft.gitops.minikube_profile:
    environment: local
    profile: minikube
    steps: "{{ plan.steps }}"
    arguments: [--driver=docker, --kubernetes-version=v1.36.3, --memory=4096mb, --cpus=2]
    addons: [default-storageclass]

- name: Delete it
  stagecraft.gitops.minikube_profile:
    environment: local
    profile: minikube
    state: absent
"""

RETURN = r"""
did:
  description: What was done, in words.
  type: list
  elements: str
  returned: success
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.minikube import profile
from ansible_collections.stagecraft.gitops.plugins.module_utils.minikube.host import (
    Host,
    NodeError,
    exclusive,
    home_of,
    read_json,
)
from ansible_collections.stagecraft.gitops.plugins.module_utils.minikube.observe import ABSENT, FOREIGN, membership


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["planned", "absent"], "default": "planned"},
            "environment": {"type": "str", "required": True},
            "user": {"type": "str", "default": "root"},
            "profile": {"type": "str", "required": True},
            "steps": {
                "type": "list",
                "elements": "str",
                "choices": ["delete", "start", "stop", "addons", "names"],
                "default": [],
            },
            "arguments": {"type": "list", "elements": "str", "default": []},
            "addons": {"type": "list", "elements": "str", "default": []},
            "names": {"type": "list", "elements": "str", "default": []},
            "settings": {"type": "str", "default": ""},
            "foreign": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        host = Host(user=params["user"], profile=params["profile"], home=home_of(params["user"]))
        with exclusive(host):
            act = _absent if params["state"] == "absent" else _planned
            module.exit_json(**act(host, params, module.check_mode))
    except NodeError as error:
        module.fail_json(msg=str(error))


def _planned(host: Host, params: dict[str, Any], check: bool) -> dict[str, Any]:
    if check or not params["steps"]:
        return {"changed": bool(params["steps"]), "did": []}
    entry = {key: params[key] for key in ("environment", "profile", "settings")}
    wanted = {"entry": entry, **{key: params[key] for key in ("arguments", "addons", "names")}}
    return {"changed": True, "did": profile.carry_out(host, params["steps"], wanted, params["timeout"])}


def _absent(host: Host, params: dict[str, Any], check: bool) -> dict[str, Any]:
    begun, member = read_json(host.state / "begun.json"), read_json(host.state / "member.json")
    state = membership(begun, member, read_json(host.record) is not None)
    owner = (member or begun or {}).get("environment", params["environment"])
    if owner != params["environment"]:
        raise NodeError(
            f"profile {host.profile} belongs to environment {owner!r}, and that of {params['environment']!r} was to be deleted. "
            "Nothing was changed: check the inventory."
        )
    if state == FOREIGN and not params["foreign"]:
        raise NodeError(
            f"Minikube has a profile {host.profile} that this collection did not make. Nothing was changed. "
            "If it is to go, set reset_foreign: true."
        )
    if state == ABSENT or check:
        return {"changed": state != ABSENT, "did": []}
    return {"changed": True, "did": profile.remove(host, params["timeout"])}


if __name__ == "__main__":
    main()
