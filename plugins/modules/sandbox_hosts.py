#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Throw-away hosts on the local machine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sandbox_hosts
short_description: Throw-away hosts on the local machine, by systemd-nspawn
version_added: 0.1.0
description:
  - Makes named hosts that behave like small rented servers, with systemd as PID 1, sshd, disks, limits and a network
    of their own. Everything a role does on a server can be tried on them.
  - Runs on the machine that carries the hosts, as root.
  - What is made is written down before it is made, so that O(state=absent) removes all of it and nothing else, whenever
    and wherever a run before was killed.
  - Sandboxes with different names live side by side.
author:
  - The stagecraft.gitops contributors (@stagecraft)
requirements:
  - Linux with overlayfs, network namespaces and control groups (version 1 or 2)
  - systemd-nspawn, debootstrap, iproute2, the OpenSSH client (installed by O(install_packages) where there is apt-get)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
attributes:
  check_mode:
    support: full
    details: Nothing is written, and nothing is installed.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details: O(state=rebooted) reboots each time.
  platform:
    description: Platforms that it works for.
    support: full
    platforms: linux
options:
  name:
    description: Name of the sandbox. At most 20 lower-case letters, digits and dashes.
    type: str
    default: default
  state:
    description:
      - V(present) makes the hosts, and powers on those that are off, from their disks.
      - V(powered-off) pulls the plug; disks stay.
      - V(rebooted) reboots in an orderly way, and powers on what is off.
      - V(absent) pulls the plug and deletes the disks; with the last host everything else of the sandbox goes too.
    type: str
    choices: [present, absent, rebooted, powered-off]
    default: present
  hosts:
    description:
      - The hosts of the sandbox. Only O(state=present) looks at it; the other states apply to the hosts that exist.
      - A host that exists and is not listed stays as it is.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the host. At most 32 lower-case letters, digits and dashes.
        type: str
        required: true
      groups:
        description: Inventory groups that the host is in.
        type: list
        elements: str
        default: []
      memory_mb:
        description: Limit of its memory in MiB. V(0) is no limit.
        type: int
        default: 0
      cpus:
        description: Limit of its processor time in cores. V(0), or as many as the machine has, is no limit.
        type: float
        default: 0
      address:
        description: IPv4 address within the subnet of the sandbox. Chosen when not given.
        type: str
      environment:
        description:
          - Environment whose cluster the host belongs to. It is then in the inventory of that environment, in a directory of that
            name beside O(inventory), where C(stagecraft_sandbox_environment) names it.
          - A host without one is in all inventories.
        type: str
        default: ""
  only:
    description: Names of the hosts to act on. Empty for all.
    type: list
    elements: str
    default: []
  mirror:
    description:
      - Directory that is served to the hosts over HTTP, read-only.
      - Its C(apt/debian/bookworm) is their only package source.
    type: path
    required: true
  cache:
    description: Directory where the root that all hosts start from is kept between runs.
    type: path
    required: true
  inventory:
    description:
      - File that the inventory is written to. It is removed with the sandbox.
      - C(inventory/hosts.yml) in the state directory of the sandbox when not given.
    type: path
  group_vars:
    description: Directory that is linked as C(group_vars) beside an inventory in the state directory, and beside those of environments.
    type: path
  debian_mirror:
    description: Debian archive to make the root from. Taken from the machine's own apt sources when not given.
    type: str
  suite:
    description: Debian release of the hosts.
    type: str
    default: bookworm
  repository_port:
    description: Port of the HTTP server on the sandbox's address of the machine. Fixed when the sandbox is made.
    type: int
    default: 8480
  install_packages:
    description: Whether missing packages are installed with apt-get.
    type: bool
    default: true
  inotify_instances:
    description:
      - Least value of C(fs.inotify.max_user_instances), which counts for all hosts together.
      - A control plane needs about 26, a worker 17.
      - Put back when the last sandbox goes.
    type: int
    default: 1024
  inotify_watches:
    description: Least value of C(fs.inotify.max_user_watches), likewise.
    type: int
    default: 262144
  timeout:
    description: Seconds that a host gets to answer SSH or to reboot.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: One control plane and a worker
  stagecraft.gitops.sandbox_hosts:
    mirror: "{{ ansible_env.HOME }}/.cache/stagecraft/mirror"
    cache: "{{ ansible_env.HOME }}/.cache/stagecraft/sandbox"
    hosts:
      - {name: cp1, groups: [control_plane], memory_mb: 4096}
      - {name: w1, groups: [workers], memory_mb: 2048, cpus: 1}

- name: A power cut
  stagecraft.gitops.sandbox_hosts:
    mirror: "{{ ansible_env.HOME }}/.cache/stagecraft/mirror"
    cache: "{{ ansible_env.HOME }}/.cache/stagecraft/sandbox"
    state: powered-off
    only: [w1]
"""

RETURN = r"""
plan:
  description: The changes, in their order. Empty when there was nothing to do.
  returned: always
  type: list
  elements: dict
  sample: [{"kind": "host", "target": "w1", "action": "power-on", "before": "off", "after": "running"}]
hosts:
  description: The hosts of the sandbox by name, those that were not acted on too.
  returned: always
  type: dict
  sample: {"cp1": {"address": "10.87.12.11", "groups": ["control_plane"], "memory_mb": 4096, "cpus": 0}}
subnet:
  description: Subnet of the sandbox. Empty when it does not exist.
  returned: always
  type: str
  sample: 10.87.12.0/24
inventory:
  description: Path of the inventory.
  returned: always
  type: str
unlisted:
  description: Hosts that exist and are not in O(hosts). They stay as they are. Only O(state=present) looks for them.
  returned: always
  type: list
  elements: str
  sample: [w2]
restrict_oom_score_adj:
  description: Whether root lacks CAP_SYS_RESOURCE here, so that containerd must not lower oom_score_adj.
  returned: always
  type: bool
seconds:
  description: Time that each step took.
  returned: always
  type: dict
  sample: {"observe": 0.1, "apply": 1.2, "verify": 1.6}
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox.engine import Engine, Request, describe
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox.errors import SandboxError
from ansible_collections.stagecraft.gitops.plugins.module_utils.sandbox.spec import HostSpec

ARGUMENTS = {
    "name": {"type": "str", "default": "default"},
    "state": {"type": "str", "choices": ["present", "absent", "rebooted", "powered-off"], "default": "present"},
    "hosts": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "groups": {"type": "list", "elements": "str", "default": []},
            "memory_mb": {"type": "int", "default": 0},
            "cpus": {"type": "float", "default": 0},
            "address": {"type": "str"},
            "environment": {"type": "str", "default": ""},
        },
    },
    "only": {"type": "list", "elements": "str", "default": []},
    "mirror": {"type": "path", "required": True},
    "cache": {"type": "path", "required": True},
    "inventory": {"type": "path"},
    "group_vars": {"type": "path"},
    "debian_mirror": {"type": "str"},
    "suite": {"type": "str", "default": "bookworm"},
    "repository_port": {"type": "int", "default": 8480},
    "install_packages": {"type": "bool", "default": True},
    "inotify_instances": {"type": "int", "default": 1024},
    "inotify_watches": {"type": "int", "default": 262144},
    "timeout": {"type": "int", "default": 60},
}


def to_request(options: dict[str, Any]) -> Request:
    """Return what the engine is asked for."""
    return Request(
        name=options["name"],
        state=options["state"],
        hosts=tuple(HostSpec(**{**host, "groups": tuple(host["groups"])}) for host in options["hosts"]),
        only=tuple(options["only"]),
        mirror=Path(options["mirror"]),
        cache=Path(options["cache"]),
        inventory=Path(options["inventory"]) if options["inventory"] else None,
        group_vars=Path(options["group_vars"]) if options["group_vars"] else None,
        debian_mirror=options["debian_mirror"] or None,
        suite=options["suite"],
        port=options["repository_port"],
        install_packages=options["install_packages"],
        minimum={
            "fs.inotify.max_user_instances": options["inotify_instances"],
            "fs.inotify.max_user_watches": options["inotify_watches"],
        },
        timeout=float(options["timeout"]),
    )


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(ARGUMENTS, supports_check_mode=True)
    engine = Engine(to_request(module.params))
    try:
        outcome = engine.run(module.check_mode)
    except SandboxError as error:
        module.fail_json(msg=str(error), plan=describe(engine.outcome.plan))
    for warning in outcome.warnings:
        module.warn(warning)
    record = outcome.record
    hosts = {} if record is None else record.hosts
    module.exit_json(
        changed=bool(outcome.plan),
        plan=describe(outcome.plan),
        hosts={
            host.name: {
                "address": host.address,
                "groups": list(host.groups),
                "environment": host.environment,
                "memory_mb": host.memory_mb,
                "cpus": host.cpus,
            }
            for host in hosts.values()
        },
        subnet="" if record is None else record.subnet,
        inventory=str(outcome.inventory),
        unlisted=outcome.unlisted,
        restrict_oom_score_adj=outcome.restrict_oom_score_adj,
        seconds=outcome.seconds,
        diff={
            "before": "".join(
                f"{change.kind} {change.target}: {change.before}\n" for change in outcome.plan if change.kind != "file"
            ),
            "after": "".join(
                f"{change.kind} {change.target}: {change.after}\n" for change in outcome.plan if change.kind != "file"
            ),
        },
    )


if __name__ == "__main__":
    main()
