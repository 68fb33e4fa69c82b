#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.secrets_leak_scan, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: secrets_leak_scan
short_description: Search commits for secrets before they are pushed
version_added: 0.1.0
description:
  - Looks into every file that the commits of a range bring (also into files that a later one removes again), into their messages, tags and the names of
    files.
  - Finds every known secret of O(secrets) as it is, escaped for URLs, JSON and YAML, as hex, as base64 at each alignment, wrapped or not, and in base64
    within base64. White space around a value does not count. Of a value with several lines each line of 16 characters or more counts, but for those of
    certificates and public keys, and for what files of a kind have in common, such as headings of keys or C(apiVersion). Besides,
    it finds Secrets whose values can be read, private keys (also in JSON) and access tokens.
  - What is found is told by file, line, commit, and by the name of the secret. The value is never told.
  - Values of fewer than 8 bytes are not looked for, since they are everywhere by chance; RV(weak) names them. What is encrypted or hashed cannot be
    found.
  - A secret that two environments have in common is a finding, too, unless O(shared) names it.
  - The same scan is a command for a shell and for your CI, and a part of the pre-push hook of M(stagecraft.gitops.gitops_check). M(stagecraft.gitops.promote)
    searches the files that its commit changes (gate C(leak)). See the guide.
author:
  - The stagecraft.gitops contributors (@stagecraft)
requirements:
  - git (on the controller)
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
  commits:
    description: A range such as V(origin/main..HEAD), or a revision, of which everything counts that no remote has.
    type: str
    default: HEAD
  secrets:
    description: The known secrets by environment, then by name. Values may be mappings and lists of any depth, such as a whole vault.
    type: dict
    default: {}
  shared:
    description: Names of secrets that environments may have in common, as they stand below the environment (V(shop.smtp_password)).
    type: list
    elements: str
    default: []
  ignore:
    description: Rules to leave out, each as V(RULE), or V(RULE:GLOB) to leave it out for some files.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Make sure that nothing secret is pushed
  stagecraft.gitops.secrets_leak_scan:
    repository: ~/infra
    commits: origin/main..HEAD
    secrets:
      staging: "{{ vault_staging }}"
      production: "{{ vault_production }}"
    ignore: ["private-key:tests/fixtures/*"]
"""

RETURN = r"""
findings:
  description: Everything that must not be pushed.
  returned: always
  type: list
  elements: dict
  sample:
    - file: clusters/staging/applications/web.yaml
      line: 12
      commit: 1f0c5bd
      rule: known-secret
      message: "the secret staging: shop.db.password stands here (base64). Take it out of the commit (git commit --amend, git rebase -i)"
problems:
  description: Secrets that environments have in common, a sentence each.
  returned: always
  type: list
  elements: str
  sample: []
weak:
  description: Secrets that are too short to be looked for, as a sentence.
  returned: always
  type: list
  elements: str
  sample: []
objects:
  description: How many files, messages and tags were searched.
  returned: always
  type: int
  sample: 42
bytes:
  description: How many bytes they have.
  returned: always
  type: int
  sample: 120340
secrets:
  description: How many secrets were known.
  returned: always
  type: int
  sample: 37
seconds:
  description: How long it took.
  returned: always
  type: float
  sample: 0.12
"""
