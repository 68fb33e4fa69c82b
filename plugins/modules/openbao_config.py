#!/usr/bin/python
# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action stagecraft.gitops.openbao_config, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: openbao_config
short_description: Configure OpenBao or HashiCorp Vault as declared
version_added: 0.1.0
description:
  - Brings secrets engines, auth methods, their roles, policies, secrets and audit devices of a server to what is declared, in one call. It looks at
    all of it, says everything that is wrong with the declaration or does not fit what is there, and only then changes what differs; then it looks
    again, so that a setting that the server ignores is told.
  - The server answers in its own spelling (times as seconds, lists in another order); that is not taken for a difference.
  - What is not declared stays. A setting of a role that is declared no more is reset. An engine or a method of another type is an error, never replaced.
  - A secret is written only if its value differs, and only if nobody else wrote it in between (check-and-set).
  - Settings that a server never answers, such as C(token_reviewer_jwt), are told to have changed by a slow digest in the method's description, and are
    always sent together with the others, which would clear them. Who may list the auth methods can try guesses against that digest, so a C(bindpass)
    should be random.
  - With O(escrow) it logs in by the root token the first time, makes a login of its own (AppRole C(auth/stagecraft), policy C(stagecraft)), puts that
    credential into the escrow, tries it, revokes the root token, and takes it out of the escrow. Interrupted anywhere, the next run goes on.
    Its tokens are revoked at the end of each run.
  - Values are in no result, diff, message or log.
author:
  - The stagecraft.gitops contributors (@stagecraft)
extends_documentation_fragment:
  - stagecraft.gitops.attributes
  - stagecraft.gitops.attributes.controller
  - stagecraft.gitops.openbao
  - stagecraft.gitops.openbao.server
attributes:
  check_mode:
    support: full
    details: A server that is not initialised yet counts as empty. Of one that is sealed nothing can be compared, which a warning says.
  diff_mode:
    support: full
    details: Values of secrets are not part of it.
  idempotent:
    support: full
options:
  escrow:
    description: The file that M(stagecraft.gitops.openbao_init) wrote.
    type: path
  recipients:
    description: Who can open the escrow, which is written anew when the root token goes. Needed with O(escrow).
    type: list
    elements: str
  identity_files:
    description: Files with age identities (or an SSH private key without passphrase) that open the escrow. Needed with O(escrow).
    type: list
    elements: path
  token_file:
    description: A file with a token to use instead of what is in the escrow, for a server that was initialised by other means.
    type: path
  revoke_root_token:
    description: Whether the root token is to be revoked when the server is configured.
    type: bool
    default: true
  mounts:
    description: Secrets engines.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where it is mounted.
        type: str
        required: true
      type:
        description: Its type.
        type: str
        default: kv
      version:
        description: Version of a KV engine; V(2) when not given.
        type: int
        choices: [1, 2]
      description:
        description: What it is for.
        type: str
        default: ""
      default_lease_ttl:
        description: How long leases hold, as V(20m), V(72h) or seconds; V(0) is the server's default.
        type: raw
      max_lease_ttl:
        description: How long leases can be renewed.
        type: raw
      max_versions:
        description: Versions that a KV engine keeps of each secret.
        type: int
      cas_required:
        description: Whether a KV engine takes writes only with the number of the version that they follow.
        type: bool
      delete_version_after:
        description: Time after which a KV engine deletes a version.
        type: raw
  auth_methods:
    description: Ways to log in.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where it is mounted below C(auth/). V(stagecraft) is kept for this module.
        type: str
        required: true
      type:
        description: Its type, such as V(kubernetes), V(jwt) or V(approle).
        type: str
        required: true
      description:
        description: What it is for.
        type: str
        default: ""
      default_lease_ttl:
        description: How long tokens hold where the role does not say.
        type: raw
      max_lease_ttl:
        description: How long tokens can be renewed.
        type: raw
      config:
        description: The method's own configuration, in the server's words. For types V(kubernetes), V(jwt), V(oidc) and V(ldap).
        type: dict
        default: {}
      roles:
        description:
          - Roles by name, with their settings in the server's words. For types V(kubernetes), V(jwt), V(oidc) and V(approle).
          - A role of type V(kubernetes) has to say which accounts, which namespaces and which C(audience) it takes; one of V(jwt) C(bound_audiences) and
            C(user_claim).
        type: dict
        default: {}
  policies:
    description: Policies, name to text.
    type: dict
    default: {}
  secrets:
    description: Secrets of KV engines of version 2. Take the values from a vault.
    type: list
    elements: dict
    default: []
    suboptions:
      mount:
        description: The engine.
        type: str
        default: kv
      path:
        description: Where it stands in the engine.
        type: str
        required: true
      data:
        description: All its values by key. A key that is not here is not in the new version.
        type: dict
        required: true
  audit:
    description: Audit devices. HashiCorp Vault only; OpenBao takes them from its configuration file and refuses them here.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Its name.
        type: str
        required: true
      type:
        description: Its type.
        type: str
        default: file
      description:
        description: What it is for.
        type: str
        default: ""
      options:
        description: Its options in the server's words.
        type: dict
        default: {}
  timeout:
    description: Seconds for each answer.
    type: float
    default: 60.0
"""

EXAMPLES = r"""
- name: Configure the server of staging
  stagecraft.gitops.openbao_config:
    url: https://bao.staging.example.com:8200
    ca_file: ~/pki/staging-ca.crt
    environment: staging
    escrow: ~/keys/staging-openbao.age
    recipients: "{{ recipients }}"
    identity_files: [~/.config/age/identity.txt]
    mounts:
      - {path: kv, max_versions: 10, cas_required: true}
    policies:
      eso-staging: |
        path "kv/data/apps/*" { capabilities = ["read"] }
        path "kv/metadata/apps/*" { capabilities = ["read", "list"] }
    auth_methods:
      - path: kubernetes-staging
        type: kubernetes
        config:
          kubernetes_host: https://staging.example.com:6443
          kubernetes_ca_cert: "{{ lookup('ansible.builtin.file', 'staging-kubernetes-ca.crt') }}"
          token_reviewer_jwt: "{{ vault_reviewer_jwt }}"
          disable_local_ca_jwt: true
        roles:
          eso:
            bound_service_account_names: [eso]
            bound_service_account_namespaces: [external-secrets]
            audience: openbao-staging
            token_policies: [eso-staging]
            token_ttl: 20m
    secrets:
      - path: apps/shop
        data: {password: "{{ vault_shop_password }}"}
"""

RETURN = r"""
changes:
  description: What was changed, or would be.
  returned: success
  type: list
  elements: dict
  sample:
    - {kind: role, target: auth/kubernetes-staging/eso, action: update}
steps:
  description: What was done so that the root token is not needed any more, or would be.
  returned: success
  type: list
  elements: str
  sample: [credential, revoke_root_token]
version:
  description: The server's version; empty where it is not initialised yet.
  returned: success
  type: str
  sample: 2.7.2
"""
