#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_preflight
short_description: Say everything that speaks against a host, before anything is changed
version_added: 0.1.0
author:
  - The stagecraft.gitops contributors (@stagecraft-gitops)
description:
  - Opens one SSH connection to the host, runs one POSIX C(sh) script that only reads, and compares what it finds with
    O(requirements). All problems are reported at once, each with what was wanted, what was found and what to do.
  - The host needs no Python for it. With C(ansible_connection=local) the script runs on the controller itself.
  - Traces of a cluster are no problem on a host whose C(/var/lib/stagecraft/cluster.json) names the same environment, for then
    they are its own; used ports are none there where one of the cluster's programs or a pod listens on them.
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: It changes nothing.
  idempotent:
    support: full
requirements:
  - paramiko >= 4 (on the controller)
options:
  environment:
    description:
      - The environment that the host belongs to. Without it the variable C(stagecraft_environment) is taken.
    type: str
  fail_on_problems:
    description:
      - Whether a host with problems fails the task. With V(false) they are only returned.
    type: bool
    default: true
  requirements:
    description:
      - What the host must have.
    type: dict
    suboptions:
      minimum_cpus:
        description: Number of CPUs, a cgroup's limit counted in.
        type: int
        default: 1
      minimum_memory_mb:
        description: MiB of memory, a cgroup's limit counted in.
        type: int
        default: 0
      minimum_disk_mb:
        description: MiB free on the file system of C(/var/lib).
        type: int
        default: 0
      max_time_skew:
        description: Seconds by which the host's clock may differ from the controller's.
        type: float
        default: 2.0
      free_ports:
        description: TCP ports, or ranges such as V(2379-2380), on which nothing may listen.
        type: list
        elements: str
        default: []
      open_ports:
        description:
          - What the firewall must let in, in words, for example V(6443/tcp from 192.0.2.0/24). It is named to the admin where
            C(ufw), C(firewalld) or C(shorewall) is in charge.
        type: list
        elements: str
        default: []
      supported_os:
        description: C(ID) and C(VERSION_ID) of C(/etc/os-release); V(debian 12) stands for every 12.x, V(debian) for all.
        type: list
        elements: str
        default:
          - debian 12
          - debian 13
          - ubuntu 22.04
          - ubuntu 24.04
          - ubuntu 26.04
      architectures:
        description: Architectures, in Go's words.
        type: list
        elements: str
        default: [amd64, arm64]
      minimum_cgroup_version:
        description: V(2) to refuse hosts with cgroup version 1.
        type: int
        choices: [1, 2]
        default: 1
      cgroup_v1_setting:
        description:
          - The setting by which the kubelet starts with cgroup version 1 all the same. The refusal names it; where such hosts are not
            refused, a warning does.
        type: str
        default: ""
      kernel_modules:
        description: Kernel modules that must be loaded, built in or available.
        type: list
        elements: str
        default: [overlay, br_netfilter]
      minimum_python:
        description: Version of C(python3) that must be there; empty where none is needed.
        type: str
        default: "3.9"
      ignored_leftovers:
        description:
          - Traces that are known and may stay, by the name in the message, for example V(docker).
        type: list
        elements: str
        default: []
seealso:
  - module: stagecraft.gitops.host_state
"""

EXAMPLES = r"""
- name: Look at the host before anything is changed
  stagecraft.gitops.host_preflight:
    requirements:
      minimum_cpus: 2
      minimum_memory_mb: 1700
      free_ports: [6443, 2379-2380, 10250]

- name: Only look
  stagecraft.gitops.host_preflight:
    fail_on_problems: false
  register: look
"""

RETURN = r"""
facts:
  description: What the host is.
  returned: always
  type: dict
  contains:
    architecture:
      description: In Go's words.
      type: str
      sample: amd64
    os_id:
      description: C(ID) of C(/etc/os-release).
      type: str
      sample: debian
    os_version:
      description: C(VERSION_ID) of C(/etc/os-release).
      type: str
      sample: "12"
    os_family:
      description: V(Debian), V(RedHat), V(Suse) or empty.
      type: str
      sample: Debian
    cpus:
      description: Number of CPUs.
      type: int
      sample: 8
    memory_mb:
      description: MiB of memory.
      type: int
      sample: 32089
    disk_mb:
      description: MiB free on the file system of C(/var/lib).
      type: int
      sample: 187000
    cgroup_version:
      description: V(1) or V(2).
      type: int
      sample: 2
    time_skew:
      description: Seconds by which the host's clock is ahead; 0.0 where the difference is within the time of the look.
      type: float
      sample: 0.0
    firewall_manager:
      description: V(ufw), V(firewalld), V(shorewall) or empty.
      type: str
      sample: ""
    python:
      description: Path of C(python3); empty where there is none.
      type: str
      sample: /usr/bin/python3
    listening:
      description: Ports that something listens on, with C(protocol), C(address), C(port), C(process), C(pid) and C(pod), which says whether it runs in one.
      type: list
      elements: dict
    leftovers:
      description: Paths found, by the name of what they are traces of.
      type: dict
    marker:
      description: Content of C(/var/lib/stagecraft/cluster.json); null where there is none.
      type: dict
problems:
  description: What speaks against the host.
  returned: always
  type: list
  elements: dict
  contains:
    code:
      description: A stable name.
      type: str
      sample: memory
    wanted:
      description: What was wanted.
      type: str
      sample: at least 1700 MiB of memory
    found:
      description: What was found.
      type: str
      sample: "900"
    fix:
      description: What to do.
      type: str
      sample: take a machine with more memory
notes:
  description: What the admin should know, though it is no reason to refuse the host.
  returned: always
  type: list
  elements: str
"""
