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
  - With O(state=restored), stops K3s and puts the datastore back, by the program on disk. Start the unit afterwards.
  - The newest three of these snapshots are kept beside those that K3s makes by its own schedule.
author: [The stagecraft.gitops contributors (@stagecraft)]
options:
  state:
    description: Which of the two.
    type: str
    choices: [saved, restored]
    required: true
  version:
    description: The version that runs, for the snapshot's name; or the one on disk that is to read it again.
    type: str
    required: true
  name:
    description: The snapshot to go back to.
    type: str
  timeout:
    description: Seconds that it may take.
    type: int
    default: 300
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode: {support: full, description: Does nothing and says that it would.}
  diff_mode: {support: none, description: There is no text to compare.}
  idempotent: {support: none, description: "Every call saves, or restores."}
"""

EXAMPLES = r"""
- name: Save the datastore before its K3s is replaced
  stagecraft.gitops.k3s_snapshot:
    state: saved
    version: v1.35.8+k3s1
"""

RETURN = r"""
name:
  description: The snapshot; empty where the datastore is an external one.
  type: str
  returned: success, not in check mode
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s import snapshot
from ansible_collections.stagecraft.gitops.plugins.module_utils.k3s.host import Host, NodeError, exclusive


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["saved", "restored"], "required": True},
            "version": {"type": "str", "required": True},
            "name": {"type": "str"},
            "timeout": {"type": "int", "default": 300},
        },
        required_if=[("state", "restored", ["name"])],
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True)
    host, params = Host(), module.params
    try:
        with exclusive(host):
            if params["state"] == "saved":
                name = snapshot.save(host, params["version"], params["timeout"])
                module.exit_json(changed=bool(name), name=name)
            snapshot.restore(host, params["name"], params["version"], params["timeout"])
            module.exit_json(changed=True, name=params["name"])
    except NodeError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
