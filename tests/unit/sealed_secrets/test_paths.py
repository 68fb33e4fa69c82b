# Copyright (c) 2026 The stagecraft.gitops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotation and the restore drill see every sealed secret of an environment, also one with a path of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyrage
import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.stagecraft.gitops.plugins.action import sealed_secret_info, sealed_secret_reseal
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets import custody, options, seal
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.backup import Backup, KeyRecord
from ansible_collections.stagecraft.gitops.plugins.plugin_utils.sealed_secrets.errors import SealError

from tests.unit.sealed_secrets.samples import MAC_KEY, declared, key, sealer

ROLE = Path(__file__).resolve().parents[3] / "roles" / "sealed_secrets"
INSIDE, OUTSIDE = "clusters/staging/secrets/shop/db.yaml", "apps/x.yaml"
SECRETS = [{"name": "db", "namespace": "shop"}, {"name": "x", "namespace": "shop", "path": OUTSIDE}]
ADMIN, SAFE = (pyrage.x25519.Identity.generate() for _ in range(2))
OLD, NEW = key("staging", 0), key("staging", 1)


class _Task:
    check_mode = False
    diff = True
    async_val = 0
    args: dict[str, Any]


def paths(part: str, task: str, **variables: Any) -> list[str]:
    """Where a task of the role looks, templated as ansible-playbook does it."""
    loader = DataLoader()
    read = [
        loader.load_from_file(str(ROLE / name / "main.yml"), trusted_as_template=True) for name in ("defaults", "vars")
    ]
    tasks = loader.load_from_file(str(ROLE / "tasks" / f"{part}.yml"), trusted_as_template=True)
    (found,) = [one for one in tasks if one["name"] == task]
    (arguments,) = [value for name, value in found.items() if name.startswith("stagecraft.gitops.")]
    given = {"stagecraft_repository": {"url": "ssh://git/x", "path": "clusters/staging"}, **variables}
    templar = Templar(loader, variables={**read[0], **given, **read[1]})
    templated: list[str] = templar.template(arguments["path"])
    return templated


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Two secrets, sealed with the old key; the backup has that and a new one."""
    root = tmp_path / "clone"
    for name, path in (("db", INSIDE), ("x", OUTSIDE)):
        (root / path).parent.mkdir(parents=True)
        wanted = declared(name=name, path=path, items={"password": b"correct horse"})
        (root / path).write_text(seal.plan(wanted, None, sealer("staging", 0)).after or "")
    (root / "clusters/staging/sealed-secrets.crt").write_text(NEW.certificate.pem)
    (tmp_path / "identity.txt").write_text(str(ADMIN))
    records = (KeyRecord(OLD, "active", "old", "kube-system"), KeyRecord(NEW, "active", "new", "kube-system"))
    recipients = [str(one.to_public()) for one in (ADMIN, SAFE)]
    custody.write_backup(tmp_path / "staging.age", Backup("staging", records), recipients, [ADMIN])
    return root


def run(module: Any, clone: Path, path: Any, **more: Any) -> dict[str, Any]:
    plugin = module.ActionModule.__new__(module.ActionModule)
    plugin._task = _Task()
    plugin._task.action = module.__name__
    plugin._task.args = {
        "environment": "staging",
        "path": path,
        "backup": str(clone.parent / "staging.age"),
        "identity_files": [str(clone.parent / "identity.txt")],
        "directory": str(clone),
        **more,
    }
    result: dict[str, Any] = plugin.act(plugin._options(), {})
    return result


def info(clone: Path, path: Any, **more: Any) -> dict[str, Any]:
    return run(sealed_secret_info, clone, path, **more)


def reseal(clone: Path, path: Any, **more: Any) -> dict[str, Any]:
    return run(sealed_secret_reseal, clone, path, certificate=NEW.certificate.pem, mac_key=MAC_KEY, **more)


def test_a_rotation_seals_anew_what_has_a_path_of_its_own_and_proves_it(clone: Path) -> None:
    before = info(clone, paths("rotate", "See what the old key was used for", sealed_secrets_secrets=SECRETS))
    assert [one["path"] for one in before["secrets"]] == [OUTSIDE, INSIDE]
    proof = paths("rotate", "Make sure that nothing in Git needs the old key any more", sealed_secrets_secrets=SECRETS)
    only = {"only": [NEW.certificate.fingerprint], "at_least": before["item_count"]}
    old = info(clone, proof, **only)
    assert old["failed"]
    assert OUTSIDE in old["msg"]
    done = reseal(clone, paths("rotate", "Seal everything in Git for the new key", sealed_secrets_secrets=SECRETS))
    assert done["files"] == [OUTSIDE, INSIDE]
    assert "failed" not in info(clone, proof, **only)
    assert reseal(clone, proof)["changed"] is False


def test_a_drill_opens_what_has_a_path_of_its_own(clone: Path) -> None:
    drilled = info(
        clone, paths("drill", "Open every sealed secret in Git with the backup's keys", sealed_secrets_secrets=SECRETS)
    )
    assert (drilled["item_count"], drilled["problems"]) == (2, [])


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, ["clusters/staging"]),
        ({"sealed_secrets_secrets": SECRETS}, ["clusters/staging", OUTSIDE]),
        ({"sealed_secrets_folder": "sealed/staging"}, ["clusters/staging", "sealed/staging"]),
        ({"sealed_secrets_folder": "", "sealed_secrets_secrets": SECRETS[:1]}, ["clusters/staging", "shop/db.yaml"]),
        ({"stagecraft_repository": {"url": "x", "path": ""}, "sealed_secrets_secrets": SECRETS}, [""]),
    ],
)
def test_the_role_looks_where_it_puts_secrets(variables: dict[str, Any], wanted: list[str]) -> None:
    task = "Open every sealed secret in Git with the backup's keys"
    assert options.starts(paths("drill", task, **variables)) == wanted


def test_one_path_is_still_text(clone: Path) -> None:
    assert [one["path"] for one in info(clone, "clusters/staging")["secrets"]] == [INSIDE]
    assert [one["path"] for one in info(clone, "")["secrets"]] == [OUTSIDE, INSIDE]
    assert reseal(clone, "clusters/staging/")["files"] == [INSIDE]


def test_what_is_not_there_is_passed_over_unless_nothing_is(clone: Path) -> None:
    assert reseal(clone, ["clusters/staging", "apps/gone.yaml"])["files"] == [INSIDE]
    with pytest.raises(SealError, match="at or below gone, lost in the repository, found none"):
        reseal(clone, ["gone", "lost"])
    assert "2 items at least below apps, gone, found 1" in info(clone, ["apps", "gone"], at_least=2)["msg"]


def test_what_another_environment_has_goes_to_one_place(clone: Path) -> None:
    source = {"environment": "staging", "path": OUTSIDE, "backup": str(clone.parent / "staging.age")}
    source["identity_files"] = [str(clone.parent / "identity.txt")]  # type: ignore[assignment]
    with pytest.raises(SealError, match=r"wanted one path to put what apps/x\.yaml has, found 2"):
        reseal(clone, ["a", "b"], source=source)
    assert reseal(clone, "apps/y.yaml", source=source)["files"] == ["apps/y.yaml"]
    assert yaml.safe_load((clone / "apps/y.yaml").read_text())["metadata"]["name"] == "x"
