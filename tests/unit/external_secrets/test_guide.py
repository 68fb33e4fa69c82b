# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide's example fits together: what the cluster has, what the server lets in, and what the operator asks for."""

from __future__ import annotations

from typing import Any

import yaml
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.external_secrets.render import render
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.openbao import declaration

from tools.stages import ROOT

GUIDE = (ROOT / "docs" / "operator.md").read_text()


def blocks(heading: str) -> list[list[Any]]:
    """The documents of each YAML block below a heading."""
    section = GUIDE.partition(f"### {heading}\n")[2].partition("\n## ")[0].partition("\n### ")[0]
    return [list(yaml.safe_load_all(part.partition("```")[0])) for part in section.split("```yaml\n")[1:]]


def test_the_example_of_the_guide_fits_together() -> None:
    manifests, [server], [declared], [play] = blocks("External Secrets")
    openbao = blocks("OpenBao and Vault")[0][0]
    there = {(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in manifests}

    found = declaration.read(
        {
            "mounts": [],
            "audit": [],
            "auth_methods": server["openbao_auth_methods"],
            "policies": openbao["openbao_policies"],
            "secrets": [{"mount": "kv", **one} for one in openbao["openbao_secrets"]],
        }
    )
    store, secret = render("staging", declared["external_secrets_stores"], declared["external_secrets_secrets"])
    vault = store["spec"]["provider"]["vault"]
    login = vault["auth"]["kubernetes"]
    account = login["serviceAccountRef"]
    (method,) = found.auth_methods
    role = method.roles[login["role"]]
    assert login["mountPath"] == method.path
    assert account["audiences"] == [role["audience"]]
    assert role["bound_service_account_names"] == [account["name"]]
    assert role["bound_service_account_namespaces"] == [account["namespace"]]
    assert set(role["token_policies"]) <= set(found.policies)
    assert ("ServiceAccount", account["namespace"], account["name"]) in there
    authority = vault["caProvider"]
    assert (authority["type"], authority["namespace"], authority["name"]) in there
    fetched = secret["spec"]["data"][0]["remoteRef"]
    assert fetched["key"] == found.secrets[0].path
    assert fetched["property"] in found.secrets[0].data

    assert play[0]["roles"] == ["stagecraft.gitops.external_secrets"]
    (binding,) = (one for one in manifests if one["kind"] == "ClusterRoleBinding")
    assert {(one["kind"], one["namespace"], one["name"]) for one in binding["subjects"]} <= there
