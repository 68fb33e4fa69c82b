#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.kube_apply, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kube_apply
short_description: Bring objects of a cluster to their declared state
version_added: 0.1.0
description:
  - Applies many objects on a few kept connections, by server-side apply under a field manager of its own.
  - The objects are read by listing. One whose fields are all owned by O(field_manager), with the values of the manifest, is left alone
    without asking again. Of each other one the API server says in a dry run what an apply would make of it, and only what differs is
    applied. All objects that the server refuses are reported at once, before any is applied.
  - A conflict names the fields, the manager that owns them, and what can be done.
  - Namespaces and CustomResourceDefinitions come first; objects of a kind follow when its definition is established.
  - Every API server of Kubernetes 1.22 and newer takes server-side apply, for custom resources too. A kind that is served by an old
    aggregated API server may not (415 Unsupported Media Type); this is told with the object, and C(kubernetes.core.k8s) with its three-way
    merge on the client is the way for such an object.
  - With O(inventory) the applied objects are remembered in a ConfigMap, by name only, and with O(prune) those are removed that are no
    longer among the manifests.
author:
  - The stagecraft.gitops contributors (@stagecraft)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
  - stagecraft.gitops.api_access
attributes:
  check_mode:
    support: full
    details: The same dry run that decides in a real run. Where no API server answers yet, everything counts as new.
  diff_mode:
    support: full
    details: Shows the fields that O(field_manager) owns. The data of a Secret is not part of it.
  idempotent:
    support: full
options:
  manifests:
    description: Texts, YAML or JSON, each with one object or several, or objects as dictionaries. One of O(manifests) and O(src) is required.
    type: list
    elements: raw
    default: []
  src:
    description: Files on the controller, and directories of which all C(.yaml), C(.yml) and C(.json) files are read.
    type: list
    elements: path
    default: []
  field_manager:
    description: The name under which the fields are owned.
    type: str
    default: stagecraft.gitops
  force:
    description: Take fields over that another manager owns. Without it such a conflict fails and names the manager and the field.
    type: bool
    default: false
  preflight:
    description:
      - Ask the API server about new objects too before anything is written. Objects that are there already are always asked about.
      - V(false) halves the time that new objects take. One that is refused is then told after the others have been applied.
    type: bool
    default: true
  inventory:
    description: The ConfigMap that remembers what was applied. It is written before the objects are applied, and after those that are not
      wanted any more are removed.
    type: dict
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      namespace:
        description: Its namespace.
        type: str
        required: true
  prune:
    description:
      - Remove what O(inventory) lists and the manifests do not hold.
      - An object of which O(field_manager) owns no field any more stays, because somebody else has taken it over.
    type: bool
    default: false
  never_prune:
    description: Kinds that are never removed, because what they hold would go with them.
    type: list
    elements: str
    default: [Namespace, CustomResourceDefinition, PersistentVolumeClaim]
"""

EXAMPLES = r"""
- name: Apply the network's objects
  stagecraft.gitops.kube_apply:
    context: production
    manifests:
      - "{{ lookup('ansible.builtin.template', 'network.yaml.j2') }}"

- name: Apply all manifests of a directory, and remove what has gone from it
  stagecraft.gitops.kube_apply:
    src: ["{{ playbook_dir }}/manifests"]
    inventory: {name: base, namespace: kube-system}
    prune: true
"""

RETURN = r"""
objects:
  description: What was changed, or would be. V(adopt) takes fields over that had the wanted values already.
  type: list
  elements: dict
  returned: success
  sample: [{object: DaemonSet kube-system/kube-router, action: create}]
unchanged:
  description: How many objects were as wanted.
  type: int
  returned: success
  sample: 998
kept:
  description: What O(inventory) lists, is no longer wanted, and stays all the same, with the reason.
  type: list
  elements: dict
  returned: success
  sample: [{object: Namespace shop, reason: "Namespace is never pruned: what it holds would go with it"}]
seconds:
  description: How long it took.
  type: float
  returned: success
  sample: 0.21
"""
