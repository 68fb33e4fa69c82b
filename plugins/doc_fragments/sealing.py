# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that seal into a repository or read sealed secrets from it."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragments `stagecraft.gitops.sealing.files`, `.certificate` and `.backup`."""

    FILES = r"""
requirements:
  - git and the OpenSSH client (on the controller), for O(repository)
options:
  directory:
    description: A directory with the repository's files. Nothing is committed. One of this and O(repository) is required.
    type: path
  repository:
    description: The remote repository. All changes are one commit that is pushed.
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
    description: How the controller reaches O(repository).
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

    CERTIFICATE = r"""
requirements:
  - cryptography >= 45 (on the controller)
options:
  environment:
    description: The environment that is sealed for. Without it C(stagecraft_environment) is taken.
    type: str
  certificate:
    description:
      - The certificate to seal with, in PEM form. Its common name must be O(environment); one without a name needs O(fingerprint).
      - A certificate that is expired, or of another environment, is refused.
    type: str
  certificate_path:
    description:
      - Where the certificate stands in the repository, so that everybody can seal for the environment.
      - With O(certificate) it is written there; without, it is read from there. One of the two is required.
    type: str
  fingerprint:
    description: The fingerprint that the certificate must have (C(SHA256:) and 43 characters, as M(stagecraft.gitops.sealed_secrets_key) returns it).
    type: str
    default: ""
  mac_key:
    description:
      - 32 random bytes as base64 (C(openssl rand -base64 32)) from the same vault as the plaintexts. With it, ciphertexts that still hold their
        values are recognised without the private key. It is derived anew for each environment.
      - One of this and O(backup) with the certificate's private key is required.
    type: str
"""

    BACKUP = r"""
requirements:
  - pyrage >= 1.2 (on the controller)
options:
  backup:
    description:
      - The environment's backup of sealing keys, as M(stagecraft.gitops.sealed_secrets_key) writes it. With it ciphertexts are opened.
      - Its private keys stay in the memory of this process.
    type: path
  identity_files:
    description: Files with age identities (or an SSH private key without passphrase) that open O(backup).
    type: list
    elements: path
    default: []
"""
