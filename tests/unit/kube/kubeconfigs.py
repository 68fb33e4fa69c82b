# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kubeconfig texts for the tests: credentials that look real and a file as a long-time user has it."""

from __future__ import annotations

import base64

SECRET = "canary-0f3a9c"
CA = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nca\n-----END CERTIFICATE-----\n").decode()
CERTIFICATE = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nadmin\n-----END CERTIFICATE-----\n").decode()
KEY = base64.b64encode(
    b"-----BEGIN RSA PRIVATE KEY-----\n" + SECRET.encode() + b"\n-----END RSA PRIVATE KEY-----\n"
).decode()

ADMIN_CONF = f"""\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {CA}
    server: https://10.0.0.1:6443
  name: kubernetes
contexts:
- context:
    cluster: kubernetes
    user: kubernetes-admin
  name: kubernetes-admin@kubernetes
current-context: kubernetes-admin@kubernetes
kind: Config
preferences: {{}}
users:
- name: kubernetes-admin
  user:
    client-certificate-data: {CERTIFICATE}
    client-key-data: {KEY}
"""

FOREIGN = """\
# my clusters
apiVersion: v1
kind: Config
preferences:
  colors: true
clusters:
  # the old one, do not touch
  - name: work
    cluster: {server: "https://work.example.com", certificate-authority: /etc/ca.pem}   # by file
  - cluster:
      server: https://home.example.com:6443
      certificate-authority-data: >-
        QUJD
        REVG
    name: home
contexts:
  - name: work
    context: {cluster: work, user: me, namespace: team-a}
users:
  - name: me
    user:
      exec:
        apiVersion: client.authentication.k8s.io/v1
        command: get-token
        args: ["--cluster", 'work']

# the end
current-context: work
"""
