#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.flux_bootstrap, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: flux_bootstrap
short_description: Make a cluster follow a Git repository by Flux, or take Flux away
version_added: 0.1.0
description:
  - Looks at the cluster and at the repository, plans, and carries the plan out. Installs the controllers and their definitions where they are not
    there; makes an ed25519 deploy key, which is kept in the cluster only; commits what Flux needs to manage itself, on top of the branch and in one push; makes
    the cluster follow the repository; and waits until Flux has applied that commit.
  - Once Flux follows the repository the cluster is not written to any more. Another version, or other settings, are a commit. Before one that
    takes an old API version out of a definition, all objects are stored in the newest one.
  - Whose Flux it is, is found out first. One by Helm or Flux Operator, one that somebody else installed, one that the C(flux) command line bootstrapped
    (also from the same repository, branch and path), and one that follows another repository or branch is refused; one that follows another
    path is refused whatever O(takeover) says, for it is another environment's. That holds for setting up and for taking away.
  - Taking Flux away leaves everything that it applied. Controllers go first, then the finalizers of their objects, the definitions, and the
    namespace. A deploy key that was allowed on the Git server by O(forge) is forgotten there first, with O(forge); of another one RV(left) says
    where it is to be deleted.
author:
  - The stagecraft.gitops contributors (@stagecraft)
requirements:
  - git and the OpenSSH client (on the controller)
  - cryptography (on the controller)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
  - stagecraft.gitops.api_access
attributes:
  check_mode:
    support: full
    details: The repository is read, nothing is pushed. Where no kubeconfig knows the cluster yet, everything counts as new.
  diff_mode:
    support: full
    details: Names each step. Keys are never part of it.
  idempotent:
    support: full
options:
  state:
    description: V(absent) takes Flux away.
    type: str
    choices: [present, absent]
    default: present
  environment:
    description: Name of the environment. The deploy key and the commits carry it.
    type: str
    required: true
  version:
    description: Release of Flux. Required with O(state=present).
    type: str
  manifests:
    description: The release's C(manifests.tar.gz) on the controller. Required with O(state=present).
    type: path
  components:
    description: The controllers. The first two are always needed; one whose kinds are in use in the cluster is not taken out.
    type: list
    elements: str
    default: [source-controller, kustomize-controller, helm-controller, notification-controller]
  namespace:
    description: Where Flux runs. The Secret and the root objects have its name.
    type: str
    default: flux-system
  registry:
    description: Registry and folder of the controllers' images.
    type: str
    default: ghcr.io/fluxcd
  cluster_domain:
    description: The cluster's DNS domain.
    type: str
    default: cluster.local
  network_policy:
    description: Close the namespace for other pods, but for metrics and webhooks.
    type: bool
    default: true
  image_pull_secret:
    description: Name of a Secret in O(namespace) for a registry that asks for a login.
    type: str
    default: ""
  tolerations:
    description: Keys of taints that the controllers tolerate.
    type: list
    elements: str
    default: []
  log_level:
    description: How much the controllers say.
    type: str
    choices: [debug, info, error]
    default: info
  concurrency:
    description: >-
      Kustomizations that are worked on at the same time. V(0) chooses by how many Flux Kustomizations the path has, but for
      Flux's own.
    type: int
    default: 0
  scratch_size:
    description: >-
      Size of kustomize-controller's scratch space, which is in memory and counts towards the controller's limit; that is raised by what goes beyond
      C(256Mi). Empty or V(0) chooses O(concurrency) times the size of the repository unpacked, rounded up to a power of two, at least C(256Mi).
    type: str
    default: ""
  repository:
    description: What is followed. With O(state=absent) it tells this environment's Flux from another one's.
    type: dict
    required: true
    suboptions:
      url:
        description: C(ssh://) address, or C(https://) for one that everybody may read.
        type: str
        required: true
      branch:
        description: The branch.
        type: str
        default: main
      path:
        description: The environment's directory.
        type: str
        required: true
  git:
    description: How the controller itself reaches the repository.
    type: dict
    default: {}
    suboptions:
      key_file:
        description: Private key that may push. Without it ssh chooses, by its agent and configuration.
        type: str
        default: ""
      known_hosts:
        description: The server's host keys, as lines of a known_hosts file. Flux gets the same. Required for C(ssh://).
        type: str
        default: ""
      author_name:
        description: The name in the commits.
        type: str
        default: stagecraft.gitops
      author_email:
        description: The address in the commits.
        type: str
        default: stagecraft@localhost
      timeout:
        description: Seconds for each contact with the server.
        type: float
        default: 60.0
  source_interval:
    description: How often Flux looks at the repository.
    type: str
    default: 1m0s
  sync_interval:
    description: How often Flux compares the cluster with what it has applied.
    type: str
    default: 10m0s
  forge:
    description: The API of the Git server, to allow the deploy key there. Without it, RV(public_key) is to be allowed by hand.
    type: dict
    suboptions:
      type:
        description: V(gitea) is right for Forgejo too.
        type: str
        choices: [gitea]
        default: gitea
      url:
        description: Root of the server.
        type: str
        required: true
      token_file:
        description: File on the controller with a token that may administer the repository.
        type: str
        required: true
  takeover:
    description: >-
      Take over, or with O(state=absent) take away, a Flux that somebody else installed, that the C(flux) command line bootstrapped, or that
      follows another repository or branch. Never one that Flux Operator manages, and one of Helm's is taken over only once its release is uninstalled.
    type: bool
    default: false
  timeout:
    description: Seconds until Flux has to have applied the commit, or to be gone.
    type: float
    default: 300.0
"""

EXAMPLES = r"""
- name: Follow the environment's directory
  stagecraft.gitops.flux_bootstrap:
    environment: staging
    version: 2.9.4
    manifests: /var/cache/flux/manifests.tar.gz
    repository:
      url: ssh://git@git.example.com/infra/environments.git
      path: clusters/staging
    git:
      known_hosts: "{{ lookup('ansible.builtin.file', 'git.example.com.known_hosts') }}"

- name: Take Flux away, and leave the applications
  stagecraft.gitops.flux_bootstrap:
    state: absent
    environment: staging
    repository:
      url: ssh://git@git.example.com/infra/environments.git
      path: clusters/staging
"""

RETURN = r"""
state:
  description: Whose Flux was found, C(absent), C(unfinished), C(plain), C(bootstrapped), C(foreign), C(helm) or C(flux-operator).
  returned: when O(state=present)
  type: str
  sample: bootstrapped
steps:
  description: What was done, or would be. Empty when there was nothing to do.
  returned: success
  type: list
  elements: dict
  sample: [{action: install, target: "Flux v2.9.4, namespace flux-system", before: absent, after: installed}]
left:
  description: What is left outside of the cluster, a sentence for each; such as a deploy key that the Git server still allows.
  returned: when O(state=absent)
  type: list
  elements: str
  sample: []
commit:
  description: The branch's commit that Flux has applied; in check mode, the branch's commit.
  returned: when O(state=present)
  type: str
  sample: 1f0c5bd5b6d1f6a7c2f0a4f0d7f3a5ad4b2a9c11
public_key:
  description: Public half of the deploy key; empty where the cluster has none.
  returned: success
  type: str
  sample: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH5c flux-staging
seconds:
  description: How long Flux took to apply the commit.
  returned: when O(state=present) and not in check mode
  type: float
  sample: 4.2
"""
