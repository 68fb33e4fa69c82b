#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k3s_snapshot
short_description: Save the datastore of a K3s server under the name of its version, and go back to such a snapshot
version_added: 0.1.0
description:
  - With O(state=saved), saves what the server's datastore holds. etcd is saved by C(k3s etcd-snapshot) while it runs. SQLite is copied while K3s is
    stopped, and K3s B(stays stopped), for another version is about to be started.
  - With O(state=verified), says whether the server could go back to a snapshot, and changes nothing. The snapshot is read to its end.
  - With O(state=stopped), stops a server that is about to give up what it has, so that a reboot does not start it either.
  - With O(state=restored), stops K3s in the same way and puts the datastore back, by the program on disk. Enable and start the unit afterwards. Of
    several servers with etcd, all must be stopped before; the configuration of this one must name no server to join by.
  - The newest three of these snapshots of each version are kept beside those that K3s makes by its own schedule.
author: [The stagecraft.gitops contributors (@stagecraft)]
options:
  state:
    description: What is to be done.
    type: str
    choices: [saved, verified, stopped, restored]
    required: true
  version:
    description: The version that runs, for the snapshot's name; or the one on disk that is to read it again. Needed for O(state=saved) and O(state=restored).
    type: str
  name:
    description: The snapshot to go back to. Needed for O(state=verified) and O(state=restored).
    type: str
  timeout:
    description: Seconds that it may take.
    type: int
    default: 300
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode: {support: full, description: "Does nothing and says that it would; O(state=verified) reads the snapshot."}
  diff_mode: {support: none, description: There is no text to compare.}
  idempotent: {support: none, description: "Every call saves, or restores."}
"""

EXAMPLES = r"""
- name: Save the datastore before its K3s is replaced
  stagecraft.gitops.k3s_snapshot:
    state: saved
    version: v1.35.8+k3s1

- name: Be sure of a snapshot before anything is stopped
  stagecraft.gitops.k3s_snapshot:
    state: verified
    name: stagecraft-v1.35.8-k3s1-s1-1790000000
"""

RETURN = r"""
name:
  description: The snapshot; empty where the datastore is an external one.
  type: str
  returned: success, not in check mode and not with O(state=stopped)
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s import snapshot
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.host import Host, NodeError, exclusive


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["saved", "verified", "stopped", "restored"], "required": True},
            "version": {"type": "str"},
            "name": {"type": "str"},
            "timeout": {"type": "int", "default": 300},
        },
        required_if=[
            ("state", "saved", ["version"]),
            ("state", "verified", ["name"]),
            ("state", "restored", ["name", "version"]),
        ],
        supports_check_mode=True,
    )
    host, params = Host(), module.params
    try:
        if params["state"] == "verified":
            snapshot.verify(host, params["name"])
            module.exit_json(changed=False, name=params["name"])
        if module.check_mode:
            module.exit_json(changed=True)
        with exclusive(host):
            if params["state"] == "stopped":
                module.exit_json(changed=snapshot.stop(host, params["timeout"]))
            if params["state"] == "saved":
                name = snapshot.save(host, params["version"], params["timeout"])
                module.exit_json(changed=bool(name), name=name)
            snapshot.restore(host, params["name"], params["version"], params["timeout"])
            module.exit_json(changed=True, name=params["name"])
    except NodeError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
