# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gate on sealed secrets: a promotion goes on only where the target's own key opens what it needs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import crypto, custody, keys
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.backup import Backup, KeyRecord

from tests.unit.release.lab import DEPLOYMENT, NOW, Lab

IDENTITIES = [pyrage.x25519.Identity.generate() for _ in range(2)]
OWN, STAGING = (keys.generate(name, NOW - timedelta(days=1), 2048) for name in ("production", "staging"))
SEALED = "clusters/production/secrets/podinfo.yaml"
VALUE = "swordfish-gate"
NEEDS = DEPLOYMENT + (
    "          env:\n            - {name: PASSWORD, valueFrom: {secretKeyRef: {name: podinfo, key: password}}}\n"
)


def sealed(key: keys.SealingKey, item: str = "password", name: str = "podinfo") -> str:
    blob = crypto.seal(key.certificate.key, VALUE.encode(), crypto.label("strict", "apps", name))
    return (
        "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\n"
        f"metadata: {{name: {name}, namespace: apps}}\n"
        f"spec:\n  encryptedData:\n    {item}: {crypto.encode(blob)}\n"
        f"  template:\n    metadata: {{name: {name}, namespace: apps}}\n"
    )


@pytest.fixture
def gates(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "identity.txt").write_text(str(IDENTITIES[0]))
    record = KeyRecord(OWN, "active", "own", "kube-system")
    recipients = [str(one.to_public()) for one in IDENTITIES]
    custody.write_backup(tmp_path / "keys.age", Backup("production", (record,)), recipients, IDENTITIES)
    return {"sealed": {"backup": str(tmp_path / "keys.age"), "identity_files": [str(tmp_path / "identity.txt")]}}


def answer(result: dict[str, Any]) -> tuple[str, str]:
    (found,) = [(one["status"], one["detail"]) for one in result["gates"] if one["name"] == "sealed"]
    return found


def test_what_the_targets_key_opens_passes(lab: Lab, gates: dict[str, Any]) -> None:
    lab.commit({"clusters/base/podinfo/deployment.yaml": NEEDS, SEALED: sealed(OWN)})
    result = lab.promote(gates=gates)
    assert result["changed"] is True
    assert answer(result) == ("pass", "1 open")
    assert "sealed=pass" in lab.message()


def test_what_was_sealed_for_another_environment_is_refused_and_no_value_is_shown(
    lab: Lab, gates: dict[str, Any]
) -> None:
    lab.commit({"clusters/base/podinfo/deployment.yaml": NEEDS, SEALED: sealed(STAGING)})
    head = lab.head()
    result = lab.promote(gates=gates, force=True, reason="it is urgent")
    assert result["failed"]
    assert lab.head() == head, "force does not make it open"
    status, detail = answer(result)
    assert status == "fail"
    assert SEALED in detail
    assert "item password" in detail
    assert VALUE not in str(result)


def test_an_item_that_the_workload_needs_and_is_not_sealed_is_refused(lab: Lab, gates: dict[str, Any]) -> None:
    lab.commit({"clusters/base/podinfo/deployment.yaml": NEEDS, SEALED: sealed(OWN, "user")})
    status, detail = answer(lab.promote(gates=gates))
    assert status == "fail"
    assert "it has no item password" in detail


def test_what_nobody_needs_does_not_keep_a_promotion_back(lab: Lab, gates: dict[str, Any]) -> None:
    other = "clusters/production/secrets/other.yaml"
    lab.commit({"clusters/base/podinfo/deployment.yaml": NEEDS, SEALED: sealed(OWN), other: sealed(STAGING, name="x")})
    assert answer(lab.promote(gates=gates)) == ("pass", "1 open")


def test_without_a_backup_it_is_not_asked(lab: Lab) -> None:
    lab.commit({"clusters/base/podinfo/deployment.yaml": NEEDS, SEALED: sealed(STAGING)})
    assert answer(lab.promote()) == ("off", "")


def test_the_backup_of_another_environment_and_none_are_told(lab: Lab, gates: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="it holds the keys of production, wanted those of staging"):
        lab.promote(source="production", target="staging", gates=gates)
    (tmp_path / "keys.age").unlink()
    with pytest.raises(ReleaseError, match="wanted a backup of sealing keys, found no file"):
        lab.promote(gates=gates)
    with pytest.raises(ReleaseError, match="wanted identity_files"):
        lab.promote(gates={"sealed": {"backup": "x"}})
