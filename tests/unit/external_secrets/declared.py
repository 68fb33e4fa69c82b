# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an admin declares of external secrets."""

from __future__ import annotations

from typing import Any

CLUSTER: dict[str, Any] = {
    "name": "openbao",
    "namespaces": ["shop"],
    "namespace_labels": {"secrets": "staging"},
    "vault": {
        "server": "https://bao.example.com:8200",
        "service_account": "external-secrets/eso",
        "ca": {"name": "openbao-ca", "namespace": "external-secrets"},
    },
}
OWN: dict[str, Any] = {
    "name": "openbao",
    "kind": "SecretStore",
    "namespace": "ci",
    "refresh_interval": 600,
    "vault": {"server": "https://bao.example.com:8200", "auth": "jwt", "role": "ci", "service_account": "ci"},
}
AWS: dict[str, Any] = {
    "name": "aws",
    "namespaces": ["shop"],
    "aws": {
        "region": "eu-central-1",
        "role": "arn:aws:iam::123456789012:role/staging",
        "service_account": "external-secrets/aws",
    },
}
AWS_KEY: dict[str, Any] = {
    "name": "aws-key",
    "namespaces": ["shop"],
    "aws": {"region": "eu-central-1", "access_key": {"name": "aws", "namespace": "external-secrets"}},
}
PASSWORD: dict[str, Any] = {
    "name": "db",
    "namespace": "shop",
    "store": "openbao",
    "data": {"password": {"key": "apps/shop", "property": "password", "version": "2"}},
}
ALL: dict[str, Any] = {
    "name": "all",
    "namespace": "shop",
    "store": "aws",
    "target": "everything",
    "type": "Opaque",
    "refresh_policy": "OnChange",
    "refresh_interval": "30m",
    "deletion_policy": "Delete",
    "extract": ["staging/shop"],
}
STORES = [CLUSTER, OWN, AWS, AWS_KEY]
SECRETS = [PASSWORD, ALL, {**PASSWORD, "namespace": "ci"}]
