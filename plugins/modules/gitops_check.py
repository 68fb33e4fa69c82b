#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.gitops_check, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gitops_check
short_description: Check a GitOps repository without a cluster
version_added: 0.1.0
description:
  - Finds every Flux Kustomization that a cluster path reaches, builds its overlay as kustomize-controller does (with the Kustomization's own
    C(patches), C(images), C(components), C(targetNamespace), C(namePrefix), C(nameSuffix) and C(commonMetadata)), replaces variables strictly,
    and fails with all errors at once, each with file, line and the fix. Neither a cluster nor a network is used.
  - 'Errors are among others: YAML that is read otherwise than it looks (duplicate keys, tabs), overlays that do not build, variables without
    a value (C(postBuild.substitute) and the ConfigMaps and Secrets of C(substituteFrom) that the repository holds), fields and values that do
    not fit the schema of Kubernetes or of a CustomResourceDefinition, API versions that are gone, sources and dependencies that are not there,
    dependencies in a circle, an object that two Kustomizations apply, and secrets that are readable.'
  - Overlays that use rare features of kustomize are built by the program C(kustomize) (or C(kubectl kustomize)) on the controller. Charts of
    HelmReleases are not rendered. Rules in CEL need an API server and are left to it.
  - CustomResourceDefinitions are found in the repository, such as in Flux's own C(gotk-components.yaml), and where O(crds) says. Objects of
    kinds without a schema are named in RV(unchecked_kinds).
  - Results are kept under the digests of the files that they were made from, so a second check takes a fraction of the first. No value of a
    Secret is kept or told.
  - The same check runs from a shell, in CI, and as Git's pre-push hook. See the guide for operators.
requirements:
  - kubernetes-validate (Python library on the controller, which holds the schemas of Kubernetes)
author:
  - The stagecraft.gitops contributors (@stagecraft)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
attributes:
  check_mode:
    support: full
  diff_mode:
    support: N/A
    details: Nothing is changed.
  idempotent:
    support: full
options:
  repository:
    description: The repository's directory on the controller.
    type: path
    required: true
  paths:
    description: Cluster paths in it, such as V(clusters/production). By default every directory of C(clusters/) but C(base).
    type: list
    elements: str
    default: []
  commit:
    description: A commit, branch or tag to check instead of the files that are in the directory.
    type: str
  kubernetes_version:
    description: Kubernetes of the clusters. By default the play's C(stagecraft_kubernetes_version), else the newest that has schemas.
    type: str
  crds:
    description: Files and directories with CustomResourceDefinitions besides those in the repository.
    type: list
    elements: path
    default: []
  ignore:
    description: Rules to leave out, each as V(RULE), or V(RULE:GLOB) to leave it out for some files.
    type: list
    elements: str
    default: []
  cache:
    description: Where results are kept. By default C(gitops-check) in the collection's cache directory.
    type: path
  jobs:
    description: How many processes check at once. By default one for each processor.
    type: int
"""

EXAMPLES = r"""
- name: Check what production follows before it is pushed
  stagecraft.gitops.gitops_check:
    repository: "{{ playbook_dir }}/../infra"
    paths: [clusters/production]
    commit: HEAD

- name: Check every environment, with the definitions of cert-manager and without one rule in one directory
  stagecraft.gitops.gitops_check:
    repository: /srv/infra
    crds: [/srv/crds/cert-manager.yaml]
    ignore: ["secret-in-configmap:applications/demo/*"]
"""

RETURN = r"""
findings:
  description: Everything that was found, by file and line.
  type: list
  elements: dict
  returned: always
  contains:
    file:
      description: Path in the repository.
      type: str
      returned: always
    line:
      description: Line, from 1.
      type: int
      returned: always
    severity:
      description: V(error) makes the task fail, V(warning) does not.
      type: str
      returned: always
    rule:
      description: The name of the rule, for O(ignore).
      type: str
      returned: always
    message:
      description: What is wrong, and the fix.
      type: str
      returned: always
  sample:
    - file: clusters/production/applications.yaml
      line: 14
      severity: error
      rule: dependency-missing
      message: >-
        Kustomization flux-system/applications depends on Kustomization flux-system/infra, which is not there, so it waits for ever.
        Correct the name, or add it
kustomizations:
  description: The Flux Kustomizations that were built, as namespace/name.
  type: list
  elements: str
  returned: always
objects:
  description: How many objects they have.
  type: int
  returned: always
not_built:
  description: Flux Kustomizations that were not built, since their source is not this repository.
  type: list
  elements: str
  returned: always
unchecked_kinds:
  description: Kinds of which no schema is known.
  type: list
  elements: str
  returned: always
"""
