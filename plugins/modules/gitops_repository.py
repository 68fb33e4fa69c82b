#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.gitops_repository, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gitops_repository
short_description: Keep generated files of a repository up to date, and leave those that people changed
version_added: 0.1.0
description:
  - Renders templates for all environments, and brings the result into a repository, by one commit that is pushed, or into a directory.
  - A file that is as it was generated is brought up to date. One that somebody changed, removed, or put there first is kept; the diff shows what
    would be changed in it, and RV(kept) says why it is kept. C(.stagecraft/scaffold.json) holds the digests that tell which is which.
  - A file that is not generated any more, such as those of the sample application, is removed where it is as it was generated, unless a kustomization
    that somebody changed names it. Files of environments that are not in O(environments) stay.
  - The file C(.env.NAME) of an environment is generated once and then belongs to its readers; only that of an environment in O(following) is brought up
    to date, as long as nobody changed it. Its variables are handed to the templates. A name or value in it that looks like a secret is refused, with its
    line.
author:
  - The stagecraft.gitops contributors (@stagecraft)
requirements:
  - git and the OpenSSH client (on the controller), for O(repository)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
attributes:
  check_mode:
    support: full
    details: The same comparison that decides in a real run.
  diff_mode:
    support: full
    details: Files that are kept are shown too, and named as kept.
  idempotent:
    support: full
options:
  templates:
    description:
      - A directory with Jinja2 templates, C(*.j2). Those below C(root) go to the repository's root, those below C(base) to C(clusters/base), those
        below C(environment) to C(clusters/NAME) of each environment; C(env.j2) becomes its C(.env.NAME).
    type: path
    required: true
  environments:
    description: The environments.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Its name. C(base) is taken.
        type: str
        required: true
      domain:
        description:
          - Its domain. Without it, O(domain), with the name before it but for C(production). It stands in C(.env.NAME), so a change of it arrives there only
            for an environment in O(following), and where nobody changed that file.
        type: str
      replicas:
        description: How many pods of the sample application.
        type: int
        default: 1
      requests:
        description: What such a pod asks for.
        type: dict
        default: {cpu: 10m, memory: 16Mi}
      limits:
        description: What such a pod may use at most.
        type: dict
        default: {memory: 32Mi}
  domain:
    description: The domain that environments without one get theirs from.
    type: str
    required: true
  following:
    description: Names of environments that the other options are meant for, and that get Flux's own directory right after this. Those that have it are known.
    type: list
    elements: str
    default: []
  not_secret:
    description: Names of variables in C(.env.NAME) that look like secrets, by their name or value, and are none.
    type: list
    elements: str
    default: []
  sealing:
    description:
      - Names of environments that get sealed secrets below O(sealing_folder) right after this; they get a stage for them. Those that have it are
        known, and keep it. A file C(.gitkeep) holds the folder in Git when there is no secret in it.
    type: list
    elements: str
    default: []
  sealing_folder:
    description:
      - Where these secrets stand, C(clusters/NAME/secrets) without it. A folder outside of C(clusters), which C(.sourceignore) hides from Flux, or with other
        generated files in it gets no stage.
    type: str
    default: ""
  sample_image:
    description: An image with busybox in it, for the sample application. Without it there is none.
    type: str
    default: ""
  directory:
    description: Where to write to. Nothing is committed. One of this and O(repository) is required.
    type: path
  repository:
    description: What to commit to.
    type: dict
    suboptions:
      url:
        description: Its address.
        type: str
        required: true
      branch:
        description: The branch.
        type: str
        default: main
  git:
    description: How the controller reaches the repository.
    type: dict
    default: {}
    suboptions:
      key_file:
        description: Private key that may push. Without it ssh chooses, by its agent and configuration.
        type: str
        default: ""
      known_hosts:
        description: The server's host keys, as lines of a known_hosts file. Without it the user's own known_hosts decides.
        type: str
        default: ""
      author_name:
        description: The name in the commit.
        type: str
        default: stagecraft.gitops
      author_email:
        description: The address in the commit.
        type: str
        default: stagecraft@localhost
      timeout:
        description: Seconds for each contact with the server.
        type: float
        default: 60.0
"""

EXAMPLES = r"""
- name: Generate two environments into a clone
  stagecraft.gitops.gitops_repository:
    templates: "{{ playbook_dir }}/templates/repository"
    domain: example.com
    directory: ~/environments
    environments:
      - name: staging
      - {name: production, replicas: 3}
"""

RETURN = r"""
commit:
  description: The branch's commit; empty with O(directory).
  returned: success
  type: str
  sample: 1f0c5bd5b6d1f6a7c2f0a4f0d7f3a5ad4b2a9c11
created:
  description: Files that were not there.
  returned: success
  type: list
  elements: str
  sample: [clusters/staging/stages.yaml]
updated:
  description: Files that nobody had changed, and that are generated differently now.
  returned: success
  type: list
  elements: str
  sample: [clusters/staging/environment.yaml]
removed:
  description: Files that nobody had changed, and that are not generated any more.
  returned: success
  type: list
  elements: str
  sample: [clusters/staging/applications/hello.yaml]
kept:
  description: Files that differ from what is generated and stay as they are.
  returned: success
  type: list
  elements: dict
  sample: [{path: clusters/staging/kustomization.yaml, reason: you changed it}]
"""
