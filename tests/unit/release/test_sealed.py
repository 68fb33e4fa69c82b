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
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.kube.errors import ApiError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.applied import Applied
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.errors import ReleaseError
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates import sealed as gate_sealed
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.release.gates.gate import Verdict
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import crypto, custody, keys
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.backup import Backup, KeyRecord

from tests.unit.release.lab import DEPLOYMENT, NOW, Lab

IDENTITIES = [pyrage.x25519.Identity.generate() for _ in range(2)]
OWN, STAGING = (keys.generate(name, NOW - timedelta(days=1), 2048) for name in ("production", "staging"))
OLD = keys.generate("production", NOW - timedelta(days=9), 2048)
SEALED = "clusters/production/secrets/podinfo.yaml"
VALUE = "swordfish-gate"
NEEDS = DEPLOYMENT + (
    "          env:\n            - {name: PASSWORD, valueFrom: {secretKeyRef: {name: podinfo, key: password}}}\n"
)


def sealed(
    key: keys.SealingKey,
    item: str = "password",
    name: str = "podinfo",
    written: str = ", namespace: apps",
    scope: crypto.Scope = "strict",
) -> str:
    """A secret for the namespace apps; `written` is what stands of that in the file."""
    blob = crypto.seal(key.certificate.key, VALUE.encode(), crypto.label(scope, "apps", name))
    more = "" if scope == "strict" else f", annotations: {{sealedsecrets.bitnami.com/{scope}: 'true'}}"
    return (
        "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\n"
        f"metadata: {{name: {name}{written}{more}}}\n"
        f"spec:\n  encryptedData:\n    {item}: {crypto.encode(blob)}\n"
        f"  template:\n    metadata: {{name: {name}, namespace: apps}}\n"
    )


@pytest.fixture
def gates(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "identity.txt").write_text(str(IDENTITIES[0]))
    records = (KeyRecord(OLD, "retired", "old", "kube-system"), KeyRecord(OWN, "active", "own", "kube-system"))
    recipients = [str(one.to_public()) for one in IDENTITIES]
    custody.write_backup(tmp_path / "keys.age", Backup("production", records), recipients, IDENTITIES)
    return {"sealed": {"backup": str(tmp_path / "keys.age"), "identity_files": [str(tmp_path / "identity.txt")]}}


def answer(result: dict[str, Any]) -> tuple[str, str]:
    (found,) = [(one["status"], one["detail"]) for one in result["gates"] if one["name"] == "sealed"]
    return found


def test_what_the_targets_key_opens_passes(lab: Lab, gates: dict[str, Any]) -> None:
    lab.commit({"clusters/base/podinfo/deployment.yaml": NEEDS, SEALED: sealed(OWN)})
    result = lab.promote(gates=gates)
    assert result["changed"] is True
    assert answer(result) == ("pass", "1 open: apps/podinfo")
    assert "sealed=pass" in lab.message()


@pytest.mark.parametrize(("key", "status"), [(OWN, "pass"), (STAGING, "fail")])
def test_what_a_generated_repository_keeps_from_flux_hides_no_sealed_secret(
    lab: Lab, gates: dict[str, Any], key: keys.SealingKey, status: str
) -> None:
    ignored = Path(__file__).resolve().parents[3] / "roles/gitops_repository/templates/repository/root/.sourceignore.j2"
    files = {".sourceignore": ignored.read_text(), SEALED: sealed(key)}
    lab.commit({"clusters/base/podinfo/deployment.yaml": NEEDS, **files})
    found, detail = answer(lab.promote(gates=gates))
    assert found == status
    assert SEALED in detail if status == "fail" else detail == "1 open: apps/podinfo"


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


def test_what_the_target_applies_has_to_open_even_if_no_workload_of_the_plan_needs_it(
    lab: Lab, gates: dict[str, Any]
) -> None:
    other = "clusters/production/secrets/other.yaml"
    lab.commit({"clusters/base/podinfo/deployment.yaml": NEEDS, SEALED: sealed(OWN), other: sealed(STAGING, name="x")})
    status, detail = answer(lab.promote(gates=gates))
    assert status == "fail"
    assert f"SealedSecret apps/x ({other}:1), item password" in detail
    assert detail.endswith("; 1 open: apps/podinfo")


@pytest.mark.parametrize(
    "need",
    [
        "          env:\n            - {name: PASSWORD, valueFrom: {secretKeyRef: {name: lost, key: password}}}\n",
        "          envFrom:\n            - secretRef: {name: lost}\n",
        "      volumes:\n        - {name: lost, secret: {secretName: lost}}\n",
        "      imagePullSecrets:\n        - {name: lost}\n",
    ],
)
def test_a_secret_that_nothing_makes_is_refused(lab: Lab, gates: dict[str, Any], need: str) -> None:
    lab.commit({"clusters/base/podinfo/deployment.yaml": DEPLOYMENT + need, SEALED: sealed(OWN)})
    head = lab.head()
    assert answer(lab.promote(gates=gates)) == (
        "fail",
        "nothing makes the Secret apps/lost, which a workload needs, and no cluster is named that could have it. Seal it"
        " with sealed_secret, or name it in the gate's elsewhere; 1 open: apps/podinfo",
    )
    assert lab.head() == head
    allowed = {"sealed": {**gates["sealed"], "elsewhere": ["apps/los*"]}}
    assert answer(lab.promote(gates=allowed)) == ("pass", "1 open: apps/podinfo")


@pytest.mark.parametrize(
    "maker",
    [
        "apiVersion: v1\nkind: Secret\nmetadata: {name: lost, namespace: apps}\n",
        "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\n"
        "metadata: {name: x, namespace: apps}\nspec: {target: {name: lost}}\n",
        "apiVersion: cert-manager.io/v1\nkind: Certificate\n"
        "metadata: {name: x, namespace: apps}\nspec: {secretName: lost}\n",
    ],
)
def test_what_another_object_makes_need_not_be_sealed(lab: Lab, gates: dict[str, Any], maker: str) -> None:
    need = "          envFrom:\n            - secretRef: {name: lost}\n"
    lab.commit({"clusters/base/podinfo/deployment.yaml": DEPLOYMENT + need, "clusters/production/other.yaml": maker})
    assert answer(lab.promote(gates=gates)) == ("pass", "0 open")


def test_a_sealed_secret_in_a_file_that_cannot_be_read_is_refused(lab: Lab, gates: dict[str, Any]) -> None:
    broken = sealed(OWN).replace("spec:\n", "spec: {\n")
    lab.commit({"clusters/base/podinfo/deployment.yaml": NEEDS, SEALED: broken})
    status, detail = answer(lab.promote(gates=gates))
    assert status == "fail"
    assert f"{SEALED}:" in detail
    assert "nothing makes the Secret apps/podinfo" in detail
    lab.commit({"clusters/base/podinfo/deployment.yaml": DEPLOYMENT})
    assert answer(lab.promote(gates=gates))[0] == "fail", "nobody needs it, and yet nobody knows whether it opens"


def test_one_in_the_shared_base_gets_the_namespace_of_kustomize_and_must_open_there(
    lab: Lab, gates: dict[str, Any]
) -> None:
    base = {
        "clusters/base/podinfo/deployment.yaml": NEEDS,
        "clusters/base/podinfo/kustomization.yaml": "resources: [deployment.yaml, sealed.yaml]\n",
    }
    file = "clusters/base/podinfo/sealed.yaml"
    lab.commit({**base, file: sealed(STAGING, written="")})
    status, detail = answer(lab.promote(gates=gates))
    assert status == "fail"
    assert f"SealedSecret apps/podinfo ({file}:1), item password" in detail
    lab.commit({file: sealed(OWN, written="")})
    assert answer(lab.promote(gates=gates)) == ("pass", "1 open: apps/podinfo")


def test_a_namespace_that_kustomize_changes_closes_a_strict_secret_and_not_a_cluster_wide_one(
    lab: Lab, gates: dict[str, Any]
) -> None:
    overlay = "clusters/production/secrets/kustomization.yaml"
    files = {
        "clusters/base/podinfo/deployment.yaml": DEPLOYMENT,
        overlay: "namespace: other\nresources: [podinfo.yaml]\n",
    }
    lab.commit({**files, SEALED: sealed(OWN)})
    status, detail = answer(lab.promote(gates=gates))
    assert status == "fail"
    assert "SealedSecret other/podinfo" in detail
    lab.commit({SEALED: sealed(OWN, scope="namespace-wide")})
    assert answer(lab.promote(gates=gates))[0] == "fail"
    lab.commit({SEALED: sealed(OWN, scope="cluster-wide")})
    assert answer(lab.promote(gates=gates)) == ("pass", "1 open: other/podinfo")


def test_the_stages_of_flux_are_followed_with_what_they_add(lab: Lab, gates: dict[str, Any]) -> None:
    stage = (
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n"
        "metadata: {name: secrets, namespace: flux-system}\n"
        "spec:\n  path: ./sealed/production\n  targetNamespace: apps\n"
        "  sourceRef: {kind: GitRepository, name: flux-system}\n"
    )
    file = "sealed/production/podinfo.yaml"
    files = {"clusters/base/podinfo/deployment.yaml": NEEDS, "clusters/production/stages.yaml": stage}
    lab.commit({**files, file: sealed(OWN, written="")})
    assert answer(lab.promote(gates=gates, check_mode=True)) == ("pass", "1 open: apps/podinfo")
    lab.commit({file: sealed(STAGING, written="")})
    status, detail = answer(lab.promote(gates=gates))
    assert status == "fail"
    assert f"SealedSecret apps/podinfo ({file}:1), item password" in detail


def test_variables_of_a_stage_are_replaced(lab: Lab, gates: dict[str, Any]) -> None:
    stage = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: environment, namespace: flux-system}\ndata: {where: apps}\n---\n"
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n"
        "metadata: {name: secrets, namespace: flux-system}\n"
        "spec:\n  path: ./clusters/production/secrets\n  sourceRef: {kind: GitRepository, name: flux-system}\n"
        "  postBuild: {substituteFrom: [{kind: ConfigMap, name: environment}]}\n"
    )
    files = {"clusters/base/podinfo/deployment.yaml": NEEDS, "clusters/production/stages.yaml": stage}
    lab.commit({**files, SEALED: sealed(OWN, written=', namespace: "${where}"')})
    assert answer(lab.promote(gates=gates, check_mode=True)) == ("pass", "1 open: apps/podinfo")
    lab.commit({SEALED: sealed(OWN, written=', namespace: "${nowhere}"')})
    status, detail = answer(lab.promote(gates=gates))
    assert status == "fail"
    assert f"not looked into: {SEALED}: the name or namespace of a SealedSecret is a variable" in detail


def test_a_directory_that_only_the_program_builds_is_not_known(lab: Lab, gates: dict[str, Any]) -> None:
    overlay = "clusters/production/secrets/kustomization.yaml"
    crds = "resources: [podinfo.yaml]\nreplacements: [{path: x.yaml}]\n"
    lab.commit({"clusters/base/podinfo/deployment.yaml": DEPLOYMENT, overlay: crds, SEALED: sealed(OWN)})
    status, detail = answer(lab.promote(gates=gates))
    assert status == "unknown"
    assert "replacements in clusters/production/secrets/kustomization.yaml" in detail


def test_a_key_that_the_controller_does_not_load_does_not_count(lab: Lab, gates: dict[str, Any]) -> None:
    lab.commit({"clusters/base/podinfo/deployment.yaml": NEEDS, SEALED: sealed(OLD)})
    status, detail = answer(lab.promote(gates=gates))
    assert status == "fail"
    assert f"only a key that is retired opens it ({OLD.fingerprint})" in detail


def test_what_nothing_in_the_environment_leads_to_counts_where_it_is_needed(lab: Lab, gates: dict[str, Any]) -> None:
    files = {
        "clusters/base/podinfo/deployment.yaml": NEEDS,
        "clusters/production/kustomization.yaml": "resources: [podinfo]\n",
        "clusters/production/secrets/kustomization.yaml": "resources: [podinfo.yaml, x.yaml]\n",
        "clusters/production/secrets/x.yaml": sealed(STAGING, name="x"),
    }
    lab.commit({**files, SEALED: sealed(OWN)})
    assert answer(lab.promote(gates=gates, check_mode=True)) == ("pass", "1 open: apps/podinfo")
    lab.commit({SEALED: sealed(STAGING)})
    assert answer(lab.promote(gates=gates))[0] == "fail"


def test_a_secret_that_only_the_target_has_is_told_and_one_that_cannot_be_asked_for_is_refused() -> None:
    found, backup = Applied(()), Backup("production", ())
    needed = {("apps", "podinfo"): set[str]()}
    verdict = gate_sealed.judge(found, ([], []), needed, backup, there=lambda _: True)
    assert verdict == Verdict(True, "0 open; in the target and not in Git: apps/podinfo")

    def silent(_: tuple[str, str]) -> bool:
        raise ApiError("no answer", None)

    verdict = gate_sealed.judge(found, ([], []), needed, backup, there=silent)
    assert verdict.ok is False
    assert "nothing in Git makes the Secret apps/podinfo, and whether the target has it is not known" in verdict.detail
    verdict = gate_sealed.judge(found, ([], []), needed, backup, there=lambda _: False)
    assert verdict.detail.startswith("nothing makes the Secret apps/podinfo, which a workload needs. Seal it")


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


def test_elsewhere_is_a_list_of_secrets(lab: Lab, gates: dict[str, Any]) -> None:
    with pytest.raises(ReleaseError, match="wanted elsewhere, a list of namespace/name, found 'apps/x'"):
        lab.promote(gates={"sealed": {**gates["sealed"], "elsewhere": "apps/x"}})
